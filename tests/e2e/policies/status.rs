//! What the controller's account may write.

use serde_json::{Value, json};

use super::{Rights, as_controller, passes, refused, said};
use crate::cluster::{Namespace, kubectl, nbdkit, opted_in};

#[test]
fn the_controllers_account_writes_its_own_words_and_no_others() {
    let namespace = Namespace::new("policy-status");
    let mut device = nbdkit("device", &opted_in(), &["--swap"]);
    device["metadata"]["labels"] = json!({ "theirs": "1" });
    device["metadata"]["annotations"]["theirs"] = json!("1");
    let created = namespace.create(&device);
    assert!(created.status.success(), "{}", said(&created));
    namespace.state("device", "locked");
    // kubectl reads what it patches.
    let _rights = Rights::for_controller("policy-status", "get", "pods/status");
    // A dry run passes through the policies and leaves the pod to the controller.
    let patch = |body: &Value| {
        let body = body.to_string();
        let on =
            ["-n", &namespace.0, "patch", "pod", "device", "--subresource=status", "--dry-run=server", "-p", &body];
        as_controller(&on)
    };

    let condition = |body: Value| json!({ "status": { "conditions": [body] } });
    let ours = json!({
        "metadata": { "labels": { "memlock.dev/state": "unknown" }, "annotations": { "memlock.dev/status": "{}" } },
        "status": { "conditions": [
            { "type": "memlock.dev/Locked", "status": "Unknown", "reason": "Test", "message": "m" },
            { "type": "memlock.dev/LockVerified", "status": "True" },
        ] },
    });
    let clean_up = json!({
        "metadata": { "labels": { "memlock.dev/state": null }, "annotations": { "memlock.dev/status": null } },
        "status": { "conditions": [{ "$patch": "delete", "type": "memlock.dev/Locked" }] },
    });
    for body in [ours, clean_up] {
        passes(|| patch(&body));
    }

    let labels = |body: Value| json!({ "metadata": { "labels": body } });
    let annotations = |body: Value| json!({ "metadata": { "annotations": body } });
    let status = |body: Value| json!({ "status": body });
    let container = json!([{ "name": "x", "image": "", "imageID": "", "ready": true, "restartCount": 0 }]);
    let foreign = [
        ("foreign label", labels(json!({ "theirs": "2" }))),
        ("foreign label", labels(json!({ "theirs": null }))),
        ("foreign label", labels(json!({ "app": "x", "memlock.dev/state": "locked" }))),
        ("foreign annotation", annotations(json!({ "theirs": "2" }))),
        ("foreign annotation", annotations(json!({ "theirs": null }))),
        ("foreign annotation", annotations(json!({ "memlock.dev/swap-device": "false" }))),
        ("finalizers", json!({ "metadata": { "finalizers": ["memlock.dev/x"] } })),
        ("foreign condition", condition(json!({ "type": "Ready", "status": "False" }))),
        ("foreign condition", condition(json!({ "$patch": "delete", "type": "Ready" }))),
        ("foreign condition", condition(json!({ "type": "theirs.dev/X", "status": "True" }))),
        ("field of the pod's status", status(json!({ "phase": "Failed" }))),
        ("field of the pod's status", status(json!({ "podIP": "10.9.9.9" }))),
        ("field of the pod's status", status(json!({ "podIP": null, "podIPs": null }))),
        ("field of the pod's status", status(json!({ "hostIP": null, "hostIPs": null }))),
        ("field of the pod's status", status(json!({ "message": "m" }))),
        ("field of the pod's status", status(json!({ "containerStatuses": null }))),
        ("field of the pod's status", status(json!({ "containerStatuses": [{ "name": "nbdkit", "ready": false }] }))),
        ("field of the pod's status", status(json!({ "initContainerStatuses": container }))),
        ("field of the pod's status", status(json!({ "ephemeralContainerStatuses": container }))),
    ];
    for (words, body) in foreign {
        refused("status", words, || patch(&body));
    }
    // Anybody else: an administrator is not asked.
    let body = labels(json!({ "theirs": "2" })).to_string();
    kubectl(&["-n", &namespace.0, "patch", "pod", "device", "--subresource=status", "--dry-run=server", "-p", &body]);
}
