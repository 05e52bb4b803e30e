//! Verdict → what stands on the pod: one condition, one label, one annotation, one patch.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{assess::Target, check::Headroom, pod_view::PodView};
use crate::domain::{
    names,
    probe::SMALLEST_HEADROOM,
    verdict::{Figures, State, Verdict},
};

/// Most bytes of the status annotation.
const MAX_STATUS: usize = 512;
/// Most bytes of the condition's message; Kubernetes allows 32 kB, people read less.
const MAX_MESSAGE: usize = 2_048;
/// How much of a container id tells it from the one before a restart.
const ID_LENGTH: usize = 12;

/// What is to stand on a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    /// The pod's verdict; its message is that of the condition.
    pub(super) verdict: Verdict,
    /// Per container.
    status: Status,
}

/// The annotation `memlock.dev/status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Status {
    v: u8,
    #[serde(default)]
    containers: BTreeMap<String, ContainerStatus>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus {
    state: String,
    id: String,
    #[serde(rename = "lockedKiB", skip_serializing_if = "Option::is_none")]
    locked: Option<u64>,
    #[serde(rename = "unlockedKiB", skip_serializing_if = "Option::is_none")]
    unlocked: Option<u64>,
    #[serde(rename = "swappedKiB", skip_serializing_if = "Option::is_none")]
    swapped: Option<u64>,
    /// Room below the memory limit, where it is too little for another look: a new leader must know it.
    #[serde(default, rename = "leftMiB", skip_serializing_if = "Option::is_none")]
    left: Option<u64>,
}

impl Report {
    /// For a pod that was not checked.
    pub(super) fn settled(mut verdict: Verdict) -> Self {
        truncate(&mut verdict.message, MAX_MESSAGE);
        Self { verdict, status: Status { v: 1, ..Status::default() } }
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

    /// With the room that is left in the containers, where it is too little for another look.
    pub(super) fn with_headroom(mut self, targets: &[Target], headroom: &Headroom) -> Self {
        for (target, left) in targets.iter().zip(headroom) {
            if let Some(status) = self.status.containers.get_mut(&target.container) {
                status.left = left.filter(|left| *left < SMALLEST_HEADROOM).map(|left| left >> 20);
            }
        }
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
    /// failure and a restart do.
    fn verified(&self, pod: &PodView) -> Option<Said<'_>> {
        if !pod.waits_for_us() {
            return None;
        }
        let stood = pod.condition_of_type(names::LOCK_VERIFIED_CONDITION).is_some_and(|c| c.status == "True");
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
    let status = written.map(|report| report.status.clone()).or_else(|| Status::on(pod)).unwrap_or_default();
    status.containers.into_iter().map(|(name, said)| (name, said.state)).collect()
}

/// Whether what stands on the pod was said of exactly these containers, or of none that ran.
pub(super) fn speaks_of(pod: &PodView, written: Option<&Report>, targets: &[Target]) -> bool {
    let status = written.map(|report| report.status.clone()).or_else(|| Status::on(pod)).unwrap_or_default();
    status.containers.is_empty()
        || targets.iter().all(|target| {
            let id = target.id.as_deref().map(short_id).unwrap_or_default();
            status.containers.get(&target.container).is_some_and(|said| said.id.is_empty() || said.id == id)
        })
}

/// The room in these containers that an earlier leader found too little for another look, from what stands on the pod.
pub(super) fn headroom_on(pod: &PodView, targets: &[Target]) -> Headroom {
    let status = Status::on(pod).unwrap_or_default();
    let left = |target: &Target| {
        let said = status.containers.get(&target.container)?;
        let same = target.id.as_deref().is_some_and(|id| said.id == short_id(id));
        said.left.filter(|_| same).map(|left| left << 20)
    };
    targets.iter().map(left).collect()
}

impl Status {
    fn on(pod: &PodView) -> Option<Self> {
        serde_json::from_str(pod.annotation(names::STATUS)?).ok()
    }

    /// The same states of the same containers, with figures in the same step of a tenth.
    fn is_close_to(&self, other: &Self) -> bool {
        // A list that was too long stands shortened.
        let shown: Self = serde_json::from_str(&self.to_json()).unwrap_or_default();
        shown.containers.len() == other.containers.len()
            && shown.containers.iter().zip(&other.containers).all(|((a, x), (b, y))| a == b && x.is_close_to(y))
    }

    fn to_json(&self) -> String {
        let whole = json!(self).to_string();
        if whole.len() <= MAX_STATUS { whole } else { json!({ "v": self.v, "truncated": true }).to_string() }
    }
}

impl ContainerStatus {
    fn new(verdict: &Verdict, id: String) -> Self {
        let figure = |pick: fn(&Figures) -> u64| verdict.figures.as_ref().map(pick);
        Self {
            state: verdict.label().to_owned(),
            id,
            locked: figure(|f| f.locked_kb),
            unlocked: figure(|f| f.unlocked_kb),
            swapped: figure(|f| f.swapped_kb),
            left: None,
        }
    }

    fn is_close_to(&self, other: &Self) -> bool {
        self.state == other.state
            && self.id == other.id
            && self.left == other.left
            && [(self.locked, other.locked), (self.unlocked, other.unlocked), (self.swapped, other.swapped)]
                .into_iter()
                .all(|(a, b)| within_a_tenth(a.unwrap_or_default(), b.unwrap_or_default()))
    }
}

/// No news: what moves by less is written by nobody.
pub(super) fn within_a_tenth(a: u64, b: u64) -> bool {
    a.abs_diff(b).saturating_mul(10) <= a.max(b)
}

/// `containerd://4f2a…` → the first characters after the scheme.
pub(super) fn short_id(id: &str) -> String {
    id.rsplit("://").next().unwrap_or(id).chars().take(ID_LENGTH).collect()
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
