//! What to do for each pod, and when. A state machine without clock, client or task.
//!
//! One thing at a time a pod: a check, or a write, never both. A check whose pod or container
//! was replaced meanwhile is dropped and made again.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    assess::{Assessment, Target, assess},
    check::{Checked, Headroom},
    pod_view::{PodKey, PodView},
    report::{self, Report},
    watch::Change,
};
use crate::domain::verdict::{State, Verdict};

/// Pauses after the first checks of a container: it is looked at when it starts and again
/// 2, 5, 15 and 60 s later, because daemons lock after they have set up.
const FIRST_PAUSES: [Duration; 4] =
    [Duration::from_secs(2), Duration::from_secs(3), Duration::from_secs(10), Duration::from_secs(45)];
/// Shortest pause after an exec that did not end: its process may still hang in the container.
const PAUSE_AFTER_TIMEOUT: Duration = Duration::from_mins(5);
/// Pause after a write that failed, doubled up to the interval.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Something to start now. Each ends in [`Schedule::checked`] or [`Schedule::written`].
#[derive(Debug)]
pub(super) enum Step {
    /// Look into these containers.
    Check { key: PodKey, uid: String, targets: Vec<Target>, headroom: Headroom },
    /// Write this.
    Write { key: PodKey, pod: Box<PodView>, report: Report, previous: Option<&'static str> },
    /// Take our marks off.
    Clean { key: PodKey, pod: Box<PodView> },
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// It stands.
    Done,
    /// The pod is gone, is another one by now, or its namespace is going: nothing to say any more.
    Moot,
    /// Try again later.
    Failed,
}

/// All pods of interest.
pub(super) struct Schedule {
    interval: Duration,
    pods: HashMap<PodKey, Entry>,
}

struct Entry {
    pod: PodView,
    assessment: Assessment,
    /// When to look next; `None` while there is nothing to do before a change.
    due: Option<Instant>,
    /// Checks made of these containers.
    checks: usize,
    /// Writes that failed in a row.
    failures: u32,
    /// What the last look into these containers showed.
    headroom: Headroom,
    /// Since when the containers run, until the first verdict on them stands.
    waiting_since: Option<Instant>,
    /// What is to be written next.
    wanted: Option<Report>,
    /// What was written last; newer than what the watch shows.
    written: Option<Report>,
    /// The last reason that an Event told.
    told: Option<&'static str>,
    /// No write before this, after one that failed.
    hold: Option<Instant>,
    /// A check or a write is under way.
    busy: bool,
    /// The pod changed while it was.
    changed: bool,
}

impl Schedule {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, pods: HashMap::new() }
    }

    /// Takes in what the watch saw.
    pub(super) fn observe(&mut self, change: Change, now: Instant) {
        match change {
            Change::Seen(pod) => self.see(*pod, now),
            Change::Gone(key) => {
                self.pods.remove(&key);
            }
            Change::Listed(left) => self.pods.retain(|key, _| left.contains(key)),
        }
    }

    fn see(&mut self, pod: PodView, now: Instant) {
        let assessment = assess(&pod);
        let key = pod.key();
        match self.pods.get_mut(&key) {
            Some(entry) if entry.pod.uid() == pod.uid() => {
                entry.pod = pod;
                if entry.assessment != assessment {
                    entry.assessment = assessment;
                    entry.checks = 0;
                    entry.headroom.clear();
                    entry.due = Some(now);
                    entry.wanted = None;
                    entry.changed = true;
                    entry.waiting_since = matches!(entry.assessment, Assessment::Check(_)).then_some(now);
                }
            }
            _ => {
                self.pods.insert(key, Entry::new(pod, assessment, now));
            }
        }
    }

    /// When to ask for steps next, if nothing else happens.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let when = |entry: &Entry| if entry.wanted.is_some() { entry.hold.or(entry.due) } else { entry.due };
        self.pods.values().filter(|entry| !entry.busy).filter_map(when).min()
    }

    /// Everything that is to be started now.
    pub(super) fn steps(&mut self, now: Instant) -> Vec<Step> {
        self.pods.iter_mut().filter_map(|(key, entry)| entry.step(key, now)).collect()
    }

    /// A check ended.
    pub(super) fn checked(&mut self, key: &PodKey, uid: &str, targets: &[Target], checked: Checked, now: Instant) {
        let interval = self.interval;
        let Some(entry) = self.entry(key, uid) else { return };
        entry.busy = false;
        if entry.assessment != Assessment::Check(targets.to_vec()) {
            entry.due = Some(now);
            return;
        }
        let pause = FIRST_PAUSES.get(entry.checks).copied().unwrap_or(interval);
        entry.checks = entry.checks.saturating_add(1);
        entry.headroom.extend(checked.headroom);
        let pause = if checked.timed_out { interval.max(PAUSE_AFTER_TIMEOUT) } else { pause.min(interval) };
        entry.due = Some(now + jittered(pause, uid, entry.checks));
        entry.want(Report::checked(checked.verdict, &checked.containers, targets));
    }

    /// A write ended. `None` as report: our marks were taken off. Gives the time that containers
    /// waited for the verdict, when this was their first.
    pub(super) fn written(
        &mut self,
        key: &PodKey,
        uid: &str,
        report: Option<Report>,
        outcome: Written,
        now: Instant,
    ) -> Option<Duration> {
        let interval = self.interval;
        let entry = self.entry(key, uid)?;
        entry.busy = false;
        match (outcome, report) {
            (Written::Done, Some(report)) => {
                entry.failures = 0;
                let verdict = report.verdict.clone();
                entry.written = Some(report);
                if verdict.state != State::Pending {
                    entry.told = Some(verdict.reason.as_str());
                    return entry.waiting_since.take().map(|since| now - since);
                }
            }
            (Written::Done, None) | (Written::Moot, _) => {
                self.pods.remove(key);
            }
            (Written::Failed, report) => {
                let pause = FIRST_RETRY.saturating_mul(1 << entry.failures.min(16)).min(interval);
                entry.failures = entry.failures.saturating_add(1);
                let retry = now + jittered(pause, uid, entry.checks);
                match report {
                    Some(report) => {
                        if !entry.changed {
                            entry.wanted = Some(report);
                        }
                        entry.hold = Some(retry);
                    }
                    None => entry.due = Some(retry),
                }
            }
        }
        None
    }

    /// How many pods stand in which state, by what was last written or, before that, seen.
    pub(super) fn states(&self) -> HashMap<State, i64> {
        let mut counts = HashMap::new();
        for entry in self.pods.values() {
            let seen = || State::ALL.into_iter().find(|state| entry.pod.label() == Some(state.label()));
            let state = entry.written.as_ref().map(|report| report.verdict.state).or_else(seen);
            *counts.entry(state.unwrap_or(State::Pending)).or_default() += 1;
        }
        counts
    }

    fn entry(&mut self, key: &PodKey, uid: &str) -> Option<&mut Entry> {
        self.pods.get_mut(key).filter(|entry| entry.pod.uid() == uid)
    }
}

impl Entry {
    fn new(pod: PodView, assessment: Assessment, now: Instant) -> Self {
        let waiting_since = matches!(assessment, Assessment::Check(_)).then_some(now);
        Self {
            pod,
            assessment,
            due: Some(now),
            checks: 0,
            failures: 0,
            headroom: Headroom::new(),
            waiting_since,
            wanted: None,
            written: None,
            told: None,
            hold: None,
            busy: false,
            changed: false,
        }
    }

    fn want(&mut self, report: Report) {
        let standing =
            report.stands_on(&self.pod) && self.written.as_ref().is_none_or(|written| report.is_like(written));
        self.wanted = (!standing).then_some(report);
    }

    fn step(&mut self, key: &PodKey, now: Instant) -> Option<Step> {
        if self.busy {
            return None;
        }
        self.changed = false;
        if self.wanted.is_none() && self.due.is_some_and(|due| due <= now) {
            match self.assessment.clone() {
                Assessment::Clean => {
                    self.due = None;
                    self.busy = true;
                    return Some(Step::Clean { key: key.clone(), pod: Box::new(self.pod.clone()) });
                }
                Assessment::Settled(verdict) => {
                    self.due = None;
                    self.want(Report::settled(verdict));
                }
                Assessment::Check(targets) => {
                    if report::speaks_of(&self.pod, self.written.as_ref(), &targets) {
                        self.busy = true;
                        let (uid, headroom) = (self.pod.uid().to_owned(), self.headroom.clone());
                        return Some(Step::Check { key: key.clone(), uid, targets, headroom });
                    }
                    // What stands there was said of a container that is no more.
                    self.want(Report::settled(Verdict::pending("the container was restarted and is not checked yet")));
                }
            }
        }
        if self.hold.is_some_and(|hold| now < hold) {
            return None;
        }
        self.hold = None;
        let report = self.wanted.take()?;
        self.busy = true;
        let standing = self.pod.condition().and_then(|c| c.reason.as_deref());
        let previous = self.told.or_else(|| known_reason(standing));
        Some(Step::Write { key: key.clone(), pod: Box::new(self.pod.clone()), report, previous })
    }
}

/// The reason that stands on the pod, as one of ours that an Event may already have told.
fn known_reason(reason: Option<&str>) -> Option<&'static str> {
    use crate::domain::verdict::Reason as R;
    [R::Locked, R::PartiallyLocked, R::NotLocked, R::SwappedOut, R::CannotCheck, R::Terminated]
        .map(R::as_str)
        .into_iter()
        .find(|known| Some(*known) == reason)
}

/// Spreads pods over a tenth around the pause, the same way each time.
fn jittered(pause: Duration, uid: &str, turn: usize) -> Duration {
    let mut hasher = DefaultHasher::new();
    (uid, turn).hash(&mut hasher);
    let thousandths = u32::try_from(hasher.finish() % 200).unwrap_or_default() + 900;
    pause.saturating_mul(thousandths) / 1000
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
