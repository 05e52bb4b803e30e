//! What earlier looks into a pod's containers showed, as far as it forbids or delays the next one.
//!
//! Kept by the run of the container, so that the restart of one forgets nothing of the others.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    assess::Target,
    check::{Before, Ended, Look, forbids},
    pause,
    pod_view::PodView,
    status::{ANY, Status, short_id},
};

/// How soon after a look the watch shows a death that it was the cause of: the kubelet takes a second to see it.
const AFTERMATH: Duration = Duration::from_secs(10);

/// Of one pod.
#[derive(Debug, Default)]
pub(super) struct Past {
    runs: Vec<Run>,
    /// Boxed, for thousands of pods have none.
    deaths: Option<Box<Deaths>>,
    /// The runs that the last look was made into.
    looked: Vec<Looked>,
    look: When,
}

/// What looks may have been the end of.
#[derive(Debug, Default)]
struct Deaths {
    /// Containers that a look got killed, with their memory limit then, in KiB.
    killed: Vec<(Box<str>, u64)>,
    /// Containers that died by SIGKILL while they were looked into, without a word of memory.
    suspects: Vec<Box<str>>,
}

/// One run of a container.
#[derive(Debug)]
struct Run {
    id: Box<str>,
    limit: Option<u64>,
    /// Bytes that may still be charged to its memory limit.
    left: Option<u64>,
    /// Looks that did not end, in a row.
    hung: u32,
    /// No look before this: a process of ours may still hang in there.
    rests: Option<Instant>,
}

/// One that was looked into, where its memory is limited.
#[derive(Debug)]
struct Looked {
    id: Box<str>,
    limit_kib: u64,
    /// What it showed could be read.
    read: bool,
}

#[derive(Debug, Default, Clone, Copy)]
enum When {
    #[default]
    Never,
    Now,
    Ended(Instant),
}

/// What a look leaves for the next one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outlook {
    /// How it ended at worst, of those that did not hang.
    pub(super) ended: Ended,
    /// When the first of those that hung may be looked into again.
    pub(super) rested: Option<Instant>,
    /// All of them hung.
    pub(super) all_rest: bool,
}

impl Past {
    /// What an earlier leader left on the pod.
    pub(super) fn on(pod: &PodView, targets: &[Target]) -> Self {
        let status = Status::on(pod).unwrap_or_default();
        let mut past = Self::default();
        for target in targets {
            past.run(target, |run| run.left = status.left(target, targets));
        }
        if !status.killed.is_empty() {
            let killed = status.killed.into_iter().map(|(name, limit)| (name.into(), limit));
            past.deaths = Some(Box::new(Deaths { killed: killed.collect(), suspects: Vec::new() }));
        }
        past
    }

    /// What is known of each container before it is looked into.
    pub(super) fn before(&self, targets: &[Target], now: Instant) -> Vec<Before> {
        targets.iter().map(|target| self.before_one(target, now)).collect()
    }

    fn before_one(&self, target: &Target, now: Instant) -> Before {
        let limit = target.memory_limit.map(|limit| limit >> 10);
        let names = |(name, at): (&str, u64)| match name {
            ANY => limit.is_some(),
            name => name == target.container && Some(at) == limit,
        };
        if self.killed().any(names) {
            return Before::Killed;
        }
        let run = target.id.as_deref().map(short_id).and_then(|id| self.runs.iter().find(|run| *run.id == *id));
        match run {
            Some(run) if run.rests.is_some_and(|rests| now < rests) => Before::Hung,
            Some(Run { left: Some(left), .. }) => Before::Left(*left),
            _ => Before::Nothing,
        }
    }

    /// Whether nothing forbids another look into it.
    pub(super) fn allows(&self, target: &Target, now: Instant) -> bool {
        forbids(target, self.before_one(target, now)).is_none()
    }

    /// A look begins.
    pub(super) fn begin(&mut self, targets: &[Target], now: Instant) -> Vec<Before> {
        self.look = When::Now;
        self.looked = targets.iter().filter(|target| self.allows(target, now)).filter_map(Looked::new).collect();
        self.looked.shrink_to_fit();
        self.before(targets, now)
    }

    /// A look ended that is of no use: what it was made into has changed.
    pub(super) fn dropped(&mut self, now: Instant) {
        self.look = When::Ended(now);
    }

    /// A look ended.
    pub(super) fn end(
        &mut self,
        targets: &[Target],
        looks: &[Look],
        uid: &str,
        interval: Duration,
        now: Instant,
    ) -> Outlook {
        self.look = When::Ended(now);
        for (target, look) in targets.iter().zip(looks) {
            let read = look.ended == Ended::Through;
            let id = target.id.as_deref().map(short_id).unwrap_or_default();
            if let Some(looked) = self.looked.iter_mut().find(|looked| *looked.id == *id) {
                looked.read = read;
            }
            if let Some(deaths) = self.deaths.as_mut().filter(|_| read) {
                deaths.suspects.retain(|name| **name != *target.container);
            }
            self.run(target, |run| {
                run.left = look.left.or(run.left);
                match look.ended {
                    Ended::Hung => {
                        let rest = pause::after(Ended::Hung, 0, run.hung, interval);
                        run.hung = run.hung.saturating_add(1);
                        let turn = usize::try_from(run.hung).unwrap_or_default();
                        run.rests = Some(now + pause::jittered(rest, uid, turn));
                    }
                    Ended::Through | Ended::Unread | Ended::Failed => (run.hung, run.rests) = (0, None),
                    Ended::Spared => {}
                }
            });
        }
        let ended = looks.iter().map(|look| look.ended).filter(|ended| *ended != Ended::Hung).max();
        let resting = |target: &&Target| self.before_one(target, now) == Before::Hung;
        Outlook {
            ended: ended.unwrap_or(Ended::Through),
            rested: self.runs.iter().filter_map(|run| run.rests).filter(|rests| now < *rests).min(),
            all_rest: !targets.is_empty() && targets.iter().filter(resting).count() == targets.len(),
        }
    }

    /// How the pod looks now, with these containers chosen.
    pub(super) fn see(&mut self, pod: &PodView, targets: &[Target], now: Instant) {
        self.mourn(pod, now);
        let current = |container: &str| targets.iter().find(|target| target.container == container);
        let limit = |target: &Target| target.memory_limit.map(|limit| limit >> 10);
        // A container that is not chosen just now may be again.
        if let Some(deaths) = &mut self.deaths {
            deaths.killed.retain(|(name, at)| current(name).is_none_or(|target| limit(target) == Some(*at)));
        }
        self.runs.retain_mut(|run| {
            let target = targets.iter().find(|target| target.id.as_deref().map(short_id).as_deref() == Some(&*run.id));
            let Some(target) = target else { return false };
            if run.limit != target.memory_limit {
                (run.limit, run.left) = (target.memory_limit, None);
            }
            true
        });
    }

    /// Learns which containers died of the last look.
    fn mourn(&mut self, pod: &PodView, now: Instant) {
        let near = match self.look {
            When::Never => false,
            When::Now => true,
            When::Ended(ended) => now < ended + AFTERMATH,
        };
        if !near {
            return;
        }
        let looking = matches!(self.look, When::Now);
        let statuses = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
        for (name, killed) in statuses.filter_map(|status| Some((&status.name, status.killed.as_ref()?))) {
            let Some(place) = self.looked.iter().position(|looked| *looked.id == *killed.id) else { continue };
            let Looked { limit_kib, read, .. } = self.looked.swap_remove(place);
            let Deaths { killed: by_us, suspects } = &mut **self.deaths.get_or_insert_default();
            // One SIGKILL at that moment may be chance; two in a row are not.
            let again = suspects.iter().any(|suspect| **suspect == **name);
            if killed.oom || again && (looking || !read) {
                suspects.retain(|suspect| **suspect != **name);
                by_us.retain(|(container, _)| **container != **name);
                by_us.push((name.as_str().into(), limit_kib));
            } else if (looking || !read) && !again {
                suspects.push(name.as_str().into());
            }
        }
    }

    /// Bytes that may still be charged to the memory limit of this run.
    pub(super) fn left(&self, target: &Target) -> Option<u64> {
        let id = target.id.as_deref().map(short_id)?;
        self.runs.iter().find(|run| *run.id == *id)?.left
    }

    /// Containers that a look got killed, with their memory limit then, in KiB.
    pub(super) fn killed(&self) -> impl Iterator<Item = (&str, u64)> {
        self.deaths.iter().flat_map(|deaths| &deaths.killed).map(|(name, limit)| (&**name, *limit))
    }

    fn run(&mut self, target: &Target, change: impl FnOnce(&mut Run)) {
        let Some(id) = target.id.as_deref().map(short_id) else { return };
        if let Some(run) = self.runs.iter_mut().find(|run| *run.id == *id) {
            return change(run);
        }
        let mut run = Run { id: id.into(), limit: target.memory_limit, left: None, hung: 0, rests: None };
        change(&mut run);
        // Most have nothing to tell, and thousands are kept.
        if run.left.is_some() || run.rests.is_some() {
            self.runs.reserve_exact(1);
            self.runs.push(run);
        }
    }
}

impl Looked {
    fn new(target: &Target) -> Option<Self> {
        let id = short_id(target.id.as_deref()?).into();
        // Without a limit there is none that a look could exceed.
        let limit_kib = target.memory_limit? >> 10;
        Some(Self { id, limit_kib, read: true })
    }
}

#[cfg(test)]
#[path = "past_tests.rs"]
mod tests;
