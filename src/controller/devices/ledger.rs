//! What each `SwapDevice` is to say, what it says, and when to write. A state machine without clock, client or task.
//!
//! One call at a time an object, and few at a time in all: the pods' own status goes before.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    DeviceName,
    content::{Chosen, Said, Standing, content, render},
    subject::{Container, Subject},
};
use crate::{api::SwapDevice, controller::pod_view::PodKey, domain::verdict::Verdict};

/// Calls at the same time.
const AT_ONCE: usize = 8;
/// How long the garbage collector has for the objects of a pod that is gone.
const COLLECTION: Duration = Duration::from_mins(1);
/// Shortest time between our write and the next one that only undoes a foreign hand.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause after a call that failed, doubled up to the interval.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// A call to make now. Each ends in [`Ledger::ended`].
#[derive(Debug)]
pub(super) enum Step {
    /// There is none.
    Create(DeviceName, Box<SwapDevice>),
    /// This one says something else.
    Change { name: DeviceName, uid: Box<str>, device: Box<SwapDevice>, status_alone: bool },
    /// This one is of an older pod, or nobody's any more.
    Delete(DeviceName, Box<str>),
}

/// What the watch of `SwapDevice`s saw.
#[derive(Debug)]
pub(super) enum Seen {
    There(DeviceName, Box<Standing>),
    Gone(DeviceName, Box<str>),
    /// Everything in this namespace, or everywhere, was listed; there are no others.
    Listed(Option<String>, HashSet<DeviceName>),
}

/// How a call ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// The object as the answer shows it; `None`: the answer does not say.
    pub(super) object: Option<Object>,
    pub(super) failed: bool,
    /// What stands is by our hand.
    pub(super) ours: bool,
}

#[derive(Debug)]
pub(super) enum Object {
    There(Box<Standing>),
    Absent,
}

pub(super) struct Ledger {
    interval: Duration,
    /// Boxed, so that a node of the tree with room to spare wastes little. In order, so that a pod's are side by side.
    entries: BTreeMap<DeviceName, Box<Entry>>,
    due: BTreeSet<(Instant, DeviceName)>,
    under_way: usize,
    /// Lists still to come before it is known what stands, and anything is written.
    unlisted: usize,
    listed: HashSet<Option<String>>,
    /// All pods are known. Before, what none of them claims may be claimed yet.
    pods_listed: bool,
}

#[derive(Default)]
struct Entry {
    /// `None`: there is to be no object.
    chosen: Option<Chosen>,
    /// `None`: not checked yet; whatever stands is left.
    said: Option<Said>,
    standing: Option<Standing>,
    /// Content that is known to be ours.
    ours: Option<u64>,
    /// What was asked for then: a definition of another release may have left something out.
    asked: Option<u64>,
    /// No call before this.
    hold: Option<Instant>,
    due: Option<Instant>,
    failures: u8,
    busy: bool,
}

impl Ledger {
    /// With so many watches of objects, each of which begins with a list.
    pub(super) fn new(interval: Duration, watches: usize) -> Self {
        Self {
            interval,
            entries: BTreeMap::new(),
            due: BTreeSet::new(),
            under_way: 0,
            unlisted: watches,
            listed: HashSet::new(),
            pods_listed: false,
        }
    }

    /// A pod of interest, as the watch shows it.
    pub(super) fn pod(&mut self, subject: Subject, now: Instant) {
        let Subject { key, uid, node, device, qos, containers } = subject;
        let names: HashSet<DeviceName> =
            containers.iter().map(|container| DeviceName::of(&key, &container.name)).collect();
        for name in self.chosen_of(&key).into_iter().filter(|name| !names.contains(name)) {
            self.unchoose(&name, now);
        }
        for Container { name: container, id, settled } in containers {
            let name = DeviceName::of(&key, &container);
            let chosen = Chosen {
                pod_uid: uid.clone(),
                pod: key.name.as_str().into(),
                container,
                node: node.clone(),
                device: device.clone(),
                qos,
                id,
            };
            let scheduled = chosen.node.is_some();
            if self.entries.entry(name.clone()).or_default().choose(chosen, settled) {
                // Most often it gets its node at once, which would be a second write.
                self.touch(&name, if scheduled { now } else { now + PATIENCE });
            }
        }
    }

    /// The pod is gone, or does not concern us.
    pub(super) fn gone(&mut self, key: &PodKey, now: Instant) {
        for name in self.chosen_of(key) {
            self.unchoose(&name, now + COLLECTION);
        }
    }

    /// Names for the chosen containers of a pod.
    fn chosen_of(&self, key: &PodKey) -> Vec<DeviceName> {
        let beginning = DeviceName::beginning(key);
        let with_it = |name: &DeviceName| *name.namespace == *key.namespace && name.name.starts_with(&*beginning.name);
        let chosen = |entry: &Entry| entry.chosen.as_ref().is_some_and(|chosen| *chosen.pod == *key.name);
        let here = self.entries.range(&beginning..).take_while(|(name, _)| with_it(name));
        here.filter(|(_, entry)| chosen(entry)).map(|(name, _)| name.clone()).collect()
    }

    /// There is to be no object.
    fn unchoose(&mut self, name: &DeviceName, at: Instant) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        (entry.chosen, entry.said) = (None, None);
        if entry.busy || entry.standing.is_some() {
            return self.touch(name, at);
        }
        // Not left to its time, which never comes while a list is missing.
        if let Some(due) = entry.due {
            self.due.remove(&(due, name.clone()));
        }
        self.entries.remove(name);
    }

    /// These are all pods that concern us.
    pub(super) fn pods_are(&mut self, left: &HashSet<PodKey>, now: Instant) {
        self.pods_listed = true;
        let pods = self.entries.iter().filter_map(|(name, entry)| {
            let pod = entry.chosen.as_ref()?.pod.to_string();
            Some(PodKey { namespace: name.namespace.to_string(), name: pod })
        });
        let gone: HashSet<PodKey> = pods.filter(|key| !left.contains(key)).collect();
        for key in gone {
            self.gone(&key, now);
        }
    }

    /// A look into these containers of the pod ended.
    pub(super) fn checked(&mut self, key: &PodKey, uid: &str, containers: Vec<(String, Said)>, now: Instant) {
        for (container, said) in containers {
            let name = DeviceName::of(key, &container);
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            // Another pod, or another run of the container: the verdict is nobody's.
            let current = entry.chosen.as_ref().is_some_and(|chosen| &*chosen.pod_uid == uid && chosen.id == said.id);
            if current && said.id.is_some() {
                entry.said = Some(said);
                self.touch(&name, now);
            }
        }
    }

    /// What the watch of the objects saw.
    pub(super) fn seen(&mut self, seen: Seen, now: Instant) {
        match seen {
            Seen::There(name, standing) => self.stands(&name, *standing, now),
            Seen::Gone(name, uid) => {
                let Some(entry) = self.entries.get_mut(&name) else { return };
                if entry.standing.as_ref().is_some_and(|standing| standing.uid == uid) {
                    entry.standing = None;
                    self.touch(&name, now);
                }
            }
            Seen::Listed(namespace, names) => {
                let here =
                    |name: &&DeviceName| namespace.as_ref().is_none_or(|namespace| *name.namespace == **namespace);
                let all: Vec<DeviceName> = self.entries.keys().filter(here).cloned().collect();
                if self.listed.insert(namespace) {
                    self.unlisted = self.unlisted.saturating_sub(1);
                }
                for name in all {
                    if let Some(entry) = self.entries.get_mut(&name).filter(|_| !names.contains(&name)) {
                        entry.standing = None;
                        self.touch(&name, now);
                    }
                }
            }
        }
    }

    fn stands(&mut self, name: &DeviceName, standing: Standing, now: Instant) {
        let entry = match self.entries.get_mut(name) {
            Some(entry) => entry,
            // Made by hand, and none of ours.
            None if standing.owner.is_none() => return,
            None => self.entries.entry(name.clone()).or_default(),
        };
        if entry.standing.as_ref().is_some_and(|known| standing.version < known.version) {
            return;
        }
        entry.standing = Some(standing);
        let unclaimed = entry.chosen.is_none();
        self.touch(name, if unclaimed { now + COLLECTION } else { now });
    }

    /// Everything that is to be started now.
    pub(super) fn steps(&mut self, now: Instant, time: Timestamp) -> Vec<Step> {
        let mut steps = Vec::new();
        while self.next_due().is_some_and(|due| due <= now) {
            let Some((_, name)) = self.due.pop_first() else { break };
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            entry.due = None;
            match entry.decide(&name, self.pods_listed, now, time) {
                Decision::Make(step) => {
                    entry.busy = true;
                    self.under_way += 1;
                    steps.push(step);
                }
                Decision::Wait(until) => self.touch(&name, until),
                Decision::Forget => {
                    self.entries.remove(&name);
                }
                Decision::Nothing => {}
            }
        }
        steps
    }

    /// When to ask for steps next, if nothing else happens.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let ready = self.unlisted == 0 && self.under_way < AT_ONCE;
        self.due.first().filter(|_| ready).map(|(due, _)| *due)
    }

    /// A call ended.
    pub(super) fn ended(&mut self, name: &DeviceName, ended: Ended, now: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
        let interval = self.interval;
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.busy = false;
        let newer = |known: &Option<Standing>, found: &Standing| {
            known.as_ref().is_none_or(|known| known.uid != found.uid || known.version <= found.version)
        };
        match ended.object {
            Some(Object::There(standing)) => {
                if ended.ours {
                    entry.ours = Some(standing.content());
                }
                if newer(&entry.standing, &standing) {
                    entry.standing = Some(*standing);
                }
            }
            Some(Object::Absent) => (entry.standing, entry.ours) = (None, None),
            None => {}
        }
        if ended.failed {
            let pause = FIRST_RETRY.saturating_mul(1 << entry.failures.min(16)).min(interval);
            entry.failures = entry.failures.saturating_add(1);
            entry.hold = Some(now + pause);
        } else {
            entry.failures = 0;
            entry.hold = entry.ours.map(|_| now + PATIENCE);
        }
        self.touch(name, now);
    }

    /// How many objects could not be written at the last try.
    pub(super) fn failing(&self) -> usize {
        self.entries.values().filter(|entry| entry.failures > 0).count()
    }

    fn touch(&mut self, name: &DeviceName, at: Instant) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        if let Some(due) = entry.due.replace(at) {
            self.due.remove(&(due, name.clone()));
        }
        self.due.insert((at, name.clone()));
    }
}

enum Decision {
    Make(Step),
    Wait(Instant),
    Forget,
    Nothing,
}

impl Entry {
    /// Takes in what the watch of pods shows of the container. Whether anything changed.
    fn choose(&mut self, chosen: Chosen, settled: Option<Verdict>) -> bool {
        let same_pod = self.chosen.as_ref().is_some_and(|before| before.pod_uid == chosen.pod_uid);
        let before = self.said.take().filter(|_| same_pod);
        let standing_id = self.standing.as_ref().filter(|standing| standing.owner.as_ref() == Some(&chosen.pod_uid));
        let spoken_of = match &before {
            Some(said) => said.id.as_ref(),
            None => standing_id.and_then(|standing| standing.id.as_ref()),
        };
        let said = match settled {
            Some(verdict) => Some(Said::new(chosen.id.clone(), verdict)),
            // What stands was said of a run that is over.
            None if spoken_of.is_some_and(|id| Some(id) != chosen.id.as_ref()) => {
                Some(Said::new(chosen.id.clone(), Verdict::restarted()))
            }
            None => before.clone(),
        };
        if !same_pod {
            self.ours = None;
        }
        let changed = said != before || self.chosen.as_ref() != Some(&chosen);
        (self.chosen, self.said) = (Some(chosen), said);
        changed
    }

    fn decide(&mut self, name: &DeviceName, pods_listed: bool, now: Instant, time: Timestamp) -> Decision {
        if self.busy {
            return Decision::Nothing;
        }
        let held = self.hold.filter(|hold| now < *hold);
        if let Some(hold) = held.filter(|_| self.failures > 0) {
            return Decision::Wait(hold);
        }
        let foreign = |standing: &Standing, chosen: &Chosen| {
            standing.owner.as_ref().is_some_and(|owner| *owner != chosen.pod_uid)
        };
        match (&self.chosen, &self.said, &self.standing) {
            (None, _, None) => Decision::Forget,
            (None, _, Some(_)) if !pods_listed => Decision::Wait(now + COLLECTION),
            (None, _, Some(standing)) => Decision::Make(Step::Delete(name.clone(), standing.uid.clone())),
            (Some(chosen), _, Some(standing)) if foreign(standing, chosen) => {
                Decision::Make(Step::Delete(name.clone(), standing.uid.clone()))
            }
            (Some(_), None, _) => Decision::Nothing,
            (Some(chosen), Some(said), None) => {
                if let Some(hold) = held.filter(|_| self.ours.is_some()) {
                    return Decision::Wait(hold);
                }
                let device = Box::new(render(name, chosen, said, None, time));
                self.asked = Some(content(&device));
                Decision::Make(Step::Create(name.clone(), device))
            }
            (Some(chosen), Some(said), Some(standing)) => {
                let device = Box::new(render(name, chosen, said, Some(standing), time));
                let untouched = self.ours.is_none_or(|ours| ours == standing.content());
                let taken_as_it_is = self.ours.is_some() && self.asked == Some(content(&device));
                if untouched && (standing.is_close_to(&device) || taken_as_it_is) {
                    self.ours = Some(standing.content());
                    return Decision::Nothing;
                }
                if let Some(hold) = held.filter(|_| !untouched) {
                    return Decision::Wait(hold);
                }
                self.asked = Some(content(&device));
                let (uid, status_alone) = (standing.uid.clone(), standing.is_headed_like(&device));
                Decision::Make(Step::Change { name: name.clone(), uid, device, status_alone })
            }
        }
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
