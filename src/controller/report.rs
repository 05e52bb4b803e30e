//! Verdict → what stands on the pod: one condition, one label, one annotation, one patch.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    assess::Target,
    past::Past,
    pod_view::PodView,
    status::{ContainerStatus, Status, short_id},
};
use crate::domain::{
    names,
    probe::SMALLEST_HEADROOM,
    verdict::{State, Verdict},
};

/// Most bytes of the condition's message; Kubernetes allows 32 kB, people read less.
const MAX_MESSAGE: usize = 2_048;

/// What is to stand on a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    /// The pod's verdict; its message is that of the condition.
    pub(super) verdict: Verdict,
    /// Per container.
    status: Status,
}

impl Report {
    /// For a pod that was not checked.
    pub(super) fn settled(mut verdict: Verdict) -> Self {
        truncate(&mut verdict.message, MAX_MESSAGE);
        Self { verdict, status: Status::new() }
    }

    /// For a pod that was.
    pub(super) fn checked(verdict: Verdict, containers: &[(String, Verdict)], targets: &[Target]) -> Self {
        let mut report = Self::settled(verdict);
        report.status.containers = containers
            .iter()
            .map(|(name, verdict)| {
                let id = targets.iter().find(|t| t.container == *name).and_then(|t| t.id.as_deref());
                (name.clone(), ContainerStatus::new(verdict, id.map(short_id).unwrap_or_default()))
            })
            .collect();
        report
    }

    /// With what a new leader must know before it looks into the containers: room that is too little, and kills.
    pub(super) fn with_past(mut self, targets: &[Target], past: &Past) -> Self {
        for target in targets {
            if let Some(status) = self.status.containers.get_mut(&target.container) {
                status.left = past.left(target).filter(|left| *left < SMALLEST_HEADROOM).map(|left| left >> 20);
            }
        }
        self.status.killed = past.killed().map(|(name, limit)| (name.to_owned(), limit)).collect();
        self
    }

    /// Whether the pod, as last seen, already says this.
    pub(super) fn stands_on(&self, pod: &PodView) -> bool {
        let verdict = &self.verdict;
        let condition = pod.condition().is_some_and(|c| {
            c.status == verdict.state.condition_status() && c.reason.as_deref() == Some(verdict.reason.as_str())
        });
        // Without figures the sentence is all there is, so a new one is news.
        let sentence =
            verdict.figures.is_some() || pod.condition().and_then(|c| c.message.as_deref()) == Some(&verdict.message);
        condition
            && sentence
            && self.verified(pod).is_none_or(|verified| verified.stands_on(pod))
            && pod.label() == Some(verdict.label())
            && Status::on(pod).is_some_and(|status| self.status.is_close_to(&status))
    }

    /// The same, seen against what was last written.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let (a, b) = (&self.verdict, &other.verdict);
        let sentence = a.figures.is_some() || a.message == b.message;
        (a.state, a.reason) == (b.state, b.reason) && sentence && self.status.is_close_to(&other.status)
    }

    /// Body of `PATCH pods/status` (strategic merge; conditions merge by type).
    pub(super) fn patch(&self, pod: &PodView, now: Timestamp) -> Value {
        let locked = Said {
            type_: names::LOCKED_CONDITION,
            status: self.verdict.state.condition_status(),
            reason: self.verdict.reason.as_str(),
            message: &self.verdict.message,
        };
        let conditions: Vec<Value> =
            [Some(locked), self.verified(pod)].into_iter().flatten().map(|said| said.to_json(pod, now)).collect();
        json!({
            "metadata": {
                "uid": pod.uid(),
                "labels": { names::STATE: self.verdict.label() },
                "annotations": { names::STATUS: self.status.to_json() },
            },
            "status": { "conditions": conditions },
        })
    }

    /// The condition that a readiness gate waits for, where the pod has one.
    ///
    /// It latches: a check that could not be made takes no healthy device out of service, but a definite
    /// failure and a restart do, also one whose `Pending` was never written, and so does an end of all checks.
    fn verified(&self, pod: &PodView) -> Option<Said<'_>> {
        if !pod.waits_for_us() {
            return None;
        }
        let stood = pod.condition_of_type(names::LOCK_VERIFIED_CONDITION).is_some_and(|c| c.status == "True")
            && Status::on(pod).is_some_and(|status| self.status.is_of_runs_of(&status));
        let status = match self.verdict.state {
            State::Locked => true,
            State::Swapped | State::Unlocked | State::Partial | State::Pending => false,
            State::Unknown => stood,
        };
        Some(Said {
            type_: names::LOCK_VERIFIED_CONDITION,
            status: if status { "True" } else { "False" },
            reason: if status { "Verified" } else { self.verdict.reason.as_str() },
            message: if status { "the memory was seen to be locked" } else { &self.verdict.message },
        })
    }
}

/// One condition as it is to stand.
struct Said<'a> {
    type_: &'static str,
    status: &'static str,
    reason: &'a str,
    message: &'a str,
}

impl Said<'_> {
    fn stands_on(&self, pod: &PodView) -> bool {
        let condition = pod.condition_of_type(self.type_);
        condition.is_some_and(|c| c.status == self.status && c.reason.as_deref() == Some(self.reason))
    }

    fn to_json(&self, pod: &PodView, now: Timestamp) -> Value {
        let kept = pod.condition_of_type(self.type_).filter(|c| c.status == self.status);
        let since = kept.and_then(|c| c.last_transition_time.clone());
        json!({
            "type": self.type_,
            "status": self.status,
            "reason": self.reason,
            "message": self.message,
            "lastTransitionTime": since.unwrap_or_else(|| now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        })
    }
}

/// Takes everything of ours off a pod that opted out.
pub(super) fn clean_patch(pod: &PodView) -> Value {
    json!({
        "metadata": {
            "uid": pod.uid(),
            "labels": { names::STATE: null },
            "annotations": { names::STATUS: null },
        },
        "status": { "conditions": [{ "$patch": "delete", "type": names::LOCKED_CONDITION }] },
    })
}

/// The word for each container, by what was last written or, before that, seen.
pub(super) fn states(pod: &PodView, written: Option<&Report>) -> BTreeMap<String, String> {
    standing(pod, written).containers.into_iter().map(|(name, said)| (name, said.state)).collect()
}

/// Whether what stands on the pod was said of exactly these containers, or of none that ran.
pub(super) fn speaks_of(pod: &PodView, written: Option<&Report>, targets: &[Target]) -> bool {
    standing(pod, written).speaks_of(targets)
}

/// Whether what stands on the pod says that this run of the container was locked.
pub(super) fn says_locked(pod: &PodView, written: Option<&Report>, target: &Target, targets: &[Target]) -> bool {
    let locked = State::Locked.label();
    let all = written.map_or(pod.label() == Some(locked), |report| report.verdict.label() == locked);
    standing(pod, written).says_locked(target, targets, all)
}

fn standing(pod: &PodView, written: Option<&Report>) -> Status {
    written.map(|report| report.status.clone()).or_else(|| Status::on(pod)).unwrap_or_default()
}

/// At a character's edge.
pub(super) fn truncate(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes.saturating_sub('…'.len_utf8())));
        text.push('…');
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
