//! For tests: a cluster that answers as it is told, and what it was asked.

use std::sync::{Arc, Mutex};

use axum::{
    body::Body,
    http::{Request, Response},
};
use clap::Parser;
use kube::{Client, client::Body as ClientBody};
use serde_json::{Value, json};

use crate::cli::cluster::{Plugin, connect::Cluster};

/// Path and query of each call.
pub(in crate::cli::cluster) type Calls = Arc<Mutex<Vec<String>>>;

/// A cluster with the context's namespace `storage`; the answer is given for path and query.
pub(in crate::cli::cluster) async fn cluster(
    answer: impl Fn(&str) -> (u16, Value) + Send + Sync + 'static,
) -> (Cluster, Calls) {
    // Nothing of the machine that runs the test.
    let words = "kubectl-memlock status --kubeconfig /dev/null --server http://127.0.0.1:1 -n storage --token t";
    let plugin = Plugin::try_parse_from(words.split(' ').chain(["--insecure-skip-tls-verify"])).unwrap();
    let mut cluster = plugin.connect.connect().await.unwrap();
    let calls = Calls::default();
    let (asked, answer) = (Arc::clone(&calls), Arc::new(answer));
    let service = tower::service_fn(move |request: Request<ClientBody>| {
        let call = request.uri().path_and_query().unwrap().as_str().to_owned();
        let (code, body) = answer(&call);
        asked.lock().unwrap().push(call);
        let response = Response::builder().status(code).body(Body::from(body.to_string()));
        std::future::ready(Ok::<_, std::io::Error>(response.unwrap()))
    });
    cluster.client = Client::new(service, "storage");
    (cluster, calls)
}

pub(in crate::cli::cluster) fn list(items: &[Value]) -> (u16, Value) {
    (200, json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": items }))
}

pub(in crate::cli::cluster) fn refusal(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({ "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message });
    (code, status)
}

pub(in crate::cli::cluster) fn forbidden(resource: &str) -> (u16, Value) {
    refusal(403, "Forbidden", &format!("{resource} is forbidden: User \"jane\" cannot list resource \"{resource}\""))
}
