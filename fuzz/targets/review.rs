//! Any bytes as a review: no panic, always a well-formed answer with the request's uid, and a patch that applies to the
//! object that was sent.
#![no_main]

use std::sync::LazyLock;

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http_body_util::BodyExt;
use json_patch::Patch;
use libfuzzer_sys::fuzz_target;
use memlock_operator::{
    domain::inject::{Agent, Delivery},
    webhook::{Metrics, router},
};
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

/// Made once: a runtime for each input would take longer than the input.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a runtime"));

/// Both deliveries, and an installation without the agent.
static ROUTERS: LazyLock<[Router; 3]> = LazyLock::new(|| {
    let agent = |delivery| Agent { image: "agent:1".into(), pull_policy: Some("IfNotPresent".into()), delivery };
    let agents = [Some(agent(Delivery::InitContainer)), Some(agent(Delivery::ImageVolume)), None];
    agents.map(|agent| router(Metrics::register(&mut Registry::default()), agent))
});

const PATHS: [&str; 4] = ["/mutate/privileged", "/mutate/baseline", "/mutate/restricted", "/mutate/none"];

// The first byte chooses installation and path.
fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = data.split_first() else { return };
    let choice = usize::from(*choice);
    let (path, router) = (PATHS[choice % PATHS.len()], &ROUTERS[choice / PATHS.len() % ROUTERS.len()]);
    let (status, answer) = RUNTIME.block_on(async {
        let request = Request::post(path).body(Body::from(body.to_vec())).expect("a request");
        let response = router.clone().oneshot(request).await.expect("never fails");
        let status = response.status();
        (status, response.into_body().collect().await.expect("a body").to_bytes())
    });
    let review: Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!((&review["kind"], &review["apiVersion"]), (&"AdmissionReview".into(), &"admission.k8s.io/v1".into()));
    let response = &review["response"];
    let (uid, allowed) = (response["uid"].as_str().expect("a uid"), response["allowed"].as_bool().expect("an answer"));
    if status != StatusCode::OK {
        assert!(!allowed && uid.is_empty() && response.get("patch").is_none(), "{review}");
        return;
    }
    // What the webhook does not look at may be deeper than a value can be.
    let Ok(sent) = serde_json::from_slice::<Value>(body) else { return };
    assert!(!uid.is_empty() && sent["request"]["uid"] == uid, "{review}");
    if !allowed {
        assert!(response.get("patch").is_none());
        assert!(response["status"]["message"].as_str().is_some_and(|message| message.len() > "memlock: ".len()));
    }
    if let Some(patch) = response.get("patch").filter(|patch| !patch.is_null()) {
        assert_eq!(response["patchType"], "JSONPatch");
        let text = STANDARD.decode(patch.as_str().expect("text")).expect("base64");
        let patch: Patch = serde_json::from_slice(&text).expect("a patch");
        let mut object = sent["request"]["object"].clone();
        json_patch::patch(&mut object, &patch).expect("the patch applies");
    }
});
