use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::body::Body;
use axum::http::{Request, Response};
use kube::client::Body as ClientBody;
use serde_json::{Value, json};

use super::*;

fn raw(name: &str, metadata: &Value) -> Value {
    let mut whole = json!({ "name": name, "namespace": "n" });
    json_patch::merge(&mut whole, metadata);
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": whole, "spec": { "containers": [{ "name": "c" }] } })
}

fn raw_opted_in(name: &str) -> Value {
    raw(name, &json!({ "resourceVersion": "11", "annotations": { "memlock.dev/swap-device": "true" } }))
}

fn pod(name: &str, metadata: &Value) -> DeserializeGuard<PodView> {
    serde_json::from_str(&raw(name, metadata).to_string()).unwrap()
}

fn opted_in(name: &str) -> DeserializeGuard<PodView> {
    serde_json::from_str(&raw_opted_in(name).to_string()).unwrap()
}

#[test]
fn pods_that_never_opted_in_are_not_kept() {
    let mut listed = HashSet::new();
    assert!(translate(Event::InitApply(pod("a", &json!({}))), &mut listed).is_none());
    assert!(matches!(translate(Event::Apply(pod("a", &json!({}))), &mut listed), Some(Change::Gone(_))));
}

#[test]
fn a_marked_pod_that_opted_out_is_kept_until_it_is_cleaned() {
    let marked = pod("a", &json!({ "labels": { "memlock.dev/state": "locked" } }));
    assert!(matches!(translate(Event::Apply(marked), &mut HashSet::new()), Some(Change::Seen(_))));
}

#[test]
fn a_list_says_which_pods_are_left() {
    let mut listed = HashSet::new();
    translate(Event::Init, &mut listed);
    translate(Event::InitApply(opted_in("a")), &mut listed);
    translate(Event::InitApply(pod("b", &json!({}))), &mut listed);
    let Some(Change::Listed(left)) = translate(Event::InitDone, &mut listed) else { panic!("a list ends") };
    assert_eq!(left.into_iter().map(|key| key.name).collect::<Vec<_>>(), ["a"]);
}

#[test]
fn managed_fields_and_foreign_keys_are_dropped() {
    let crowded = pod(
        "a",
        &json!({
            "annotations": { "memlock.dev/swap-device": "true", "x": "y" }, "labels": { "app": "z" },
            "managedFields": [{ "manager": "m", "fieldsV1": { "f:x": {} } }],
        }),
    );
    let view = readable(crowded).unwrap();
    assert!(view.metadata.managed_fields.is_none() && view.metadata.labels.is_none());
    assert_eq!(view.metadata.annotations.unwrap().len(), 1);
}

#[test]
fn an_unreadable_pod_is_skipped() {
    let broken: DeserializeGuard<PodView> =
        serde_json::from_value(json!({ "metadata": { "name": "a" }, "spec": { "containers": 7 } })).unwrap();
    assert!(translate(Event::Apply(broken), &mut HashSet::new()).is_none());
}

/// One answer of the API server.
enum Answer {
    Status(u16, Value),
    /// The lines of a watch, which then ends.
    Lines(Vec<Value>),
    /// A watch that breaks off in the middle of a line.
    Cut(&'static str),
    Refused,
}

/// What a watch made of these answers, and what it asked for. After them the API server is silent.
async fn follow(answers: Vec<Answer>, changes: usize) -> (Vec<String>, Vec<String>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let answers = Mutex::new(VecDeque::from(answers));
    let answers = Arc::new(answers);
    let service = tower::service_fn({
        let asked = Arc::clone(&asked);
        move |request: Request<ClientBody>| {
            asked.lock().unwrap().push(request.uri().query().unwrap_or_default().to_owned());
            let (code, body) = match &answers.lock().unwrap().pop_front() {
                Some(Answer::Status(code, body)) => (*code, Body::from(body.to_string())),
                Some(Answer::Lines(lines)) => (
                    200,
                    Body::from(lines.iter().flat_map(|line| [line.to_string(), "\n".to_owned()]).collect::<String>()),
                ),
                Some(Answer::Cut(text)) => (200, Body::from(*text)),
                Some(Answer::Refused) => return std::future::ready(Err(std::io::Error::other("connection refused"))),
                None => (200, Body::from_stream(futures::stream::pending::<Result<Vec<u8>, Infallible>>())),
            };
            std::future::ready(Ok(Response::builder().status(code).body(body).unwrap()))
        }
    });
    let client = Client::new(service, "default");
    let seen = watch(&client, &[]).take(changes).map(|change| match change {
        Change::Seen(pod) => format!("seen {}", pod.key().name),
        Change::Gone(key) => format!("gone {}", key.name),
        Change::Listed(left) => {
            let mut names: Vec<_> = left.into_iter().map(|key| key.name).collect();
            names.sort();
            format!("listed {}", names.join(" "))
        }
    });
    let seen = tokio::time::timeout(std::time::Duration::from_mins(10), seen.collect()).await.unwrap();
    let asked = asked.lock().unwrap().clone();
    (seen, asked)
}

fn list(version: &str, pods: &[Value]) -> Answer {
    let metadata = json!({ "resourceVersion": version });
    Answer::Status(200, json!({ "apiVersion": "v1", "kind": "PodList", "metadata": metadata, "items": pods }))
}

fn event(kind: &str, object: impl Into<Value>) -> Value {
    let object = object.into();
    json!({ "type": kind, "object": object })
}

fn status(code: u16) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "m", "reason": "r", "metadata": {} })
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_too_old_lists_anew_and_says_who_is_gone() {
    let answers = vec![
        list("10", &[raw_opted_in("a"), raw_opted_in("b")]),
        Answer::Lines(vec![event("ERROR", status(410))]),
        list("20", &[raw_opted_in("b")]),
    ];
    let (seen, _) = follow(answers, 5).await;
    assert_eq!(seen, ["seen a", "seen b", "listed a b", "seen b", "listed b"]);
}

#[tokio::test(start_paused = true)]
async fn an_undecodable_pod_stops_neither_list_nor_watch() {
    let mut broken = raw_opted_in("broken");
    broken["spec"]["containers"] = json!(7);
    let answers = vec![
        list("10", &[raw_opted_in("a"), broken.clone(), raw_opted_in("b")]),
        Answer::Lines(vec![event("MODIFIED", broken), event("MODIFIED", raw_opted_in("c"))]),
    ];
    let (seen, _) = follow(answers, 4).await;
    assert_eq!(seen, ["seen a", "seen b", "listed a b", "seen c"]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_api_server_is_waited_for_and_followed_from_where_it_was() {
    let answers = vec![
        Answer::Refused,
        Answer::Status(503, status(503)),
        list("10", &[raw_opted_in("a")]),
        Answer::Cut(r#"{"type":"MODIFIED","object":{"metadata":{"na"#),
        Answer::Refused,
        Answer::Status(500, status(500)),
        Answer::Lines(vec![event("DELETED", raw_opted_in("a")), event("ADDED", raw_opted_in("b"))]),
    ];
    let (seen, asked) = follow(answers, 4).await;
    assert_eq!(seen, ["seen a", "listed a", "gone a", "seen b"]);
    let watches: Vec<_> = asked.iter().filter(|query| query.contains("watch=true")).collect();
    assert!(watches.iter().all(|query| query.contains("resourceVersion=10")), "nothing is lost: {watches:?}");
}

#[tokio::test(start_paused = true)]
async fn a_long_list_comes_in_pages() {
    let page = |n: usize, next: Option<&str>| {
        let metadata = json!({ "resourceVersion": "10", "continue": next });
        Answer::Status(
            200,
            json!({ "apiVersion": "v1", "kind": "PodList", "metadata": metadata, "items": [raw_opted_in(&n.to_string())] }),
        )
    };
    let (seen, asked) = follow(vec![page(1, Some("x")), page(2, None)], 3).await;
    assert_eq!(seen, ["seen 1", "seen 2", "listed 1 2"]);
    assert!(asked[0].contains("limit=100") && asked[1].contains("continue=x"), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_too_old_begins_the_list_anew() {
    let metadata = json!({ "resourceVersion": "10", "continue": "x" });
    let first = json!({ "apiVersion": "v1", "kind": "PodList", "metadata": metadata, "items": [raw_opted_in("a")] });
    let answers = vec![Answer::Status(200, first), Answer::Status(410, status(410)), list("20", &[raw_opted_in("b")])];
    let (seen, _) = follow(answers, 3).await;
    assert_eq!(seen, ["seen a", "seen b", "listed b"], "whoever is not in the second list is gone");
}
