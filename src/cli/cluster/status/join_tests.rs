use rstest::rstest;
use serde_json::{Value, json};

use super::*;

/// A running, opted-in pod with the JSON merged over it.
fn pod(change: &Value) -> Pod {
    let mut raw = json!({
        "metadata": {
            "name": "ublk-0", "namespace": "storage", "uid": "u-1", "creationTimestamp": "2026-01-01T10:00:00Z",
            "annotations": { "memlock.dev/swap-device": "true", "memlock.dev/device": "/dev/ublkb0" },
        },
        "spec": { "nodeName": "node-1", "containers": [{ "name": "ublk" }, { "name": "side" }] },
        "status": { "phase": "Running", "containerStatuses": [
            { "name": "ublk", "containerID": "containerd://4f2a99", "state": { "running": {} },
              "image": "", "imageID": "", "ready": true, "restartCount": 0 },
        ] },
    });
    json_patch::merge(&mut raw, change);
    serde_json::from_value(raw).unwrap()
}

fn device(change: &Value) -> SwapDevice {
    let mut raw = json!({
        "apiVersion": "memlock.dev/v1alpha1", "kind": "SwapDevice",
        "metadata": {
            "name": "ublk-0.ublk", "namespace": "storage", "creationTimestamp": "2026-01-01T10:00:05Z",
            "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "name": "ublk-0", "uid": "u-1" }],
        },
        "spec": { "pod": "ublk-0", "container": "ublk", "node": "node-1" },
        "status": {
            "state": "Locked", "containerID": "containerd://4f2a99", "locked": "202Mi", "unlocked": "0", "swapped": "0",
            "conditions": [{ "type": "Locked", "status": "True", "reason": "Locked", "message": "all of it",
                             "lastTransitionTime": "2026-01-01T10:00:05Z" }],
        },
    });
    json_patch::merge(&mut raw, change);
    serde_json::from_value(raw).unwrap()
}

/// Container, state, reason, whether there is an object, locked.
fn seen(rows: &[Row]) -> Vec<(String, SwapDeviceState, String, bool, Option<String>)> {
    let one = |row: &Row| {
        let reason = row.condition().map(|condition| condition.reason.clone()).unwrap_or_default();
        let locked = row.device.status.as_ref().and_then(|status| status.locked.clone());
        (row.device.spec.container.clone(), row.state(), reason, row.exists, locked)
    };
    rows.iter().map(one).collect()
}

fn one(pod: &Pod, devices: &[SwapDevice]) -> (SwapDeviceState, String, bool, Option<String>) {
    let [(_, state, reason, exists, locked)] = seen(&rows_of_pod(pod, devices)).try_into().unwrap();
    (state, reason, exists, locked)
}

#[test]
fn what_the_cluster_holds_of_the_running_container_is_shown_as_it_is() {
    let row = &rows_of_pod(&pod(&json!({})), &[device(&json!({}))])[0];
    assert_eq!(json!(row.device), json!(device(&json!({}))));
    assert!(row.exists);
}

/// None of these may ever show Locked.
#[rstest]
#[case::restarted(json!({}), json!({ "status": { "containerID": "containerd://0ld" } }), SwapDeviceState::Unknown, "Outdated")]
#[case::without_id(json!({}), json!({ "status": { "containerID": null } }), SwapDeviceState::Unknown, "Outdated")]
#[case::empty_id(json!({}), json!({ "status": { "containerID": "" } }), SwapDeviceState::Unknown, "Outdated")]
#[case::stopped(json!({ "status": { "containerStatuses": null } }), json!({}), SwapDeviceState::Pending, "Pending")]
#[case::finished(json!({ "status": { "phase": "Failed" } }), json!({}), SwapDeviceState::Unknown, "Terminated")]
#[case::not_written_yet(json!({}), json!({ "status": null }), SwapDeviceState::Unknown, "NotChecked")]
fn a_verdict_of_another_time_is_none(
    #[case] on_pod: Value,
    #[case] on_device: Value,
    #[case] state: SwapDeviceState,
    #[case] reason: &str,
) {
    assert_eq!(one(&pod(&on_pod), &[device(&on_device)]), (state, reason.to_owned(), true, None));
}

#[rstest]
#[case::another_uid(json!({ "metadata": { "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "name": "ublk-0", "uid": "u-0" }] } }))]
#[case::another_namespace(json!({ "metadata": { "namespace": "other" } }))]
#[case::another_container(json!({ "spec": { "container": "side" } }))]
fn a_device_of_another_pod_or_container_does_not_count(#[case] change: Value) {
    let expected = (SwapDeviceState::Unknown, "NotChecked".to_owned(), false, None);
    assert_eq!(one(&pod(&json!({})), &[device(&change)]), expected);
}

fn with_status(containers: &Value, status: &str, reason: &str) -> Value {
    let condition = json!({ "type": "memlock.dev/Locked", "status": status, "reason": reason, "message": "m" });
    let text = json!({ "v": 1, "containers": containers }).to_string();
    json!({
        "metadata": { "annotations": { "memlock.dev/status": text } },
        "status": { "conditions": [condition] },
    })
}

#[rstest]
#[case::same_container("4f2a", SwapDeviceState::Locked, "Locked", Some("202Mi"))]
#[case::another_one("0ld", SwapDeviceState::Unknown, "Outdated", None)]
#[case::no_id("", SwapDeviceState::Unknown, "Outdated", None)]
fn without_an_object_the_pod_speaks_for_itself(
    #[case] id: &str,
    #[case] state: SwapDeviceState,
    #[case] reason: &str,
    #[case] locked: Option<&str>,
) {
    let said = json!({ "ublk": { "state": "locked", "id": id, "lockedKiB": 206_848, "unlockedKiB": 0 } });
    let pod = pod(&with_status(&said, "True", "Locked"));
    let row = &rows_of_pod(&pod, &[])[0];
    assert_eq!(one(&pod, &[]), (state, reason.to_owned(), false, locked.map(str::to_owned)));
    assert_eq!(row.condition().unwrap().status, if state == SwapDeviceState::Locked { "True" } else { "Unknown" });
    assert_eq!(row.device.metadata.name.as_deref(), Some("ublk-0.ublk"));
}

#[rstest]
#[case::missed("Unknown", "NotInjected", "NotInjected")]
#[case::a_claim_without_figures("True", "Locked", "NotChecked")]
fn a_condition_without_figures_claims_nothing(#[case] status: &str, #[case] reason: &str, #[case] expected: &str) {
    let pod = pod(&with_status(&json!({}), status, reason));
    assert_eq!(one(&pod, &[]), (SwapDeviceState::Unknown, expected.to_owned(), false, None));
}

#[test]
fn a_pod_that_nobody_looked_at_shows_too() {
    let waiting = json!({ "status": { "containerStatuses": [
        { "name": "ublk", "state": { "waiting": { "reason": "CrashLoopBackOff" } }, "image": "", "imageID": "", "ready": false, "restartCount": 3 },
    ] } });
    let rows = rows_of_pod(&pod(&waiting), &[]);
    assert_eq!((rows[0].state(), rows[0].exists), (SwapDeviceState::Pending, false));
    assert!(rows[0].condition().unwrap().message.contains("(CrashLoopBackOff)"));
    assert_eq!(rows[0].device.spec.device.as_deref(), Some("/dev/ublkb0"));
}

#[rstest]
#[case::two("ublk,side", &["ublk", "side"])]
#[case::default_container("", &["ublk"])]
fn each_chosen_container_has_a_row(#[case] named: &str, #[case] expected: &[&str]) {
    let change = if named.is_empty() {
        json!({})
    } else {
        json!({ "metadata": { "annotations": { "memlock.dev/containers": named } } })
    };
    let rows = rows_of_pod(&pod(&change), &[]);
    let containers: Vec<&str> = rows.iter().map(|row| row.device.spec.container.as_str()).collect();
    assert_eq!(containers, expected);
}

#[test]
fn bad_annotations_are_a_row_that_says_so_and_no_annotation_is_none() {
    let unknown = pod(&json!({ "metadata": { "annotations": { "memlock.dev/containers": "x" } } }));
    let row = &rows_of_pod(&unknown, &[])[0];
    assert_eq!((row.state(), row.device.spec.container.as_str()), (SwapDeviceState::Unknown, ""));
    assert!(row.condition().unwrap().message.contains("it has ublk, side"));
    for off in [json!(null), json!("false")] {
        let pod = pod(&json!({ "metadata": { "annotations": { "memlock.dev/swap-device": off } } }));
        assert!(rows_of_pod(&pod, &[device(&json!({}))]).is_empty());
    }
}

#[rstest]
#[case(0, "0")]
#[case(10_239, "10239Ki")]
#[case(206_848, "202Mi")]
fn sizes_are_quantities(#[case] kb: u64, #[case] expected: &str) {
    assert_eq!(quantity(kb), expected);
    let bytes = crate::domain::quantity::parse(expected).unwrap();
    assert_eq!(bytes, kb * 1024);
}
