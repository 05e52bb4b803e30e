//! A pod as it is kept between two looks: what reports are compared with and written by, as short as it goes.
//!
//! Thousands of pods are kept and a few are looked at in each second; reading one back takes microseconds. What is to be
//! checked of it is known by then and kept apart.

use std::collections::BTreeMap;

use kube::api::ObjectMeta;

use super::pod_view::{Condition, PodView, ReadinessGate, Spec, Status};
use crate::domain::names;

/// One pod.
#[derive(Debug)]
pub(super) struct Packed(Box<[u8]>);

type Text = Option<String>;
/// Name, namespace, uid, version; label and annotation of ours; whether it waits for us; conditions of ours by type, status,
/// reason, message and time.
type Row = (Text, Text, Text, Text, Text, Text, bool, Vec<(String, String, Text, Text, Text)>);

impl Packed {
    pub(super) fn new(pod: &PodView) -> Self {
        let ObjectMeta { name, namespace, uid, resource_version, .. } = pod.metadata.clone();
        let conditions = pod.status.conditions.iter().cloned().map(|mut c| {
            // A definite verdict has figures, and its sentence is compared with none.
            c.message.take_if(|_| c.status != "Unknown");
            (c.type_, c.status, c.reason, c.message, c.last_transition_time)
        });
        let said = pod.annotation(names::STATUS).map(str::to_owned);
        let label = pod.label().map(str::to_owned);
        let row: Row = (name, namespace, uid, resource_version, label, said, pod.waits_for_us(), conditions.collect());
        Self(serde_json::to_vec(&row).unwrap_or_default().into_boxed_slice())
    }

    /// `None` never happens: what comes out is what went in.
    pub(super) fn unpack(&self) -> Option<PodView> {
        let (name, namespace, uid, resource_version, label, said, waits_for_us, conditions): Row =
            serde_json::from_slice(&self.0).ok()?;
        let one = |key: &str, value: Text| value.map(|value| BTreeMap::from([(key.to_owned(), value)]));
        let gate = ReadinessGate { condition_type: names::LOCK_VERIFIED_CONDITION.to_owned() };
        let conditions = conditions.into_iter().map(|(type_, status, reason, message, last_transition_time)| {
            Condition { type_, status, reason, message, last_transition_time }
        });
        Some(PodView {
            metadata: ObjectMeta {
                name,
                namespace,
                uid,
                resource_version,
                labels: one(names::STATE, label),
                annotations: one(names::STATUS, said),
                ..ObjectMeta::default()
            },
            spec: Spec { readiness_gates: waits_for_us.then_some(gate).into_iter().collect(), ..Spec::default() },
            status: Status { conditions: conditions.collect(), ..Status::default() },
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controller::assess::tests::pod;

    #[test]
    fn what_comes_out_is_what_went_in_of_that() {
        let condition = |type_: &str, status: &str, message: Option<&str>| json!({ "type": type_, "status": status, "reason": "R", "message": message, "lastTransitionTime": "1970-01-01T00:00:00Z" });
        let kept = |message: Option<&str>| {
            json!({
                "metadata": {
                    "name": "p", "namespace": "n", "uid": "u-1", "resourceVersion": "7",
                    "labels": { "memlock.dev/state": "locked" }, "annotations": { "memlock.dev/status": "{\"v\":1}" },
                },
                "spec": { "readinessGates": [{ "conditionType": "memlock.dev/LockVerified" }] },
                "status": { "conditions": [
                    condition("memlock.dev/Locked", "Unknown", Some("m")),
                    condition("memlock.dev/LockVerified", "True", message),
                ] },
            })
        };
        let back = Packed::new(&pod(&kept(Some("with figures")))).unpack().unwrap();
        let expected: PodView = serde_json::from_value(kept(None)).unwrap();
        assert_eq!((back.spec, back.status), (expected.spec, expected.status));
        assert_eq!(back.metadata, expected.metadata);
    }
}
