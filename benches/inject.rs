//! Time and allocations of one admission: of the decision alone, of a pod's bytes, and of a whole review as the webhook
//! answers it. Run by `make bench`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "a measurement may panic and prints"
)]

use axum::{
    Router,
    body::{Body, Bytes},
    http::{Request, StatusCode},
};
use divan::{AllocProfiler, Bencher, counter::BytesCount};
use http_body_util::BodyExt as _;
use memlock_operator::{
    domain::inject::{Agent, Delivery, Settings, inject},
    webhook::{Metrics, router},
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt as _;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    println!("pod of {} bytes in a review of {}", pod("daemon").to_string().len(), review("daemon").len());
    let (runtime, router) = (runtime(), webhook());
    for lock_by in ["daemon", "agent"] {
        let answer: Value = serde_json::from_slice(&answer(&runtime, &router, &review(lock_by).into())).unwrap();
        let patched = answer.pointer("/response/patch").is_some_and(Value::is_string);
        assert!(patched, "what is measured is an injection: {answer}");
    }
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

/// What the API server posts when the pod is created.
fn review(lock_by: &str) -> Vec<u8> {
    let kind = json!({ "group": "", "version": "v1", "kind": "Pod" });
    let resource = json!({ "group": "", "version": "v1", "resource": "pods" });
    let user = json!({ "username": "system:serviceaccount:kube-system:statefulset-controller", "groups": ["system:authenticated"] });
    let request = json!({
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "kind": kind, "requestKind": kind, "resource": resource,
        "requestResource": resource, "namespace": "storage", "operation": "CREATE", "userInfo": user,
        "object": pod(lock_by), "oldObject": null, "dryRun": false,
        "options": { "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1" },
    });
    let review = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request });
    serde_json::to_vec(&review).unwrap()
}

fn webhook() -> Router {
    router(Metrics::register(&mut Registry::default()), settings().agent)
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

fn answer(runtime: &Runtime, router: &Router, review: &Bytes) -> Bytes {
    runtime.block_on(async {
        let request = Request::post("/mutate/privileged").body(Body::from(review.clone())).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.into_body().collect().await.unwrap().to_bytes()
    })
}

/// A whole review through the webhook's routes, without socket and TLS.
#[divan::bench(args = ["daemon", "agent"])]
fn review_to_answer(bencher: Bencher<'_, '_>, lock_by: &str) {
    let (runtime, router, review) = (runtime(), webhook(), Bytes::from(review(lock_by)));
    bencher.counter(BytesCount::new(review.len())).bench(|| answer(&runtime, &router, &review));
}
