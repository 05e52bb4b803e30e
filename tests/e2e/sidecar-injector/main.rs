//! Another injector, as service meshes have one: puts a sidecar before the other containers and turns their order round.
//!
//! `sidecar-injector ADDRESS` prints its certificate as PEM and serves until its standard input ends, which also tells one
//! that was started inside the node.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a program for tests"
)]

use std::{io::Write, net::SocketAddr};

use axum::{Json, Router, routing::post};
use axum_server::tls_rustls::RustlsConfig;
use kube::core::{
    DynamicObject,
    admission::{AdmissionResponse, AdmissionReview},
};
use serde_json::{Value, json};

#[tokio::main]
async fn main() {
    let address: SocketAddr = std::env::args().nth(1).expect("an address").parse().unwrap();
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let certified = rcgen::generate_simple_self_signed([address.ip().to_string()]).unwrap();
    let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    let tls = RustlsConfig::from_config(config(&certificate, &key));
    print!("{certificate}");
    std::io::stdout().flush().unwrap();
    let end = tokio::task::spawn_blocking(|| std::io::stdin().lines().for_each(drop));
    let app = Router::new().route("/inject", post(inject));
    tokio::select! {
        served = axum_server::bind_rustls(address, tls).serve(app.into_make_service()) => served.unwrap(),
        ended = end => ended.unwrap(),
    }
}

fn config(certificate: &str, key: &str) -> std::sync::Arc<rustls::ServerConfig> {
    use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap().into()
}

async fn inject(Json(review): Json<Value>) -> Json<AdmissionReview<DynamicObject>> {
    let mut response = AdmissionResponse::invalid("");
    review["request"]["uid"].as_str().unwrap().clone_into(&mut response.uid);
    response.allowed = true;
    let mut containers = review["request"]["object"]["spec"]["containers"].as_array().cloned().unwrap_or_default();
    if !containers.iter().any(|c| c["name"] == "proxy") {
        containers.reverse();
        containers.insert(0, json!({ "name": "proxy", "image": "registry.example/proxy:1" }));
        let patch = json!([{ "op": "replace", "path": "/spec/containers", "value": containers }]);
        response = response.with_patch(serde_json::from_value(patch).unwrap()).unwrap();
    }
    Json(response.into_review())
}
