//! What the controller knows of each device, for `/debug/state`.
//!
//! Asked for over a channel and put together only then.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json, Router,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::json;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

/// Most devices in one answer.
pub(super) const MAX_ROWS: usize = 1_000;
/// For the engine to answer; it does nothing that takes long.
const PATIENCE: Duration = Duration::from_secs(5);

/// One chosen container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    pub(super) namespace: String,
    pub(super) pod: String,
    /// None where the pod's annotations name none that exists.
    pub(super) container: Option<String>,
    /// In one word, as last written.
    pub(super) state: Option<String>,
    pub(super) last_check: Option<Timestamp>,
    pub(super) next_check: Option<Timestamp>,
    pub(super) last_error: Option<String>,
    /// Of the container as it runs now, by this controller.
    pub(super) checks: usize,
}

/// The answer.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Answer {
    /// Of all pods of interest, the first by namespace and name.
    pub(super) devices: Vec<Row>,
    /// How many pods there are.
    pub(super) pods: usize,
    /// Some were left out.
    pub(super) truncated: bool,
}

/// What to answer with the answer.
pub(super) type Question = oneshot::Sender<Answer>;

/// The page, and where its questions arrive. One at a time: whoever asks twice waits.
pub(super) fn page(leads: impl Fn() -> bool + Clone + Send + Sync + 'static) -> (Router, mpsc::Receiver<Question>) {
    let (sender, receiver) = mpsc::channel(1);
    let ask = move || ask(leads.clone(), sender.clone());
    (Router::new().route("/debug/state", get(ask)), receiver)
}

async fn ask(leads: impl Fn() -> bool, engine: mpsc::Sender<Question>) -> Response {
    if !leads() {
        return unavailable("this controller does not lead and checks nothing: ask the pod that holds the lease");
    }
    let answer = async {
        let (sender, receiver) = oneshot::channel();
        engine.send(sender).await.ok()?;
        receiver.await.ok()
    };
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Some(answer)) => Json(answer).into_response(),
        Ok(None) | Err(_) => unavailable("the checks of this controller do not answer: see its log"),
    }
}

/// As the API server says it, because kubectl prints the message of nothing else.
fn unavailable(message: &str) -> Response {
    let code = StatusCode::SERVICE_UNAVAILABLE;
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "reason": "ServiceUnavailable", "message": message, "code": code.as_u16(),
    });
    (code, Json(status)).into_response()
}

/// A moment of the monotonic clock as people read it, to the second.
pub(super) fn wall(moment: Instant, now: Instant, time: Timestamp) -> Option<Timestamp> {
    let away = |duration: Duration| SignedDuration::try_from(duration).ok();
    let moment = match moment.checked_duration_since(now) {
        Some(ahead) => time.checked_add(away(ahead)?).ok()?,
        None => time.checked_sub(away(now.duration_since(moment))?).ok()?,
    };
    Timestamp::from_second(moment.as_second()).ok()
}

/// One row a container, or one for a pod without.
pub(super) fn rows(pod: &Row, containers: &BTreeMap<String, Option<String>>) -> Vec<Row> {
    if containers.is_empty() {
        return vec![pod.clone()];
    }
    let row = |(name, state): (&String, &Option<String>)| Row {
        container: Some(name.clone()),
        state: state.clone().or_else(|| pod.state.clone()),
        ..pod.clone()
    };
    containers.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;
    use crate::controller::{
        assess::tests::pod,
        check::{Checked, Ended, Look},
        schedule::{Schedule, Step},
        watch::Change,
    };
    use crate::domain::verdict::Verdict;

    async fn get(router: Router) -> (StatusCode, Vec<u8>) {
        let response = router.oneshot(Request::get("/debug/state").body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        (status, response.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    #[tokio::test(start_paused = true)]
    async fn each_device_says_when_it_was_looked_at_and_what_went_wrong() {
        let now = Instant::now();
        let mut schedule = Schedule::new(Duration::from_mins(5), Arc::default());
        schedule.observe(Change::Seen(Box::new(pod(&json!({})))), now);
        let Some(Step::Check { key, uid, targets, .. }) = schedule.steps(now).pop() else { panic!("a check is due") };
        let verdict = Verdict::unknown("the container is frozen");
        let checked = Checked {
            containers: vec![("c".into(), verdict.clone())],
            verdict,
            looks: vec![Look { ended: Ended::Through, left: None }],
        };
        schedule.checked(&key, &uid, &targets, checked, now);

        let (router, mut questions) = page(|| true);
        let answering = async move {
            let question = questions.recv().await.unwrap();
            question.send(schedule.answer(now, Timestamp::UNIX_EPOCH)).unwrap();
        };
        let ((status, body), ()) = tokio::join!(get(router), answering);
        let body: Value = serde_json::from_slice(&body).unwrap();
        let next = body["devices"][0]["nextCheck"].as_str().unwrap();
        assert!(["1970-01-01T00:00:01Z", "1970-01-01T00:00:02Z"].contains(&next), "{next}");
        let expected = json!({ "pods": 1, "truncated": false, "devices": [{
            "namespace": "n", "pod": "p", "container": "c", "state": "pending", "lastCheck": "1970-01-01T00:00:00Z",
            "nextCheck": next, "lastError": "the container is frozen", "checks": 1,
        }] });
        assert_eq!((status, body), (StatusCode::OK, expected));
    }

    #[tokio::test(start_paused = true)]
    async fn many_devices_make_no_long_answer() {
        let now = Instant::now();
        let mut schedule = Schedule::new(Duration::from_mins(5), Arc::default());
        for n in 0..=MAX_ROWS {
            let change = json!({ "metadata": { "name": format!("p{n}"), "uid": format!("u-{n}") } });
            schedule.observe(Change::Seen(Box::new(pod(&change))), now);
        }
        let answer = schedule.answer(now, Timestamp::UNIX_EPOCH);
        assert_eq!((answer.devices.len(), answer.pods, answer.truncated), (MAX_ROWS, MAX_ROWS + 1, true));
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_does_not_answer_is_said() {
        let (router, questions) = page(|| true);
        let said = get(router.clone()).await;
        assert_eq!(said.0, StatusCode::SERVICE_UNAVAILABLE);
        drop(questions);
        assert_eq!(get(router).await, said);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_waits_for_the_lease_says_so_at_once() {
        let (router, _questions) = page(|| false);
        let start = Instant::now();
        let (status, body) = get(router).await;
        assert_eq!((status, start.elapsed()), (StatusCode::SERVICE_UNAVAILABLE, Duration::ZERO));
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&body["kind"], &body["code"]), (&json!("Status"), &json!(503)));
        assert!(body["message"].as_str().unwrap().contains("does not lead"), "{body}");
    }
}
