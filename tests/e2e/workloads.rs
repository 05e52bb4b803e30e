//! Every kind of workload reaches Locked through the webhook, and says why where it cannot.

use serde_json::{Value, json};

use crate::{
    cluster::{Namespace, apply, condition_of_type, eventually, kubectl, label, nbdkit, opted_in, run, running_id},
    host,
};

/// A workload around the example daemon. The template's own rules differ by kind.
fn workload(kind: &str) -> Value {
    let mut template = nbdkit("", &opted_in(), &["--swap"]);
    let labels = json!({ "app": kind.to_lowercase() });
    template["metadata"] = json!({ "annotations": opted_in(), "labels": labels });
    let template = json!({ "metadata": template["metadata"], "spec": template["spec"] });
    let selector = json!({ "matchLabels": labels });
    let mut job = template.clone();
    job["spec"]["restartPolicy"] = json!("Never");
    let (group, spec) = match kind {
        "StatefulSet" => ("apps/v1", json!({ "selector": selector, "serviceName": "ublk", "template": template })),
        "Job" => ("batch/v1", json!({ "template": job })),
        "CronJob" => ("batch/v1", json!({ "schedule": "* * * * *", "jobTemplate": { "spec": { "template": job } } })),
        _ => ("apps/v1", json!({ "selector": selector, "template": template })),
    };
    json!({ "apiVersion": group, "kind": kind, "metadata": { "name": kind.to_lowercase() }, "spec": spec })
}

fn create(namespace: &Namespace, workload: &Value) {
    let output = namespace.create(workload);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_kind_reaches_locked() {
    let namespace = Namespace::new("workloads");
    let kinds = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"];
    for kind in kinds {
        create(&namespace, &workload(kind));
    }
    // The schedule is by the minute: the first run is started by hand, as people do to try one.
    create(&namespace, &workload("CronJob"));
    kubectl(&["-n", &namespace.0, "create", "job", "by-hand", "--from=cronjob/cronjob"]);
    let apps = kinds.map(str::to_lowercase).into_iter().chain(["cronjob".to_owned()]);
    for app in apps {
        eventually(&format!("a locked pod of {app}"), || {
            let list = kubectl(&["-n", &namespace.0, "get", "pods", "-l", &format!("app={app}"), "-o", "json"]);
            let list: Value = serde_json::from_str(&list).unwrap();
            let said: Vec<_> =
                list["items"].as_array().unwrap().iter().map(|pod| label(pod).map(str::to_owned)).collect();
            if said.iter().any(|label| label.as_deref() == Some("locked")) { Ok(()) } else { Err(format!("{said:?}")) }
        });
    }
}

#[test]
fn a_replica_set_that_is_refused_says_why() {
    let namespace = Namespace::new("refused");
    kubectl(&["label", "namespace", &namespace.0, "pod-security.kubernetes.io/enforce=baseline"]);
    create(&namespace, &workload("ReplicaSet"));
    let said = eventually("the ReplicaSet's event", || {
        let described = kubectl(&["-n", &namespace.0, "describe", "replicaset", "replicaset"]);
        if described.contains("FailedCreate") { Ok(described) } else { Err(described) }
    });
    let remedy = format!("kubectl label namespace {} pod-security.kubernetes.io/enforce=privileged", namespace.0);
    assert!(said.contains(&remedy), "{said}");
}

#[test]
fn the_readiness_gate_waits_for_the_lock() {
    let namespace = Namespace::new("gate");
    let annotations = json!({ "memlock.dev/swap-device": "true", "memlock.dev/readiness-gate": "true" });
    for (name, arguments) in [("locks", &["--swap"][..]), ("does-not", &[])] {
        let mut pod = nbdkit(name, &annotations, arguments);
        pod["metadata"]["namespace"] = json!(namespace.0);
        apply(&pod);
    }
    kubectl(&["-n", &namespace.0, "wait", "--for=condition=Ready", "pod/locks", "--timeout=60s"]);
    let pod = namespace.state("does-not", "unlocked");
    let conditions = pod["status"]["conditions"].as_array().unwrap();
    let status = |kind: &str| conditions.iter().find(|c| c["type"] == kind).map(|c| c["status"].clone());
    assert_eq!(status("ContainersReady"), Some(json!("True")));
    assert_eq!(status("Ready"), Some(json!("False")));
    assert_eq!(status("memlock.dev/LockVerified"), Some(json!("False")));
}

#[test]
fn the_readiness_gate_stays_open_when_a_check_hangs_and_closes_at_a_restart() {
    let namespace = Namespace::new("latch");
    let annotations = json!({ "memlock.dev/swap-device": "true", "memlock.dev/readiness-gate": "true" });
    let mut pod = nbdkit("device", &annotations, &["--swap"]);
    pod["metadata"]["namespace"] = json!(namespace.0);
    apply(&pod);
    kubectl(&["-n", &namespace.0, "wait", "--for=condition=Ready", "pod/device", "--timeout=60s"]);
    let ready = namespace.state("device", "locked");
    let verified = |pod: &Value| condition_of_type(pod, "memlock.dev/LockVerified");
    assert_eq!(verified(&ready)["status"], "True");
    let id = running_id(&ready).unwrap();

    let frozen = host::Frozen::new(&id);
    let unknown = namespace.state("device", "unknown");
    assert_eq!(verified(&unknown), verified(&ready), "a check that hangs takes nothing out of service");
    assert_eq!(condition_of_type(&unknown, "Ready")["status"], "True");
    drop(frozen);

    run("kill", &["-KILL", &host::first_process(&id).to_string()]);
    let again = eventually("locked again", || {
        let pod = namespace.get("device").unwrap();
        let fresh = running_id(&pod).is_some_and(|now| now != id);
        let open = verified(&pod)["status"] == "True"
            && verified(&pod)["lastTransitionTime"] != verified(&ready)["lastTransitionTime"];
        if fresh && open && label(&pod) == Some("locked") { Ok(pod) } else { Err(verified(&pod).to_string()) }
    });
    // The time moves with the status alone: it was closed in between.
    eprintln!(
        "the gate opened at {}, and after a restart at {}",
        verified(&ready)["lastTransitionTime"],
        verified(&again)["lastTransitionTime"]
    );
}
