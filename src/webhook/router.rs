//! HTTP → bytes, with a limit on their size and on the time they take.

use std::time::{Duration, Instant};

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Path, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};

use super::{Metrics, respond, review};
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
struct Shared {
    metrics: Metrics,
    agent: Option<Agent>,
}

/// The webhook's routes, without a listener.
pub fn router(metrics: Metrics, agent: Option<Agent>) -> Router {
    Router::new().route(MUTATE_PATH, post(mutate)).with_state(Shared { metrics, agent })
}

async fn mutate(State(shared): State<Shared>, Path(level): Path<String>, request: Request) -> Response {
    let level = match level.parse::<Level>() {
        Ok(level) => level,
        Err(error) => return transport(StatusCode::NOT_FOUND, &error.to_string(), "NotFound"),
    };
    let declared =
        request.headers().get(axum::http::header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > MAX_BODY) {
        return too_large();
    }
    let bytes = match read(request.into_body()).await {
        Ok(bytes) => bytes,
        Err(response) => return response,
    };
    let start = Instant::now();
    let (status, answer) = match review::decode(&bytes) {
        Ok(request) => (StatusCode::OK, respond::answer(&request, &Settings { level, agent: shared.agent })),
        // The API server reads an answer only from a 200; without a uid nobody could match it.
        Err(refused) if refused.uid.is_empty() => (StatusCode::BAD_REQUEST, respond::reject(&refused)),
        Err(refused) => (StatusCode::OK, respond::reject(&refused)),
    };
    shared.metrics.answered(answer.allowed, answer.reason, start.elapsed());
    (status, Json(answer.review)).into_response()
}

async fn read(body: Body) -> Result<axum::body::Bytes, Response> {
    match tokio::time::timeout(BODY_DEADLINE, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(too_large()),
        Err(_) => {
            let message =
                format!("the request body did not arrive within {} s; send it again", BODY_DEADLINE.as_secs());
            Err(transport(StatusCode::REQUEST_TIMEOUT, &message, "Timeout"))
        }
    }
}

fn too_large() -> Response {
    let message =
        format!("the request body is larger than {} MiB, more than any pod needs; send a smaller one", MAX_BODY >> 20);
    transport(StatusCode::PAYLOAD_TOO_LARGE, &message, "RequestEntityTooLarge")
}

fn transport(status: StatusCode, message: &str, reason: &'static str) -> Response {
    (status, Json(respond::reject_transport(message, status.as_u16(), reason))).into_response()
}
