//! What stands in the cluster: the objects that the chart would bring, and the pods.

use std::ops::Range;

use futures::{StreamExt, stream};
use k8s_openapi::{
    api::{
        admissionregistration::v1::MutatingWebhookConfiguration,
        coordination::v1::Lease,
        core::v1::{Namespace, Pod, Secret},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, CustomResourceExt, Resource,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use memlock_operator::{
    api::SwapDevice,
    domain::inject::{Agent, Delivery, Settings, inject},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

pub const NAMESPACE: &str = "memlock-system";
/// Of the Secret, the Service and the webhook configuration.
pub const NAME: &str = "memlock-operator";
pub const LEASE: &str = "memlock-operator-controller";

/// Where the pods are.
const STORAGE: &str = "storage";
/// Requests at the same time.
const AT_ONCE: usize = 64;
/// As many as there are in a cluster of this size: a node has no more than a few looks at a time.
const NODES: u32 = 250;

/// What the chart brings, but for the webhook itself.
pub async fn prepare(client: &Client) {
    create_one(&Api::<CustomResourceDefinition>::all(client.clone()), json!(SwapDevice::crd())).await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    for name in [NAMESPACE, STORAGE] {
        create_one(&namespaces, json!({ "metadata": { "name": name } })).await;
    }
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    create_one(&leases, json!({ "metadata": { "name": LEASE } })).await;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    create_one(&secrets, json!({ "metadata": { "name": NAME } })).await;
    // Called for nothing: the pods come as the webhook leaves them.
    let webhook = json!({
        "name": "pods.memlock.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": { "service": { "name": NAME, "namespace": NAMESPACE } },
    });
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    create_one(&configurations, json!({ "metadata": { "name": NAME }, "webhooks": [webhook] })).await;
}

async fn create_one<K>(api: &Api<K>, object: Value)
where
    K: Resource + Serialize + DeserializeOwned + Clone + std::fmt::Debug,
{
    let object: K = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

/// Pods of these numbers, which run.
pub async fn create(client: &Client, numbers: Range<u32>, opted_in: bool) {
    let api: Api<Pod> = Api::namespaced(client.clone(), STORAGE);
    let template = &template(opted_in);
    let pods = stream::iter(numbers).for_each_concurrent(AT_ONCE, |n| {
        let api = api.clone();
        async move {
            let name = format!("ublk-server-{n:06}");
            let mut pod = template.clone();
            pod["metadata"]["name"] = json!(name);
            pod["spec"]["nodeName"] = json!(format!("worker-{:03}.example.internal", n % NODES));
            let pod: Pod = serde_json::from_value(pod).unwrap();
            api.create(&PostParams::default(), &pod).await.unwrap();
            let status = Patch::Merge(json!({ "status": status(n) }));
            api.patch_status(&name, &PatchParams::default(), &status).await.unwrap();
        }
    });
    pods.await;
}

/// Pods on which the controller has said so.
pub async fn locked(client: &Client) -> u32 {
    let api: Api<Pod> = Api::namespaced(client.clone(), STORAGE);
    let marked = api.list_metadata(&ListParams::default().labels("memlock.dev/state=locked")).await.unwrap();
    marked.items.len().try_into().unwrap()
}

/// A pod with thirty variables and a sidecar, 4 kB as it is sent and twice that as it is stored; opted in as the webhook
/// leaves it.
fn template(opted_in: bool) -> Value {
    let env: Vec<Value> = (0..30)
        .map(|n| json!({ "name": format!("VARIABLE_{n:02}"), "value": format!("the value of the variable number {n:02}") }))
        .collect();
    let memory = json!({ "memory": "512Mi", "cpu": "100m" });
    let mut pod = json!({
        "metadata": { "name": "ublk", "labels": { "app": "ublk", "app.kubernetes.io/part-of": "storage" }, "annotations": {} },
        "spec": {
            "containers": [
                { "name": "server", "image": "registry.example/ublk:1", "command": ["/usr/bin/ublk"], "env": env,
                  "resources": { "limits": memory, "requests": memory } },
                { "name": "metrics", "image": "registry.example/metrics:1", "args": ["--port=9100"] },
            ],
            "automountServiceAccountToken": false,
        },
    });
    if opted_in {
        pod["metadata"]["annotations"] =
            json!({ "memlock.dev/swap-device": "true", "memlock.dev/device": "/dev/ublkb0" });
        let image = "registry.example/memlock-operator:1".into();
        let agent = Agent { image, pull_policy: None, delivery: Delivery::InitContainer };
        let injection = inject(&pod, &Settings { agent: Some(agent), ..Settings::default() }).unwrap();
        json_patch::patch(&mut pod, &injection.patch).unwrap();
    }
    pod
}

/// As a kubelet would write it.
fn status(n: u32) -> Value {
    let started = "2026-01-01T00:00:00Z";
    let container = |name: &str| {
        json!({
            "name": name, "containerID": format!("containerd://{n:06}{}", "5".repeat(58)), "ready": true, "started": true,
            "restartCount": 0, "image": "registry.example/image:1", "imageID": format!("registry.example/image@sha256:{}", "6".repeat(64)),
            "state": { "running": { "startedAt": started } },
        })
    };
    let condition = |kind: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": started });
    let conditions: Vec<Value> =
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"].map(condition).into();
    json!({
        "phase": "Running", "hostIP": "10.0.0.1", "podIP": "10.1.0.1", "startTime": started, "conditions": conditions,
        "containerStatuses": [container("server"), container("metrics")],
    })
}
