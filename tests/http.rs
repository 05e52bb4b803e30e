//! The webhook's router as the API server and a hostile pod would use it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

use axum::{
    body::{Body, Bytes},
    http::{Request, StatusCode, header::CONTENT_TYPE},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use http_body_util::BodyExt;
use memlock_operator::{
    domain::inject::{Agent, Delivery},
    webhook::{MAX_BODY, Metrics, router},
};
use prometheus_client::registry::Registry;
use rstest::rstest;
use serde_json::{Value, json};
use tower::ServiceExt;

const MUTATE_PATH: &str = "/mutate/privileged";

async fn post(body: impl Into<Body>) -> (StatusCode, Value) {
    let request = Request::post(MUTATE_PATH).header(CONTENT_TYPE, "application/json").body(body.into()).unwrap();
    let response = router(Metrics::register(&mut Registry::default()), None).oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&bytes).expect("every answer is JSON");
    assert_eq!(review["kind"], "AdmissionReview");
    assert_eq!(review["apiVersion"], "admission.k8s.io/v1");
    assert!(review["response"]["uid"].is_string());
    (status, review["response"].clone())
}

fn review(object: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "operation": "CREATE", "namespace": "storage", "dryRun": false,
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "userInfo": { "username": "someone" },
            "object": object, "oldObject": null,
        },
    })
}

fn pod(annotation: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "nbd", "annotations": { "memlock.dev/swap-device": annotation } },
        "spec": { "containers": [{ "name": "server", "image": "i" }, { "name": "metrics", "image": "j" }] },
    })
}

fn merged(mut base: Value, change: &Value) -> Value {
    json_patch::merge(&mut base, change);
    base
}

fn operations(response: &Value) -> Value {
    let bytes = BASE64_STANDARD.decode(response["patch"].as_str().expect("a patch")).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn message(response: &Value) -> &str {
    response["status"]["message"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn an_annotated_pod_is_patched_and_told_why() {
    let (status, response) = post(review(&pod("true")).to_string()).await;
    assert_eq!((status, &response["allowed"], &response["uid"]), (StatusCode::OK, &json!(true), &json!("u-1")));
    assert_eq!(response["patchType"], "JSONPatch");
    let first = &operations(&response)[0];
    assert_eq!(first["path"], "/spec/containers/0/securityContext");
    assert_eq!(
        response["auditAnnotations"],
        json!({ "reason": "CapabilityGranted", "containers": "server", "rows": "CapabilityGranted", "granted": "server" })
    );
    assert!(response["warnings"][0].as_str().unwrap().contains("container server got the capability IPC_LOCK"));
}

#[tokio::test]
async fn the_level_of_the_namespace_is_in_the_path() {
    let router = router(Metrics::register(&mut Registry::default()), None);
    let ask = |level: &str| {
        let body = Body::from(review(&pod("true")).to_string());
        router.clone().oneshot(Request::post(format!("/mutate/{level}")).body(body).unwrap())
    };
    let baseline = ask("baseline").await.unwrap();
    assert_eq!(baseline.status(), StatusCode::OK);
    let bytes = baseline.into_body().collect().await.unwrap().to_bytes();
    let answer: Value = serde_json::from_slice(&bytes).unwrap();
    let response = &answer["response"];
    assert_eq!((&response["allowed"], &response["auditAnnotations"]["reason"]), (&json!(false), &json!("PodSecurity")));
    assert!(message(response).contains("kubectl label namespace"), "{response}");
    assert_eq!(ask("strict").await.unwrap().status(), StatusCode::NOT_FOUND);
}

/// What the agent's installation makes of a pod: the volume, and the containers before the daemon.
#[rstest]
#[case::copied(Delivery::InitContainer, json!({ "emptyDir": {} }), Value::Null, &["memlock-init", "memlock-preflight"])]
#[case::mounted(
    Delivery::ImageVolume,
    json!({ "image": { "reference": "registry.example/agent:1", "pullPolicy": "Never" } }),
    json!("memlock"),
    &["memlock-preflight"]
)]
#[tokio::test]
async fn the_agent_comes_by_either_delivery(
    #[case] delivery: Delivery,
    #[case] source: Value,
    #[case] below: Value,
    #[case] before: &[&str],
) {
    let image = "registry.example/agent:1".to_owned();
    let agent = Agent { image, pull_policy: Some("Never".to_owned()), delivery };
    let router = router(Metrics::register(&mut Registry::default()), Some(agent));
    let admit = async |pod: &Value| {
        let request = Request::post(MUTATE_PATH).body(Body::from(review(pod).to_string())).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        let response = serde_json::from_slice::<Value>(&answer).unwrap()["response"].clone();
        assert_eq!(response["allowed"], true, "{response}");
        response
    };
    let mut admitted = pod("true");
    let response = admit(&admitted).await;
    let patch: json_patch::Patch = serde_json::from_value(operations(&response)).unwrap();
    json_patch::patch(&mut admitted, &patch).unwrap();
    let spec = &admitted["spec"];
    assert_eq!(spec["volumes"], json!([merged(json!({ "name": "memlock" }), &source)]));
    let mount =
        merged(json!({ "name": "memlock", "mountPath": "/memlock", "readOnly": true }), &json!({ "subPath": below }));
    assert_eq!(spec["containers"][0]["volumeMounts"], json!([mount]));
    assert_eq!(spec["containers"][1], pod("true")["spec"]["containers"][1]);
    let names: Vec<&str> =
        spec["initContainers"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, before);
    let preflight = spec["initContainers"].as_array().unwrap().last().unwrap();
    assert_eq!((&preflight["image"], &preflight["volumeMounts"]), (&json!("i"), &json!([mount])));
    // Called again after another injector, it adds nothing.
    assert!(admit(&admitted).await.get("patch").is_none());
}

#[rstest]
#[case::not_annotated(pod("false"), "CREATE", "")]
#[case::updated(pod("true"), "UPDATE", "")]
#[case::subresource(pod("true"), "CREATE", "ephemeralcontainers")]
#[case::mirror(merged(pod("true"), &json!({ "metadata": { "annotations": { "kubernetes.io/config.mirror": "x" } } })), "CREATE", "")]
#[case::verify_only(merged(pod("true"), &json!({ "metadata": { "annotations": { "memlock.dev/verify-only": "true" } } })), "CREATE", "")]
#[tokio::test]
async fn what_is_not_ours_is_untouched(#[case] object: Value, #[case] operation: &str, #[case] subresource: &str) {
    let asked = merged(review(&object), &json!({ "request": { "operation": operation, "subResource": subresource } }));
    let (status, response) = post(asked.to_string()).await;
    assert_eq!((status, &response["allowed"]), (StatusCode::OK, &json!(true)));
    assert!(response.get("patch").is_none());
}

#[rstest]
#[case::wrong_value(pod("yes"), "allowed are \"true\" and \"false\"")]
#[case::no_containers(merged(pod("true"), &json!({ "spec": { "containers": [] } })), "no containers")]
#[case::containers_missing(merged(pod("true"), &json!({ "spec": { "containers": null } })), "no containers")]
#[case::no_spec(merged(pod("true"), &json!({ "spec": null })), "no containers")]
#[case::unknown_container(merged(pod("true"), &json!({ "metadata": { "annotations": { "memlock.dev/containers": "x" } } })), "it has server, metrics")]
#[case::unreadable(merged(pod("true"), &json!({ "spec": { "containers": 7 } })), "the pod cannot be read")]
#[tokio::test]
async fn what_cannot_be_followed_is_denied_with_a_remedy(#[case] object: Value, #[case] says: &str) {
    let (status, response) = post(review(&object).to_string()).await;
    assert_eq!((status, &response["allowed"], &response["uid"]), (StatusCode::OK, &json!(false), &json!("u-1")));
    assert!(message(&response).contains(says), "{}", message(&response));
    assert!(response.get("patch").is_none());
}

#[rstest]
#[case::empty(Vec::new(), StatusCode::BAD_REQUEST, "", "the request body is empty")]
#[case::not_json(b"hello".to_vec(), StatusCode::BAD_REQUEST, "", "not JSON")]
#[case::not_utf8(vec![0xff, 0xfe], StatusCode::BAD_REQUEST, "", "not JSON")]
#[case::a_list(b"[]".to_vec(), StatusCode::BAD_REQUEST, "", "not JSON")]
#[case::no_request(br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#.to_vec(), StatusCode::BAD_REQUEST, "", "has no request")]
#[case::no_uid(br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"operation":"CREATE","kind":{"version":"v1","kind":"Pod"}}}"#.to_vec(), StatusCode::BAD_REQUEST, "", "has no uid")]
#[case::request_as_a_list(br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":["u-3"]}"#.to_vec(), StatusCode::BAD_REQUEST, "", "cannot be read")]
#[case::values_in_their_order(br#"["admission.k8s.io/v1","AdmissionReview",["u-4","n","CREATE",["","v1","Pod"],null,null,null]]"#.to_vec(), StatusCode::BAD_REQUEST, "", "not JSON")]
#[case::request_unreadable(br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u-2","operation":5}}"#.to_vec(), StatusCode::OK, "u-2", "cannot be read")]
#[case::no_object(br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u-2","operation":"CREATE","kind":{"version":"v1","kind":"Pod"},"object":null}}"#.to_vec(), StatusCode::OK, "u-2", "carries no object")]
#[case::v1beta1(review(&pod("true")).to_string().replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1").into_bytes(), StatusCode::OK, "u-1", "v1beta1")]
#[tokio::test]
async fn bad_input_gets_a_well_formed_answer(
    #[case] body: Vec<u8>,
    #[case] status: StatusCode,
    #[case] uid: &str,
    #[case] says: &str,
) {
    let (got, response) = post(body).await;
    assert_eq!((got, &response["allowed"], &response["uid"]), (status, &json!(false), &json!(uid)));
    assert!(message(&response).contains(says), "{}", message(&response));
}

#[rstest]
#[case::declared(true)]
#[case::streamed(false)]
#[tokio::test]
async fn nine_mebibytes_are_refused(#[case] declared: bool) {
    let body = vec![b' '; 9 << 20];
    assert!(body.len() > MAX_BODY);
    let body = if declared {
        Body::from(body)
    } else {
        let chunks: Vec<_> = body.chunks(1 << 20).map(|c| Ok::<_, std::io::Error>(Bytes::copy_from_slice(c))).collect();
        Body::from_stream(futures::stream::iter(chunks))
    };
    let (status, response) = post(body).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(message(&response).contains("larger than 8 MiB"), "{}", message(&response));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_given_up() {
    let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let (status, response) = post(never).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    assert!(message(&response).contains("did not arrive"), "{}", message(&response));
}

#[tokio::test]
async fn answers_are_counted_by_reason() {
    let mut registry = Registry::with_prefix("memlock");
    let router = router(Metrics::register(&mut registry), None);
    for annotation in ["true", "true", "yes"] {
        let request = Request::post(MUTATE_PATH).body(Body::from(review(&pod(annotation)).to_string())).unwrap();
        router.clone().oneshot(request).await.unwrap();
    }
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "memlock_admission_reviews_total{allowed=\"true\",reason=\"CapabilityGranted\"} 2",
        "memlock_admission_reviews_total{allowed=\"false\",reason=\"InvalidAnnotation\"} 1",
        "memlock_admission_duration_seconds_count 3",
    ] {
        assert!(text.contains(line), "{text}");
    }
}
