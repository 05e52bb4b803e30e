//! What a webhook adds to the creation of a pod on a real API server. Run by `benches/create`, which brings the cluster.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a measurement may panic and prints"
)]

use std::{fs, net::SocketAddr, path::Path, time::Instant};

use axum::{Json, Router, routing::post};
use axum_server::{
    accept::NoDelayAcceptor,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::PostParams};
use memlock_operator::platform::client::connect;
use serde_json::{Value, json};

/// Creations of each kind before those that count.
const WARM_UP: usize = 100;

fn pod(metadata: &Value) -> Pod {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
        "spec": { "containers": [{
            "name": "server", "image": "registry.example/nbdkit:1", "command": ["/usr/bin/nbdkit", "--foreground", "--swap", "memory", "1G"],
            "resources": { "requests": { "cpu": "10m", "memory": "64Mi" }, "limits": { "memory": "64Mi" } },
        }] },
    });
    serde_json::from_value(pod).unwrap()
}

/// A webhook that knows its answer before it is asked. Writes its certificate into the folder.
async fn floor(address: SocketAddr, folder: &Path) {
    let pair = rcgen::generate_simple_self_signed([address.ip().to_string()]).unwrap();
    let tls = RustlsConfig::from_pem(pair.cert.pem().into_bytes(), pair.signing_key.serialize_pem().into_bytes());
    let patch = json!([{
        "op": "add", "path": "/spec/containers/0/securityContext", "value": { "capabilities": { "add": ["IPC_LOCK"] } },
    }]);
    let patch = BASE64_STANDARD.encode(patch.to_string());
    let answer = move |Json(review): Json<Value>| async move {
        Json(json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "response": { "uid": review["request"]["uid"], "allowed": true, "patchType": "JSONPatch", "patch": patch },
        }))
    };
    let acceptor = RustlsAcceptor::new(tls.await.unwrap()).acceptor(NoDelayAcceptor::new());
    let server = axum_server::bind(address).acceptor(acceptor);
    fs::write(folder.join("ca.pem"), pair.cert.pem()).unwrap();
    server.serve(Router::new().route("/", post(answer)).into_make_service()).await.unwrap();
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    match arguments.next().as_deref() {
        Some("--floor") => {
            let (address, folder) = (arguments.next().unwrap(), arguments.next().unwrap());
            floor(address.parse().unwrap(), folder.as_ref()).await;
        }
        Some("--bench") => measure().await,
        // `cargo test` runs every target once.
        _ => {}
    }
}

async fn measure() {
    let each: usize = std::env::var("BENCH_CREATES").ok().map_or(1000, |text| text.parse().unwrap());
    let pods: Api<Pod> = Api::namespaced(connect().await.unwrap(), "bench-create");
    let annotated = |agent: &str| json!({ "name": "a", "annotations": { "memlock.dev/swap-device": "true", "memlock.dev/agent": agent } });
    let kinds = [
        ("no webhook, no policy", pod(&json!({ "name": "a" })), false),
        ("MutatingAdmissionPolicy", pod(&json!({ "name": "a", "labels": { "bench": "policy" } })), true),
        ("the least that a webhook adds", pod(&json!({ "name": "a", "labels": { "bench": "floor" } })), true),
        ("this webhook, capability only", pod(&annotated("false")), true),
        ("this webhook, with the agent", pod(&annotated("true")), true),
    ];
    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    let mut took = vec![Vec::new(); kinds.len()];
    for n in 0..WARM_UP + each {
        for turn in 0..kinds.len() {
            // None always comes after the same other: what that left behind in the caches would count.
            let nth = (n + turn * (1 + n / kinds.len() % 4)) % kinds.len();
            let (name, pod, capable) = &kinds[nth];
            let start = Instant::now();
            let created = pods.create(&parameters, pod).await.unwrap();
            let lasted = start.elapsed().as_secs_f64() * 1e3;
            let has = serde_json::to_string(&created).unwrap().contains("\"IPC_LOCK\"");
            assert_eq!(has, *capable, "{name}: IPC_LOCK");
            if n >= WARM_UP {
                took[nth].push(lasted);
            }
        }
    }
    println!("{each} dry-run creations of each, in turns");
    println!("{:<32} {:>10} {:>8} {:>12} {:>18}", "", "median ms", "p99 ms", "adds ms", "times the policy's");
    let mut medians = vec![0.0; kinds.len()];
    for (nth, (name, ..)) in kinds.iter().enumerate() {
        took[nth].sort_unstable_by(f64::total_cmp);
        medians[nth] = took[nth][each / 2];
        let adds = medians[nth] - medians[0];
        let times = if nth > 1 { format!("{:.2}", adds / (medians[1] - medians[0])) } else { String::new() };
        println!("{name:<32} {:>10.3} {:>8.3} {adds:>12.3} {times:>18}", medians[nth], took[nth][each * 99 / 100]);
    }
}
