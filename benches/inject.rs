//! Time and allocations of one admission, from the bytes of a review to the bytes of the patch. Run by `make bench`.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a measurement may panic and prints")]

use divan::{AllocProfiler, Bencher, counter::BytesCount};
use memlock_operator::domain::inject::{Agent, Delivery, Settings, inject};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    println!("pod of {} bytes", pod("daemon").to_string().len());
    divan::main();
}

/// A pod as the API server sends it: 60 variables, managed fields, a token volume; 8.8 kB.
fn pod(lock_by: &str) -> Value {
    let env: Vec<Value> = (0..60)
        .map(|n| json!({ "name": format!("VARIABLE_{n:02}"), "value": format!("the value of the variable number {n:02}") }))
        .collect();
    let owned: Value = (0..60)
        .map(|n| (format!("k:{{\"name\":\"VARIABLE_{n:02}\"}}"), json!({ ".": {}, "f:name": {}, "f:value": {} })))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "ublk-0", "namespace": "storage", "labels": { "app": "ublk" },
            "annotations": { "memlock.dev/swap-device": "true", "memlock.dev/lock-by": lock_by },
            "managedFields": [{ "manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
                "fieldsType": "FieldsV1", "fieldsV1": { "f:spec": { "f:containers": { "k:{\"name\":\"ublk\"}": { "f:env": owned } } } } }],
        },
        "spec": {
            "containers": [{
                "name": "ublk", "image": "registry.example/ublk:1", "command": ["/usr/bin/ublk"], "args": ["add", "-t", "loop"], "env": env,
                "resources": { "requests": { "cpu": "500m", "memory": "256Mi" }, "limits": { "memory": "256Mi" } },
                "volumeMounts": [{ "name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true }],
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
            }],
            "volumes": [{ "name": "kube-api-access", "projected": { "sources": [] } }],
            "serviceAccountName": "default", "restartPolicy": "Always", "schedulerName": "default-scheduler",
        },
    })
}

fn settings() -> Settings {
    let agent = Agent { image: "memlock-operator:1".into(), pull_policy: None, delivery: Delivery::InitContainer };
    Settings { agent: Some(agent), ..Settings::default() }
}

/// Decision and patch of a pod that is already read.
#[divan::bench(args = ["daemon", "agent"])]
fn decide_and_patch(bencher: Bencher<'_, '_>, lock_by: &str) {
    let (pod, settings) = (pod(lock_by), settings());
    bencher.bench(|| inject(&pod, &settings).unwrap());
}

/// The same with the reading of the pod and the writing of the patch.
#[divan::bench(args = ["daemon", "agent"])]
fn bytes_to_patch(bencher: Bencher<'_, '_>, lock_by: &str) {
    let (bytes, settings) = (pod(lock_by).to_string(), settings());
    bencher.counter(BytesCount::of_str(&bytes)).bench(|| {
        let pod: Value = serde_json::from_str(&bytes).unwrap();
        serde_json::to_vec(&inject(&pod, &settings).unwrap().patch).unwrap()
    });
}
