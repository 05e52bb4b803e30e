//! The init configuration under what clusters demand of pods, and in every shape of pod.

use serde_json::{Value, json};

use crate::{
    cluster::{Namespace, apply, eventually, has_image_volumes, kubectl, kubectl_with, reported, running_id},
    host,
    offline::{Agent, Installation, inject},
};

/// The matrix's daemon, which locks itself; the JSON is merged over it.
fn pod(namespace: &Namespace, name: &str, change: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": namespace.0, "annotations": { "memlock.dev/swap-device": "true" } },
        "spec": { "terminationGracePeriodSeconds": 0, "restartPolicy": "Never", "containers": [daemon("daemon", &json!({}))] },
    });
    json_patch::merge(&mut pod, change);
    pod
}

fn daemon(name: &str, change: &Value) -> Value {
    let mut container = json!({
        "name": name, "image": "localhost/matrix:1", "imagePullPolicy": "IfNotPresent", "command": ["/static", "lock"],
        "resources": { "requests": { "cpu": "10m", "memory": "80Mi" }, "limits": { "cpu": "10m", "memory": "80Mi" } },
    });
    json_patch::merge(&mut container, change);
    container
}

/// Waits for Locked, and holds it against the node's kernel.
fn locked(namespace: &Namespace, name: &str) -> Value {
    let pod = namespace.state(name, "locked");
    let pid = host::first_process(&running_id(&pod).unwrap());
    assert!(host::kilobytes(pid, "VmLck") > 16 << 10, "{name}");
    pod
}

#[test]
fn quotas_limits_and_quality_of_service_are_met() {
    let namespace = Namespace::new("quota");
    // Limits must be named, and no container may have more than the daemon itself.
    apply(
        &json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "limits", "namespace": namespace.0 },
        "spec": { "hard": { "limits.cpu": "10m", "limits.memory": "80Mi", "requests.memory": "80Mi" } } }),
    );
    apply(
        &json!({ "apiVersion": "v1", "kind": "LimitRange", "metadata": { "name": "sizes", "namespace": namespace.0 },
        "spec": { "limits": [{ "type": "Container", "max": { "cpu": "10m", "memory": "80Mi" }, "min": { "memory": "80Mi" } }] } }),
    );
    eventually("the quota is counted", || {
        let quota = kubectl(&["-n", &namespace.0, "get", "resourcequota", "limits", "-o", "jsonpath={.status.hard}"]);
        if quota.is_empty() { Err("no status yet".to_owned()) } else { Ok(()) }
    });
    apply(&pod(&namespace, "guaranteed", &json!({})));
    let found = locked(&namespace, "guaranteed");
    assert_eq!(found["status"]["qosClass"], "Guaranteed");
    let names: Vec<&str> =
        found["spec"]["initContainers"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["memlock-init", "memlock-preflight"]);
}

#[test]
fn a_pod_without_figures_stays_best_effort() {
    let namespace = Namespace::new("besteffort");
    apply(&pod(
        &namespace,
        "free",
        &json!({ "spec": { "containers": [daemon("daemon", &json!({ "resources": null }))] } }),
    ));
    assert_eq!(locked(&namespace, "free")["status"]["qosClass"], "BestEffort");
}

#[test]
fn a_pod_that_forbids_root_everywhere_is_locked() {
    let namespace = Namespace::new("nonroot");
    let hardened = json!({ "securityContext": {
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] } } });
    let change = json!({ "spec": {
        "securityContext": { "runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 3000,
            "seccompProfile": { "type": "RuntimeDefault" } },
        "containers": [daemon("daemon", &hardened)],
    } });
    apply(&pod(&namespace, "hardened", &change));
    let found = locked(&namespace, "hardened");
    let pid = host::first_process(&running_id(&found).unwrap());
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    // Only IPC_LOCK (bit 14), as another user than root, without new privileges: the daemon gained nothing else.
    for line in ["CapEff:\t0000000000004000", "Uid:\t1000\t1000\t1000\t1000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{line}: {status}");
    }
}

#[test]
fn several_daemons_and_a_native_sidecar_are_each_locked() {
    let namespace = Namespace::new("several");
    let side = daemon("side", &json!({ "restartPolicy": "Always", "command": ["/dynamic"] }));
    let change = json!({
        "metadata": { "annotations": { "memlock.dev/containers": "one,two,side", "memlock.dev/lock-by": "agent" } },
        "spec": {
            "initContainers": [side],
            "containers": [daemon("one", &json!({ "command": ["/go"] })), daemon("two", &json!({ "command": null }))],
        },
    });
    apply(&pod(&namespace, "several", &change));
    let found = namespace.state("several", "locked");
    for container in ["one", "two", "side"] {
        assert_eq!(reported(&found, container)["state"], "locked", "{found}");
    }
}

/// How often the API server has asked the webhook so far, by its own count.
fn calls() -> u64 {
    let metrics = kubectl(&["get", "--raw", "/metrics"]);
    let lines = metrics.lines().filter(|line| line.starts_with("apiserver_admission_webhook_request_total{"));
    let counts = lines.filter(|line| line.contains("name=\"inject"));
    counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn the_api_server_asks_once() {
    let namespace = Namespace::new("asked");
    let before = calls();
    let output = kubectl_with(
        &["-n", &namespace.0, "create", "-f", "-", "--dry-run=server", "-o", "json"],
        &pod(&namespace, "once", &json!({ "spec": { "securityContext": { "runAsUser": 1000 } } })),
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let created: Value = serde_json::from_slice(&output.stdout).unwrap();
    let all = [&created["spec"]["initContainers"], &created["spec"]["containers"]];
    let all: Vec<&Value> = all.into_iter().flat_map(|list| list.as_array().unwrap()).collect();
    let token = |container: &&&Value| {
        let mounts = container["volumeMounts"].as_array().unwrap();
        mounts.iter().any(|mount| mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount")
    };
    assert_eq!(all.iter().map(|container| &container["name"]).collect::<Vec<_>>(), ["memlock-init", "daemon"]);
    assert_eq!(
        all.iter().filter(token).count(),
        all.len(),
        "who sees the token is the API server's decision: {created}"
    );
    assert_eq!(calls(), before + 1);
}

#[test]
fn the_image_itself_can_be_mounted() {
    let namespace = Namespace::new("imagevolume");
    let other = json!({ "spec": { "securityContext": { "runAsUser": 1000 } } });
    let written = inject(&pod(&namespace, "mounted", &other), Agent::Mounted, "privileged").unwrap();
    assert!(written["spec"].get("initContainers").is_none(), "nothing has to be copied: {written}");
    if !has_image_volumes() {
        let output = kubectl_with(&["apply", "-f", "-"], &written);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("unknown field \"spec.volumes[0].image\""), "{said}");
        return;
    }
    apply(&written);
    let found = locked(&namespace, "mounted");
    assert!(found["spec"]["volumes"].as_array().unwrap().iter().any(|volume| volume.get("image").is_some()));
}

#[test]
fn the_webhook_delivers_as_it_is_installed() {
    let namespace = Namespace::new("delivery");
    let mut installation = Installation::usual();
    let volumes = |pod: &Value| {
        let all = pod["spec"]["volumes"].as_array().unwrap();
        all.iter().filter(|volume| volume["name"] == "memlock").cloned().collect::<Vec<_>>()
    };
    // An older API server does not know them; the chart's own check holds that it refuses this value there.
    if has_image_volumes() {
        installation.upgrade(Agent::Mounted);
        apply(&pod(&namespace, "launched", &json!({ "spec": { "securityContext": { "runAsUser": 1000 } } })));
        let found = locked(&namespace, "launched");
        assert!(found["spec"].get("initContainers").is_none(), "nothing has to be copied: {found}");
        assert!(volumes(&found)[0].get("image").is_some(), "{found}");
        // Root needs no launcher: the preflight runs the mounted agent.
        apply(&pod(&namespace, "tried", &json!({})));
        let found = locked(&namespace, "tried");
        let ended = &found["status"]["initContainerStatuses"];
        assert_eq!((&ended[0]["name"], &ended[1]), (&json!("memlock-preflight"), &Value::Null));
        assert_eq!(ended[0]["state"]["terminated"]["exitCode"], 0);
    }

    installation.upgrade(Agent::Absent);
    apply(&pod(&namespace, "alone", &json!({})));
    let found = locked(&namespace, "alone");
    assert!(volumes(&found).is_empty(), "{found}");
    assert!(found["spec"].get("initContainers").is_none(), "{found}");
}
