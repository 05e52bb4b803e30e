//! One pod in the schedule: what is known of it, and what comes next.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    assess::{Assessment, Target},
    check::{Checked, Ended},
    debug::{self, Row},
    packed::Packed,
    past::Past,
    pause,
    pod_view::{PodKey, PodView},
    report::{self, Report},
    schedule::Step,
    slots::Turn,
};
use crate::domain::{
    names,
    verdict::{State, Verdict},
};

/// Pause after a write that failed, doubled up to the interval.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Which slots a step needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Check,
    Write,
}

/// Where the schedule finds a pod.
#[derive(Debug)]
pub(super) enum Place {
    /// Nowhere: something is under way, or there is nothing to do before a change.
    Nowhere,
    /// In the index, until then.
    Due(Instant),
    /// In the queue for a slot of this node.
    Queued(Box<(Lane, Arc<str>, Turn)>),
}

/// What the schedule knows of a pod.
pub(super) struct Entry {
    pub(super) key: Arc<PodKey>,
    pub(super) place: Place,
    /// As what the pod was counted.
    pub(super) counted: Option<State>,
    uid: Box<str>,
    node: Arc<str>,
    pod: Packed,
    /// What its label says.
    seen: Option<State>,
    assessment: Assessment,
    /// When to look next; `None` while there is nothing to do before a change.
    due: Option<Instant>,
    /// Checks made of these containers.
    checks: usize,
    /// The last of them, and why it could not tell.
    last: Option<(Instant, Option<Box<str>>)>,
    /// Checks of them that failed, in a row.
    failed_checks: u32,
    /// A lock that stands was not seen by the last check: the next one decides.
    in_doubt: bool,
    /// Writes that failed in a row.
    failed_writes: u32,
    /// What earlier looks showed.
    past: Past,
    /// Since when the containers run, until the first verdict on them stands.
    waiting_since: Option<Instant>,
    /// What is to be written next.
    wanted: Option<Box<Report>>,
    /// What was written last, until the watch shows it.
    written: Option<Box<Report>>,
    /// The last reason that an Event told, or that stood before anything was written; empty: none.
    told: Option<&'static str>,
    /// No write before this, after one that failed.
    hold: Option<Instant>,
    /// A check or a write is under way.
    busy: bool,
    /// The pod changed while it was.
    changed: bool,
}

impl Entry {
    pub(super) fn new(
        key: Arc<PodKey>,
        pod: &PodView,
        assessment: Assessment,
        interval: Duration,
        now: Instant,
    ) -> Self {
        let mut entry = Self {
            key,
            place: Place::Nowhere,
            counted: None,
            uid: pod.uid().into(),
            node: pod.spec.node_name.as_deref().unwrap_or_default().into(),
            pod: Packed::new(pod),
            seen: state_on(pod),
            assessment,
            due: Some(now),
            checks: 0,
            last: None,
            failed_checks: 0,
            in_doubt: false,
            failed_writes: 0,
            past: Past::default(),
            waiting_since: None,
            wanted: None,
            written: None,
            told: None,
            hold: None,
            busy: false,
            changed: false,
        };
        entry.past = Past::on(pod, targets(&entry.assessment));
        match (&entry.assessment, entry.seen.filter(|state| *state != State::Pending)) {
            // What an earlier run of the controller said of these very containers.
            (Assessment::Check(targets), Some(state))
                if pod.annotation(names::STATUS).is_some() && report::speaks_of(pod, None, targets) =>
            {
                // After a restart thousands stand like this: they are looked at again bit by bit.
                if state == State::Locked && targets.iter().all(|t| report::says_locked(pod, None, t, targets)) {
                    entry.checks = pause::FIRST_CHECKS;
                    entry.due = Some(now + pause::spread(&entry.uid, interval));
                }
            }
            (Assessment::Check(_), _) => entry.waiting_since = Some(now),
            (Assessment::Clean | Assessment::Settled(_), _) => {}
        }
        entry
    }

    pub(super) fn uid(&self) -> &str {
        &self.uid
    }

    pub(super) fn node(&self) -> &Arc<str> {
        &self.node
    }

    /// As it was last seen.
    fn pod(&self) -> Option<PodView> {
        self.pod.unpack(&self.key, &self.uid)
    }

    pub(super) fn awaits_first_verdict(&self) -> bool {
        self.waiting_since.is_some()
    }

    /// By what was last written or, before that, seen.
    pub(super) fn state(&self) -> State {
        self.written.as_ref().map(|report| report.verdict.state).or(self.seen).unwrap_or(State::Pending)
    }

    /// Takes in how the pod looks now; gives whether that changes what there is to do.
    pub(super) fn see(&mut self, pod: &PodView, assessment: Assessment, now: Instant) -> bool {
        self.pod = Packed::new(pod);
        self.seen = state_on(pod);
        if self.node.is_empty() {
            self.node = pod.spec.node_name.as_deref().unwrap_or_default().into();
        }
        if self.written.as_ref().is_some_and(|report| report.stands_on(pod)) {
            self.written = None;
        }
        self.past.see(pod, targets(&assessment), now);
        let changed = self.assessment != assessment;
        if changed {
            self.assessment = assessment;
            self.checks = 0;
            self.last = None;
            self.failed_checks = 0;
            self.in_doubt = false;
            self.due = Some(now);
            self.wanted = None;
            self.changed = true;
            self.waiting_since = matches!(self.assessment, Assessment::Check(_)).then_some(now);
        }
        changed
    }

    /// For people who ask what the schedule does.
    pub(super) fn rows(&self, now: Instant, time: Timestamp) -> Vec<Row> {
        let said = self.pod().map(|pod| report::states(&pod, self.written.as_deref())).unwrap_or_default();
        let targets = targets(&self.assessment);
        let (last, error) = self.last.as_ref().map_or((None, None), |(last, error)| (Some(*last), error.as_deref()));
        let pod = Row {
            namespace: self.key.namespace.clone(),
            pod: self.key.name.clone(),
            container: None,
            state: Some(self.state().label().to_owned()),
            last_check: last.and_then(|last| debug::wall(last, now, time)),
            next_check: self.due.filter(|_| !targets.is_empty()).and_then(|due| debug::wall(due, now, time)),
            last_error: error.map(str::to_owned),
            checks: self.checks,
        };
        let containers = targets.iter().map(|t| (t.container.clone(), said.get(&t.container).cloned())).collect();
        debug::rows(&pod, &containers)
    }

    /// When there is something to decide, if nothing else happens.
    pub(super) fn wakes(&self, now: Instant) -> Option<Instant> {
        if self.busy {
            return None;
        }
        let write = self.wanted.as_ref().map(|_| self.hold.unwrap_or(now));
        write.into_iter().chain(self.due).min()
    }

    /// What is to be done now.
    pub(super) fn decide(&mut self, now: Instant) -> Option<Lane> {
        let held = self.hold.is_some_and(|hold| now < hold);
        if self.due.is_some_and(|due| due <= now) && (self.wanted.is_none() || held) {
            match &self.assessment {
                Assessment::Clean => return Some(Lane::Write),
                Assessment::Settled(verdict) => {
                    let verdict = verdict.as_ref().clone();
                    self.due = None;
                    self.want(Report::settled(verdict));
                }
                Assessment::Check(targets) => {
                    let speaks = |pod| report::speaks_of(&pod, self.written.as_deref(), targets);
                    if self.wanted.is_none() && !self.pod().is_some_and(speaks) {
                        // What stands there was said of a container that is no more.
                        self.want(Report::settled(Verdict::restarted()));
                    }
                    // While writes fail looks go on, so that what is written at last is new.
                    if self.wanted.is_none() || held {
                        return Some(Lane::Check);
                    }
                }
            }
        }
        if self.wanted.is_none() || held {
            return None;
        }
        self.hold = None;
        Some(Lane::Write)
    }

    /// Begins the check that was decided; also gives the uid.
    pub(super) fn check(&mut self, now: Instant) -> Option<(String, Step)> {
        let Assessment::Check(targets) = &self.assessment else { return None };
        let before = self.past.begin(targets, now);
        let (uid, targets) = (self.uid.to_string(), targets.clone());
        self.begin();
        Some((uid.clone(), Step::Check { key: self.key.as_ref().clone(), uid, targets, before }))
    }

    /// Begins the write that was decided; with it the uid of its pod.
    pub(super) fn write(&mut self) -> Option<(String, Step)> {
        let pod = Box::new(self.pod()?);
        let (key, uid) = (self.key.as_ref().clone(), self.uid.to_string());
        self.begin();
        let Some(report) = self.wanted.take() else {
            self.due = None;
            return Some((uid, Step::Clean { key, pod }));
        };
        // As it was before the first try: a write whose answer was lost stands on the pod, and nobody was told.
        let standing = pod.condition().and_then(|c| c.reason.as_deref());
        let previous = *self.told.get_or_insert_with(|| known_reason(standing).unwrap_or_default());
        Some((uid, Step::Write { key, pod, report, previous }))
    }

    fn begin(&mut self) {
        self.place = Place::Nowhere;
        self.busy = true;
        self.changed = false;
    }

    /// A check ended. Gives whether what it found is to be told: a loss is, when it is seen twice.
    pub(super) fn checked(&mut self, targets: &[Target], checked: Checked, interval: Duration, now: Instant) -> bool {
        self.busy = false;
        if !matches!(&self.assessment, Assessment::Check(current) if current == targets) {
            self.past.dropped(now);
            self.due = Some(now);
            return true;
        }
        let outlook = self.past.end(targets, &checked.looks, &self.uid, interval, now);
        let error = (checked.verdict.state == State::Unknown).then(|| checked.verdict.message.as_str().into());
        self.last = Some((now, error));
        self.in_doubt = !self.in_doubt && self.is_loss(targets, &checked, now);
        if self.in_doubt {
            // An older one that could not be written yet would say what is in doubt.
            self.wanted = None;
            self.due = Some(now + pause::BEFORE_A_LOSS);
            return false;
        }
        let pause = pause::after(outlook.ended, self.checks, self.failed_checks, interval);
        self.checks = self.checks.saturating_add(1);
        self.failed_checks = if outlook.ended == Ended::Failed { self.failed_checks.saturating_add(1) } else { 0 };
        let next = now + pause::jittered(pause, &self.uid, self.checks);
        self.due = match outlook.rested {
            Some(rested) if outlook.all_rest => Some(rested),
            Some(rested) => Some(rested.min(next)),
            None => Some(next),
        };
        self.want(Report::checked(checked.verdict, &checked.containers, targets));
        if self.wanted.is_none() {
            // It stood there already.
            self.waiting_since = None;
        }
        true
    }

    /// Whether the lock of a container that may be looked into again is gone, by what stands.
    fn is_loss(&self, targets: &[Target], checked: &Checked, now: Instant) -> bool {
        let bad = |verdict: &Verdict| matches!(verdict.state, State::Swapped | State::Unlocked | State::Partial);
        let mut lost = targets.iter().zip(&checked.containers).filter(|(_, (_, verdict))| bad(verdict)).peekable();
        if lost.peek().is_none() {
            return false;
        }
        let Some(pod) = self.pod() else { return false };
        let stood = |target| report::says_locked(&pod, self.written.as_deref(), target, targets);
        lost.any(|(target, _)| stood(target) && self.past.allows(target, now))
    }

    /// A report stands now; gives how long containers waited for it, when it was the first on them.
    pub(super) fn written(&mut self, report: Box<Report>, now: Instant) -> Option<Duration> {
        self.busy = false;
        self.failed_writes = 0;
        let verdict = &report.verdict;
        let outcome = verdict.state != State::Pending;
        if outcome {
            self.told = Some(verdict.reason.as_str());
        }
        // The watch may have been quicker than the answer.
        let shown = self.pod().is_some_and(|pod| report.stands_on(&pod));
        self.written = (!shown).then_some(report);
        if outcome { self.waiting_since.take().map(|since| now - since) } else { None }
    }

    /// A write failed.
    pub(super) fn not_written(&mut self, report: Option<Box<Report>>, interval: Duration, now: Instant) {
        self.busy = false;
        let pause = pause::doubled(FIRST_RETRY, self.failed_writes).min(interval);
        self.failed_writes = self.failed_writes.saturating_add(1);
        let retry = now + pause::jittered(pause, &self.uid, self.checks);
        match report {
            Some(report) => {
                if !self.changed {
                    self.wanted = Some(report);
                }
                self.hold = Some(retry);
            }
            None => self.due = Some(retry),
        }
    }

    fn want(&mut self, report: Report) {
        let report = report.with_past(targets(&self.assessment), &self.past);
        let standing = self.pod().is_some_and(|pod| report.stands_on(&pod))
            && self.written.as_ref().is_none_or(|written| report.is_like(written));
        self.wanted = (!standing).then(|| Box::new(report));
    }
}

/// What is to be looked into, if anything.
fn targets(assessment: &Assessment) -> &[Target] {
    match assessment {
        Assessment::Check(targets) => targets,
        Assessment::Clean | Assessment::Settled(_) => &[],
    }
}

/// The state in the pod's label.
fn state_on(pod: &PodView) -> Option<State> {
    State::ALL.into_iter().find(|state| pod.label() == Some(state.label()))
}

/// The reason that stands on the pod, as one of ours that an Event may already have told.
fn known_reason(reason: Option<&str>) -> Option<&'static str> {
    use crate::domain::verdict::Reason as R;
    [R::Locked, R::PartiallyLocked, R::NotLocked, R::SwappedOut, R::CannotCheck, R::Terminated]
        .map(R::as_str)
        .into_iter()
        .find(|known| Some(*known) == reason)
}
