//! Plain HTTP for the kubelet and Prometheus: `/livez`, `/readyz`, `/metrics`, and pages of the process itself.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    routing::get,
};
use prometheus_client::registry::Registry;

use super::{
    listen::{self, Limits},
    metrics,
    runtime::{Readiness, Shutdown},
};

/// The kubelet opens a connection for each probe, and Prometheus keeps one.
const LIMITS: Limits = Limits {
    connections: 64,
    handshake: Duration::from_secs(5),
    headers: Duration::from_secs(5),
    idle: Duration::from_mins(2),
    request: Duration::from_secs(10),
};
/// Time for the pages that are being sent.
const DRAIN: Duration = Duration::from_secs(1);

/// Serves until shutdown is requested; from then on the pod is unready because nobody answers.
pub async fn serve(
    address: SocketAddr,
    readiness: Readiness,
    registry: Registry,
    pages: Router,
    shutdown: Shutdown,
) -> Result<()> {
    let listener = listen::bind(address).with_context(|| format!("cannot listen on {address}: is the port taken?"))?;
    let pages = router(readiness, Arc::new(registry)).merge(pages);
    let config = listen::Config { tls: None, limits: LIMITS, metrics: listen::Metrics::default(), drain: DRAIN };
    listen::serve(listener, pages, config, shutdown.token()).await;
    Ok(())
}

fn router(readiness: Readiness, registry: Arc<Registry>) -> Router {
    let metrics = move || async move { ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::text(&registry)) };
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(readiness)
}

async fn ready(State(readiness): State<Readiness>) -> (StatusCode, String) {
    let waiting = readiness.waiting_for();
    if waiting.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}\n", waiting.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn readiness_names_what_is_missing() {
        let readiness = Readiness::new(["certificate", "listener"]);
        let ask = |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let router = router(readiness.clone(), Arc::new(metrics::registry()));
            async move {
                let response = router.oneshot(request).await.unwrap();
                let status = response.status();
                (status, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
            }
        };
        let metrics = ask("/metrics").await.1;
        assert!(metrics.contains("memlock_build_info{version=") && metrics.ends_with("# EOF\n"), "{metrics}");
        readiness.open("listener");
        assert_eq!(ask("/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, "waiting for: certificate\n".to_owned()));
        assert_eq!(ask("/livez").await.0, StatusCode::OK);
        readiness.open("certificate");
        assert_eq!(ask("/readyz").await.0, StatusCode::OK);
    }
}
