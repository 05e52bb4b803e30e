//! A pod as it is kept between two looks: what reports are compared with and written by, as short as it goes.
//!
//! Thousands of pods are kept and a few are looked at in each second; reading one back takes microseconds. What is to be
//! checked of it is known by then and kept apart.

use std::collections::BTreeMap;

use kube::api::ObjectMeta;

use super::pod_view::{Condition, PodKey, PodView, ReadinessGate, Spec, Status};
use crate::domain::names;

/// One pod.
#[derive(Debug)]
pub(super) struct Packed(Box<[u8]>);

type Text = Option<String>;
/// Label of ours; whether it waits for us; conditions of ours by type without our prefix, status, reason, message and time.
type Row = (Text, bool, Vec<(String, String, Text, Text, Text)>);

impl Packed {
    pub(super) fn new(pod: &PodView) -> Self {
        let conditions = pod.status.conditions.iter().cloned().map(|mut c| {
            // A definite verdict has figures, and its sentence is compared with none.
            c.message.take_if(|_| c.status != "Unknown");
            let kind = c.type_.strip_prefix(names::PREFIX).unwrap_or_default().to_owned();
            (kind, c.status, c.reason, c.message, c.last_transition_time)
        });
        let row: Row = (pod.label().map(str::to_owned), pod.waits_for_us(), conditions.collect());
        let mut bytes = serde_json::to_vec(&row).unwrap_or_default();
        // JSON itself, which would be longer inside of JSON, and holds no line feed.
        if let Some(said) = pod.annotation(names::STATUS) {
            bytes.push(b'\n');
            bytes.extend(said.bytes());
        }
        Self(bytes.into_boxed_slice())
    }

    /// The pod of this name and uid. `None` never happens: what comes out is what went in.
    pub(super) fn unpack(&self, key: &PodKey, uid: &str) -> Option<PodView> {
        let text = std::str::from_utf8(&self.0).ok()?;
        let (row, said) = text.split_once('\n').map_or((text, None), |(row, said)| (row, Some(said)));
        let (label, waits_for_us, conditions): Row = serde_json::from_str(row).ok()?;
        let one = |key: &str, value: Text| value.map(|value| BTreeMap::from([(key.to_owned(), value)]));
        let gate = ReadinessGate { condition_type: names::LOCK_VERIFIED_CONDITION.to_owned() };
        let conditions = conditions.into_iter().map(|(kind, status, reason, message, last_transition_time)| {
            Condition { type_: format!("{}{kind}", names::PREFIX), status, reason, message, last_transition_time }
        });
        Some(PodView {
            metadata: ObjectMeta {
                name: Some(key.name.clone()),
                namespace: Some(key.namespace.clone()),
                uid: Some(uid.to_owned()),
                labels: one(names::STATE, label),
                annotations: one(names::STATUS, said.map(str::to_owned)),
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
                    "name": "p", "namespace": "n", "uid": "u-1",
                    "labels": { "memlock.dev/state": "locked" }, "annotations": { "memlock.dev/status": "{\"v\":1}" },
                },
                "spec": { "readinessGates": [{ "conditionType": "memlock.dev/LockVerified" }] },
                "status": { "conditions": [
                    condition("memlock.dev/Locked", "Unknown", Some("m")),
                    condition("memlock.dev/LockVerified", "True", message),
                ] },
            })
        };
        let whole = pod(&kept(Some("with figures")));
        let back = Packed::new(&whole).unpack(&whole.key(), whole.uid()).unwrap();
        let expected: PodView = serde_json::from_value(kept(None)).unwrap();
        assert_eq!((back.spec, back.status), (expected.spec, expected.status));
        assert_eq!(back.metadata, expected.metadata);
    }
}
