//! The webhook process: certificate, listener, drain.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, Version, header::CONNECTION},
    middleware::{self, Next},
    response::Response,
};
use rustls::ServerConfig;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{AgentArgs, Metrics, router::router};
use crate::platform::{
    admin,
    certs::{CertificateFiles, Follower, ServedMetrics, follow},
    listen::{self, Limits},
    metrics,
    runtime::{Readiness, Shutdown, Supervisor},
};

/// Bounds of what strangers may open. An API server keeps 25 connections open, and one more for each further review that
/// it waits for. It closes its own after 90 s (Go's `IdleConnTimeout`): closing first would race with a review that it
/// is just sending. That goes for the first request too: Go keeps a connection that was dialled for a review which then
/// went over another one. A request may take as long as the API server waits at most, and its body less.
const LIMITS: Limits = Limits {
    connections: 1_000,
    handshake: Duration::from_secs(5),
    headers: Duration::from_secs(5),
    idle: Duration::from_mins(2),
    request: Duration::from_secs(10),
};

/// Flags of `memlock-operator webhook`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Address that the API server calls, over TLS.
    #[arg(long, env = "MEMLOCK_LISTEN", default_value = "[::]:10250")]
    pub listen: SocketAddr,
    /// Address of /livez and /readyz, plain HTTP.
    #[arg(long, env = "MEMLOCK_ADMIN_LISTEN", default_value = "[::]:8080")]
    pub admin_listen: SocketAddr,
    /// Certificate chain, PEM. Read again when its bytes change.
    #[arg(long, env = "MEMLOCK_TLS_CERT_FILE")]
    pub tls_cert_file: PathBuf,
    /// Private key, PEM. Read again when its bytes change.
    #[arg(long, env = "MEMLOCK_TLS_KEY_FILE")]
    pub tls_key_file: PathBuf,
    /// After SIGTERM: seconds of further service while the endpoints forget this pod.
    #[arg(long, env = "MEMLOCK_ENDPOINT_DELAY", default_value_t = 5)]
    pub endpoint_delay: u64,
    /// After that: seconds that open requests may take.
    #[arg(long, env = "MEMLOCK_DRAIN", default_value_t = 10)]
    pub drain: u64,
    /// Where the agent comes from.
    #[command(flatten)]
    pub agent: AgentArgs,
}

/// Serves until told to stop.
pub async fn run(args: Args) -> Result<()> {
    let mut supervisor = Supervisor::new();
    let readiness = Readiness::new(["certificate", "listener"]);
    let shutdown = supervisor.shutdown();

    let files = CertificateFiles { certificate: args.tls_cert_file.clone(), key: args.tls_key_file.clone() };
    let mut registry = metrics::registry();
    let counted = Metrics::register(&mut registry);
    let connections = listen::Metrics::register(&mut registry);
    let certificates = follow(files, ServedMetrics::register(&mut registry));

    supervisor
        .spawn("admin", admin::serve(args.admin_listen, readiness.clone(), registry, Router::new(), shutdown.clone()));
    supervisor.spawn("webhook", serve(args, certificates, counted, connections, readiness, shutdown));
    supervisor.run().await
}

async fn serve(
    args: Args,
    certificates: impl Future<Output = (watch::Receiver<Arc<ServerConfig>>, Follower)>,
    metrics: Metrics,
    connections: listen::Metrics,
    readiness: Readiness,
    shutdown: Shutdown,
) -> Result<()> {
    let Some((newest, follower)) = shutdown.unless_stopped(certificates).await else { return Ok(()) };
    readiness.open("certificate");
    let listener =
        listen::bind(args.listen).with_context(|| format!("cannot listen on {}: is the port taken?", args.listen))?;
    readiness.open("listener");
    info!(address = %listener.local_addr().unwrap_or(args.listen), "listening");

    let stop = CancellationToken::new();
    let drain = Duration::from_secs(args.drain);
    let config = listen::Config { tls: Some(newest), limits: LIMITS, metrics: connections, drain };
    let router = closing(router(metrics, args.agent.agent()), shutdown.clone());
    let leave = async {
        shutdown.requested().await;
        readiness.close("listener");
        info!(seconds = args.endpoint_delay, "unready; serving on until the endpoints forget this pod");
        tokio::time::sleep(Duration::from_secs(args.endpoint_delay)).await;
        stop.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = listen::serve(listener, router, config, stop.clone()) => Ok(()),
        never = follower.run() => match never {},
        () = leave => Ok(()),
    }
}

/// From the request to stop on, each answer over HTTP/1.1 is the last of its connection: clients keep connections to a
/// pod that the endpoints have forgotten, and one that is closed while it is idle may just be taking a review. HTTP/2
/// has GOAWAY for that, which is sent when the delay is over.
fn closing(router: Router, shutdown: Shutdown) -> Router {
    router.layer(middleware::from_fn_with_state(shutdown, close_when_stopping))
}

async fn close_when_stopping(State(shutdown): State<Shutdown>, request: Request, next: Next) -> Response {
    let kept_alive = request.version() < Version::HTTP_2;
    let mut response = next.run(request).await;
    if kept_alive && shutdown.is_requested() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, routing::get};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn the_last_answer_of_a_connection_says_so() {
        let shutdown = Shutdown::default();
        let router = closing(Router::new().route("/", get(|| async { "ok" })), shutdown.clone());
        let says = |version| {
            let request = axum::http::Request::get("/").version(version).body(Body::empty()).unwrap();
            let router = router.clone();
            async move { router.oneshot(request).await.unwrap().headers().get(CONNECTION).cloned() }
        };
        assert_eq!(says(Version::HTTP_11).await, None);
        shutdown.request();
        assert_eq!(says(Version::HTTP_11).await, Some(HeaderValue::from_static("close")));
        assert_eq!(says(Version::HTTP_2).await, None);
    }
}
