//! Any bytes as a review: no panic, and always a well-formed answer.
#![no_main]

use std::sync::LazyLock;

use axum::{body::Body, http::Request};
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use memlock_operator::webhook::{Metrics, router};
use prometheus_client::registry::Registry;
use tower::ServiceExt;

static ROUTER: LazyLock<axum::Router> = LazyLock::new(|| router(Metrics::register(&mut Registry::default()), None));

fuzz_target!(|data: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let request = Request::post("/mutate/privileged").body(Body::from(data.to_vec())).expect("a request");
        let response = ROUTER.clone().oneshot(request).await.expect("never fails");
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        let review: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert!(review["response"]["uid"].is_string() && review["response"]["allowed"].is_boolean());
    });
});
