//! A pod as it is kept between two looks: its slim view as JSON, a quarter of the tree's size.
//!
//! Thousands of pods are kept and a few are looked at in each second; reading one back takes microseconds.

use super::pod_view::PodView;

/// One pod.
#[derive(Debug)]
pub(super) struct Packed(Box<[u8]>);

impl Packed {
    pub(super) fn new(pod: &PodView) -> Self {
        Self(serde_json::to_vec(pod).unwrap_or_default().into_boxed_slice())
    }

    /// `None` never happens: what comes out is what went in.
    pub(super) fn unpack(&self) -> Option<PodView> {
        serde_json::from_slice(&self.0).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controller::assess::tests::pod;

    #[test]
    fn what_comes_out_is_what_went_in() {
        let whole = pod(&json!({
            "metadata": { "labels": { "memlock.dev/state": "locked" }, "annotations": { "memlock.dev/status": "{\"v\":1}" } },
            "spec": {
                "nodeName": "node-1", "runtimeClassName": "runc", "readinessGates": [{ "conditionType": "memlock.dev/LockVerified" }],
                "containers": [{
                    "name": "c", "command": ["/memlock/memlock-lock", "launch"], "resources": { "limits": { "memory": "1Gi" } },
                    "volumeMounts": [{ "name": "memlock", "mountPath": "/memlock" }], "securityContext": { "privileged": true },
                }],
                "initContainers": [{ "name": "i", "restartPolicy": "Always" }],
            },
            "status": { "conditions": [{
                "type": "memlock.dev/Locked", "status": "True", "reason": "Locked", "message": "m", "lastTransitionTime": "1970-01-01T00:00:00Z",
            }] },
        }));
        let back = Packed::new(&whole).unpack().unwrap();
        assert_eq!((back.spec, back.status), (whole.spec, whole.status));
        assert_eq!(back.metadata, whole.metadata);
    }
}
