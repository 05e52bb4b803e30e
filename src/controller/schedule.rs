//! What to do for each pod, and when. A state machine without clock, client or task.
//!
//! One thing at a time a pod: a check, or a write, never both. A check whose pod or container
//! was replaced meanwhile is dropped and made again. Every event costs O(log n): pods stand in an
//! index by the time of their next step, and those whose time has come queue for a slot.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    assess::{Target, assess},
    check::{Before, Checked},
    debug::{Answer, MAX_ROWS},
    entry::{Entry, Lane, Place},
    pod_view::{PodKey, PodView},
    report::Report,
    slots::{Caps, Seat, Slots, Turn},
    watch::Change,
};
use crate::domain::verdict::State;

/// Checks at the same time: an exec takes some tens of milliseconds, so these are some hundred a second. A node that
/// hangs takes its share for one deadline, then one slot (`slots`).
const CHECKS: Caps = Caps { overall: 64, per_node: 8, routine: 2, beside_first: 1 };
/// Writes at the same time.
const WRITES: Caps = Caps { overall: 32, per_node: 32, routine: 32, beside_first: 32 };

/// Something to start now. Each ends in [`Schedule::checked`] or [`Schedule::written`].
#[derive(Debug)]
pub(super) enum Step {
    /// Look into these containers.
    Check { key: PodKey, uid: String, targets: Vec<Target>, before: Vec<Before> },
    /// Write this.
    Write { key: PodKey, pod: Box<PodView>, report: Box<Report>, previous: &'static str },
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

type Seats = BTreeMap<(PodKey, String), Seat>;

/// Notes who has the seat. Of a pod that left and came back meanwhile the one before is given up: two will end, and only
/// one of them finds a seat.
fn hold(slots: &mut Slots, seats: &mut Seats, by: (PodKey, String), seat: Seat) {
    if let Some(earlier) = seats.insert(by, seat) {
        slots.free(&earlier, None);
    }
}

/// All pods of interest.
pub(super) struct Schedule {
    interval: Duration,
    /// Known to share the node's kernel.
    runtime_classes: Arc<[String]>,
    pods: HashMap<Arc<PodKey>, Box<Entry>>,
    /// Whose time has not come.
    due: BTreeSet<(Instant, Arc<PodKey>)>,
    checks: Slots,
    writes: Slots,
    /// Which slot each check holds, by pod and uid. They outlive entries: a pod may go while it is looked at.
    looking: Seats,
    /// The same of each write.
    writing: Seats,
    /// The one node of all writes.
    anywhere: Arc<str>,
    states: HashMap<State, i64>,
    /// `states` changed since it was asked for.
    news: bool,
}

impl Schedule {
    pub(super) fn new(interval: Duration, runtime_classes: Arc<[String]>) -> Self {
        Self {
            interval,
            runtime_classes,
            pods: HashMap::new(),
            due: BTreeSet::new(),
            checks: Slots::new(CHECKS),
            writes: Slots::new(WRITES),
            looking: BTreeMap::new(),
            writing: BTreeMap::new(),
            anywhere: Arc::default(),
            states: HashMap::new(),
            news: true,
        }
    }

    /// Those that are known to share the node's kernel.
    pub(super) fn runtime_classes(&self) -> &[String] {
        &self.runtime_classes
    }

    /// Takes in what the watch saw.
    pub(super) fn observe(&mut self, change: Change, now: Instant) {
        match change {
            Change::Seen(pod) => self.see(&pod, now),
            Change::Gone(key) => self.forget(&key),
            Change::Listed(left) => {
                let gone: Vec<_> = self.pods.keys().filter(|key| !left.contains(key.as_ref())).cloned().collect();
                for key in gone {
                    self.forget(&key);
                }
            }
        }
    }

    fn see(&mut self, pod: &PodView, now: Instant) {
        let assessment = assess(pod, &self.runtime_classes);
        let key = pod.key();
        if let Some(entry) = self.pods.get_mut(&key).filter(|entry| entry.uid() == pod.uid()) {
            if entry.see(pod, assessment, now) {
                self.settle(&key, now);
            } else {
                self.count(&key);
            }
            return;
        }
        self.forget(&key);
        let key = Arc::new(key);
        let entry = Entry::new(Arc::clone(&key), pod, assessment, self.interval, now);
        self.pods.insert(Arc::clone(&key), Box::new(entry));
        self.settle(&key, now);
    }

    /// When to ask for steps next, if nothing else happens.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Everything that is to be started now.
    pub(super) fn steps(&mut self, now: Instant) -> Vec<Step> {
        while self.next_due().is_some_and(|due| due <= now) {
            if let Some((due, key)) = self.due.pop_first() {
                self.call_up(&key, due, now);
            }
        }
        let mut steps = Vec::new();
        while let Some((key, seat)) = self.checks.take() {
            match self.pods.get_mut(&key).and_then(|entry| entry.check(now)) {
                Some((uid, step)) => {
                    hold(&mut self.checks, &mut self.looking, (key.as_ref().clone(), uid), seat);
                    steps.push(step);
                }
                None => self.checks.free(&seat, false),
            }
        }
        while let Some((key, seat)) = self.writes.take() {
            match self.pods.get_mut(&key).and_then(|entry| entry.write()) {
                Some((uid, step)) => {
                    hold(&mut self.writes, &mut self.writing, (key.as_ref().clone(), uid), seat);
                    steps.push(step);
                }
                None => self.writes.free(&seat, false),
            }
        }
        steps
    }

    /// Its time has come: decides what is to be done, and queues for it.
    fn call_up(&mut self, key: &PodKey, due: Instant, now: Instant) {
        let Some(entry) = self.pods.get_mut(key) else { return };
        entry.place = Place::Nowhere;
        let Some(lane) = entry.decide(now) else { return self.settle(key, now) };
        let turn = Turn { routine: !entry.awaits_first_verdict(), due, key: Arc::clone(&entry.key) };
        let (slots, node) = match lane {
            Lane::Check => (&mut self.checks, entry.node()),
            Lane::Write => (&mut self.writes, &self.anywhere),
        };
        slots.join(node, turn.clone());
        entry.place = Place::Queued(Box::new((lane, Arc::clone(node), turn)));
    }

    /// A check ended. Gives whether what it found is to be told.
    pub(super) fn checked(
        &mut self,
        key: &PodKey,
        uid: &str,
        targets: &[Target],
        checked: Checked,
        now: Instant,
    ) -> bool {
        if let Some(seat) = self.looking.remove(&(key.clone(), uid.to_owned())) {
            self.checks.free(&seat, checked.hung());
        }
        let interval = self.interval;
        let Some(entry) = self.entry(key, uid) else { return true };
        let told = entry.checked(targets, checked, interval, now);
        self.settle(key, now);
        told
    }

    /// A write ended. `None` as report: our marks were taken off. Gives the time that containers
    /// waited for the verdict, when this was their first.
    pub(super) fn written(
        &mut self,
        key: &PodKey,
        uid: &str,
        report: Option<Box<Report>>,
        outcome: Written,
        now: Instant,
    ) -> Option<Duration> {
        if let Some(seat) = self.writing.remove(&(key.clone(), uid.to_owned())) {
            self.writes.free(&seat, false);
        }
        let interval = self.interval;
        let entry = self.entry(key, uid)?;
        let waited = match (outcome, report) {
            (Written::Done, Some(report)) => entry.written(report, now),
            (Written::Done, None) | (Written::Moot, _) => {
                self.forget(key);
                return None;
            }
            (Written::Failed, report) => {
                entry.not_written(report, interval, now);
                None
            }
        };
        self.settle(key, now);
        waited
    }

    /// What is known of the first devices by namespace and name.
    pub(super) fn answer(&self, now: Instant, time: Timestamp) -> Answer {
        let mut keys: Vec<&Arc<PodKey>> = self.pods.keys().collect();
        keys.sort_unstable();
        let entries = keys.into_iter().filter_map(|key| self.pods.get(key));
        let mut devices: Vec<_> = entries.flat_map(|entry| entry.rows(now, time)).take(MAX_ROWS + 1).collect();
        let truncated = devices.len() > MAX_ROWS;
        devices.truncate(MAX_ROWS);
        Answer { devices, pods: self.pods.len(), truncated }
    }

    /// How many pods stand in which state, by what was last written or, before that, seen; if that changed since it was
    /// last asked for.
    pub(super) fn states(&mut self) -> Option<&HashMap<State, i64>> {
        std::mem::take(&mut self.news).then_some(&self.states)
    }

    fn entry(&mut self, key: &PodKey, uid: &str) -> Option<&mut Entry> {
        self.pods.get_mut(key).map(Box::as_mut).filter(|entry| entry.uid() == uid)
    }

    fn forget(&mut self, key: &PodKey) {
        self.displace(key);
        if let Some(entry) = self.pods.remove(key) {
            self.recount(entry.counted, None);
        }
    }

    /// After any change of an entry: puts it where its next step is found, and counts its state.
    fn settle(&mut self, key: &PodKey, now: Instant) {
        self.displace(key);
        self.count(key);
        let Some(entry) = self.pods.get_mut(key) else { return };
        if let Some(due) = entry.wakes(now) {
            entry.place = Place::Due(due);
            self.due.insert((due, Arc::clone(&entry.key)));
        }
    }

    fn displace(&mut self, key: &PodKey) {
        let Some(entry) = self.pods.get_mut(key) else { return };
        match std::mem::replace(&mut entry.place, Place::Nowhere) {
            Place::Nowhere => {}
            Place::Due(due) => {
                self.due.remove(&(due, Arc::clone(&entry.key)));
            }
            Place::Queued(queued) => match *queued {
                (Lane::Check, node, turn) => self.checks.leave(&node, &turn),
                (Lane::Write, node, turn) => self.writes.leave(&node, &turn),
            },
        }
    }

    fn count(&mut self, key: &PodKey) {
        let Some(entry) = self.pods.get_mut(key) else { return };
        let state = Some(entry.state());
        let before = std::mem::replace(&mut entry.counted, state);
        self.recount(before, state);
    }

    fn recount(&mut self, before: Option<State>, after: Option<State>) {
        if before == after {
            return;
        }
        for (state, change) in [(before, -1), (after, 1)] {
            if let Some(state) = state {
                *self.states.entry(state).or_default() += change;
            }
        }
        self.states.retain(|_, pods| *pods != 0);
        self.news = true;
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "schedule_past_tests.rs"]
mod past_tests;

#[cfg(test)]
#[path = "load_tests.rs"]
mod load_tests;
