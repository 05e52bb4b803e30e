//! HTTP → bytes, with a limit on their size and on the time they take.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};

use super::{
    Metrics,
    bodies::{ALL_BODIES, Bodies, Cut, Whole},
    respond, review,
};
use crate::domain::inject::{Agent, Level, Settings};

/// Where the API server posts reviews: the last part is the Pod Security level that the pod's namespace
/// enforces. A webhook has no right to read namespaces; the configuration's selectors tell them apart.
const MUTATE_PATH: &str = "/mutate/{level}";
/// Largest body in bytes. The API server sends objects of up to 3 MiB (`--max-request-bytes`
/// of etcd allows 1.5 MiB), and an update carries two.
pub const MAX_BODY: usize = 8 * 1024 * 1024;
/// Longest time that a body may take to arrive; the webhook's own time-out is 5 s.
const BODY_DEADLINE: Duration = Duration::from_secs(4);

/// What every request needs.
#[derive(Clone)]
struct Shared(Arc<Common>);

struct Common {
    metrics: Metrics,
    agent: Option<Agent>,
    bodies: Bodies,
}

/// The webhook's routes, without a listener.
pub fn router(metrics: Metrics, agent: Option<Agent>) -> Router {
    let common = Common { metrics, agent, bodies: Bodies::default() };
    Router::new().route(MUTATE_PATH, post(mutate)).with_state(Shared(Arc::new(common)))
}

async fn mutate(State(Shared(common)): State<Shared>, Path(level): Path<String>, request: Request) -> Response {
    let refuse = |status: StatusCode, message: &str, reason| {
        let answer = respond::reject_transport(message, status.as_u16(), reason);
        common.metrics.refused(reason);
        (status, Json(answer.review)).into_response()
    };
    let level = match level.parse::<Level>() {
        Ok(level) => level,
        Err(error) => return refuse(StatusCode::NOT_FOUND, &error.to_string(), "NotFound"),
    };
    let body = match read(&common.bodies, request.into_body()).await {
        Ok(body) => body,
        Err((status, message, reason)) => return refuse(status, &message, reason),
    };
    if !body.is_long() {
        return answer(&common, level, body);
    }
    // Milliseconds, for which ordinary reviews do not wait.
    let done = tokio::task::spawn_blocking(move || answer(&common, level, body)).await;
    done.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

fn answer(common: &Common, level: Level, mut body: Whole) -> Response {
    let start = Instant::now();
    let request = review::decode(body.bytes());
    // What follows copies as much of a pod once more.
    body.clear();
    let (status, answer) = match request {
        Ok(request) => (StatusCode::OK, respond::answer(request, &Settings { level, agent: common.agent.clone() })),
        // The API server reads an answer only from a 200; without a uid nobody could match it.
        Err(refused) if refused.uid.is_empty() => (StatusCode::BAD_REQUEST, respond::reject(&refused)),
        Err(refused) => (StatusCode::OK, respond::reject(&refused)),
    };
    let response = (status, Json(answer.review)).into_response();
    common.metrics.answered(answer.allowed, answer.reason, start.elapsed());
    response
}

async fn read(bodies: &Bodies, body: Body) -> Result<Whole, (StatusCode, String, &'static str)> {
    let cut = match tokio::time::timeout(BODY_DEADLINE, bodies.read(body, MAX_BODY)).await {
        Ok(Ok(body)) => return Ok(body),
        Ok(Err(cut)) => Some(cut),
        Err(_) => None,
    };
    Err(match cut {
        Some(Cut::TooLarge) => (
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the request body is larger than {} MiB, more than any pod needs; send a smaller one",
                MAX_BODY >> 20
            ),
            "RequestEntityTooLarge",
        ),
        Some(Cut::NoRoom) => (
            StatusCode::TOO_MANY_REQUESTS,
            format!(
                "request bodies of more than {} MiB came at a time, and this was the largest; send it again",
                ALL_BODIES >> 20
            ),
            "TooManyRequests",
        ),
        Some(Cut::NoTurn) => (
            StatusCode::TOO_MANY_REQUESTS,
            "other large request bodies were in the way of this one; send it again".to_owned(),
            "TooManyRequests",
        ),
        Some(Cut::Broken) => {
            (StatusCode::BAD_REQUEST, "the request body broke off; send it again".to_owned(), "BadRequest")
        }
        None => (
            StatusCode::REQUEST_TIMEOUT,
            format!("the request body did not arrive within {} s; send it again", BODY_DEADLINE.as_secs()),
            "Timeout",
        ),
    })
}
