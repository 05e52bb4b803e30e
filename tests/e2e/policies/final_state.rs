//! Annotated pods without the webhook.

use memlock_operator::domain::names::CERTIFICATE_MANAGER;
use serde_json::{Value, json};

use super::{dry_run, refused, said};
use crate::cluster::{Namespace, eventually, kubectl, kubectl_with, nbdkit, opted_in};

/// The webhook configuration, taken away for as long as this lives.
struct WithoutWebhook(Value);

impl WithoutWebhook {
    fn new() -> Self {
        let name = ["mutatingwebhookconfiguration", "memlock-operator"];
        let mut saved: Value = serde_json::from_str(&kubectl(&[&["get", "-o", "json"], &name[..]].concat())).unwrap();
        for field in ["uid", "resourceVersion", "generation", "creationTimestamp"] {
            saved["metadata"].as_object_mut().unwrap().remove(field);
        }
        kubectl(&[&["delete"], &name[..]].concat());
        Self(saved)
    }
}

impl Drop for WithoutWebhook {
    /// Each part by the manager that had it, so that the next upgrade meets what a user's would.
    fn drop(&mut self) {
        let bundles = self.0["webhooks"].as_array_mut().unwrap().iter_mut().map(|entry| {
            let bundle = entry["clientConfig"].as_object_mut().unwrap().remove("caBundle");
            json!({ "name": entry["name"], "clientConfig": { "caBundle": bundle } })
        });
        let bundles = json!({
            "webhooks": bundles.collect::<Vec<_>>(),
            "apiVersion": self.0["apiVersion"],
            "kind": self.0["kind"],
            "metadata": { "name": self.0["metadata"]["name"] },
        });
        for (manager, part) in [("helm", &self.0), (CERTIFICATE_MANAGER, &bundles)] {
            let manager = format!("--field-manager={manager}");
            let output = kubectl_with(&["apply", "--server-side", "--force-conflicts", &manager, "-f", "-"], part);
            if !output.status.success() {
                eprintln!("the webhook configuration was not put back: {}", said(&output));
            }
        }
    }
}

#[test]
fn without_the_webhook_no_annotated_pod_slips_through() {
    let namespace = Namespace::new("policy-final");
    let device = |change: Value| {
        let mut pod = nbdkit("device", &opted_in(), &["--swap"]);
        json_patch::merge(&mut pod, &change);
        pod
    };
    let with = |context: Value| {
        let mut pod = device(json!({}));
        pod["spec"]["containers"][0]["securityContext"] = context;
        pod
    };
    let capable = json!({ "capabilities": { "add": ["IPC_LOCK"] } });
    // The second container or the sidecar has the capability, the first has not.
    let second = |annotations: Value, place: &str| {
        let mut pod = device(json!({ "metadata": { "annotations": annotations } }));
        let extra = json!({ "name": "extra", "image": "localhost/nbdkit:1", "securityContext": capable });
        if place == "beside" {
            pod["spec"]["containers"].as_array_mut().unwrap().push(extra);
        } else {
            pod["spec"]["initContainers"] = json!([extra]);
            if place == "sidecar" {
                pod["spec"]["initContainers"][0]["restartPolicy"] = json!("Always");
            }
        }
        pod
    };
    let annotated = |annotations: Value| device(json!({ "metadata": { "annotations": annotations } }));

    let away = WithoutWebhook::new();
    // The API server forgets the webhook a moment later; until then it is the webhook that helps the pod.
    eventually("the policy's turn", || {
        let output = dry_run(&namespace, &device(json!({})));
        if output.status.success() { Err(said(&output)) } else { Ok(()) }
    });
    let lacks = "has no usable IPC_LOCK";
    let no = [
        ("container nbdkit has no usable IPC_LOCK", device(json!({}))),
        (lacks, with(json!({ "capabilities": { "add": ["CAP_IPC_LOCK", "SYS_NICE"] } }))),
        (lacks, with(json!({ "capabilities": { "add": ["ALL"], "drop": ["IPC_LOCK"] } }))),
        (lacks, with(json!({ "capabilities": { "add": ["IPC_LOCK"], "drop": ["cap_ipc_lock"] } }))),
        (lacks, with(json!({ "privileged": true, "capabilities": { "drop": ["IPC_LOCK"] } }))),
        (lacks, with(json!({ "privileged": false }))),
        (lacks, annotated(json!({ "memlock.dev/required": "true", "memlock.dev/verify-only": "false" }))),
        ("container nbdkit has", second(json!({}), "beside")),
        ("container nbdkit has", second(json!({ "memlock.dev/containers": "extra, nbdkit" }), "beside")),
        ("container extra has", second(json!({ "memlock.dev/containers": "extra" }), "init")),
        ("container nbdkit has", second(json!({ "kubectl.kubernetes.io/default-container": "nobody" }), "beside")),
        ("container nobody has", second(json!({ "memlock.dev/containers": "nobody" }), "beside")),
        ("is too large to be checked", annotated(json!({ "memlock.dev/containers": ",".repeat(200_000) }))),
    ];
    for (words, pod) in no {
        refused("final-state", words, || dry_run(&namespace, &pod));
    }
    let yes = [
        with(capable.clone()),
        with(json!({ "capabilities": { "add": ["ipc_lock"], "drop": ["ALL"] } })),
        with(json!({ "capabilities": { "add": ["ALL"] } })),
        with(json!({ "privileged": true })),
        with(json!({ "privileged": true, "capabilities": { "drop": ["ALL"] } })),
        second(json!({ "memlock.dev/containers": " extra ,extra" }), "beside"),
        second(json!({ "memlock.dev/containers": "extra" }), "sidecar"),
        second(json!({ "kubectl.kubernetes.io/default-container": "extra" }), "beside"),
        annotated(json!({ "memlock.dev/verify-only": "true" })),
        annotated(json!({ "memlock.dev/required": "false" })),
        annotated(json!({ "memlock.dev/swap-device": "false" })),
        annotated(json!({ "memlock.dev/swap-device": null })),
    ];
    for pod in yes {
        let output = dry_run(&namespace, &pod);
        assert!(output.status.success(), "{}: {pod}", said(&output));
    }
    // For good, not only in a dry run, and the controller finds it locked.
    let created = namespace.create(&with(capable));
    assert!(created.status.success(), "{}", said(&created));
    namespace.state("device", "locked");

    drop(away);
    eventually("the webhook's turn", || {
        let output = dry_run(&namespace, &device(json!({ "metadata": { "name": "again" } })));
        if output.status.success() { Ok(()) } else { Err(said(&output)) }
    });
}
