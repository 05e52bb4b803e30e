//! The accept loop, and what a connection does.

use std::{io, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{Request, StatusCode, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;
use tracing::{info, warn};

use super::{
    Metrics,
    table::{Connection, Limits, Place, Table},
    watched::Watched,
};

/// How often deadlines are looked at.
const SWEEP: Duration = Duration::from_millis(500);
/// Pause after the system had no resources for one more connection.
const EXHAUSTED: Duration = Duration::from_millis(50);
/// Headers in bytes, and the largest read: a review's are some 300 bytes.
const BUFFER: usize = 32 * 1024;
/// As above for HTTP/2, whose limit counts 32 bytes more for each.
const HEADER_LIST: u32 = 16 * 1024;
/// Reviews at a time on one connection of HTTP/2; the API server opens another one for more.
const STREAMS: u32 = 32;
/// Bytes that a connection of HTTP/2 may send before they are read.
const WINDOW: u32 = 128 * 1024;
/// HTTP/2: a peer that is silent is asked after this time,
const PING: Duration = Duration::from_secs(10);
/// and is gone when it has not answered within this one. Headers that never end cannot be followed by an answer.
const PONG: Duration = Duration::from_secs(5);

/// What is served, and how.
#[derive(Debug)]
pub struct Config {
    /// The newest pair; `None`: plain HTTP.
    pub tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    /// Bounds of connections.
    pub limits: Limits,
    /// What is counted of them.
    pub metrics: Metrics,
    /// After the request to stop: how long what is under way may take.
    pub drain: Duration,
}

/// Serves until asked to stop, and until the connections have gone.
pub async fn serve(listener: TcpListener, router: Router, config: Config, stop: CancellationToken) {
    let table = Table::new(config.limits, config.metrics);
    let connections = TaskTracker::new();
    let protocols = Arc::new(Protocols::new());
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = sweep.tick() => table.sweep(),
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    if let Some(place) = table.enter(from.ip().to_canonical()) {
                        let tls = config.tls.as_ref().map(|newest| newest.borrow().clone());
                        connections.spawn(connect(stream, place, tls, protocols.clone(), router.clone()));
                    }
                }
                Err(error) => failed(&error, &table).await,
            },
        }
    }
    drop(listener);
    info!(connections = table.len(), "draining");
    connections.close();
    table.close_all(false);
    if tokio::time::timeout(config.drain, connections.wait()).await.is_err() {
        warn!(connections = table.len(), "closing connections whose requests did not end");
        table.close_all(true);
        connections.wait().await;
    }
}

/// A connection that its client gave up is no fault; anything else is a want of resources, most likely of descriptors.
async fn failed(error: &io::Error, table: &Table) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        warn!(error = error.to_string(), "a connection could not be taken; one is closed to make room");
        table.make_room();
        tokio::time::sleep(EXHAUSTED).await;
    }
}

struct Protocols {
    http1: Builder<TokioExecutor>,
    http2: Builder<TokioExecutor>,
}

impl Protocols {
    fn new() -> Self {
        let mut http1 = Builder::new(TokioExecutor::new()).http1_only();
        // The table keeps this deadline, which must not run while nothing is asked.
        http1.http1().header_read_timeout(None).max_buf_size(BUFFER);
        let mut http2 = Builder::new(TokioExecutor::new()).http2_only();
        http2
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEADER_LIST)
            .initial_connection_window_size(WINDOW)
            .max_send_buf_size(BUFFER)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG);
        Self { http1, http2 }
    }
}

async fn connect(
    stream: TcpStream,
    place: Place,
    tls: Option<Arc<ServerConfig>>,
    protocols: Arc<Protocols>,
    router: Router,
) {
    let connection = &place.connection;
    let talk = async {
        // An answer is one write: nothing is gained by waiting for more.
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else {
            connection.ready();
            return converse(stream, connection, &protocols.http1, true, router).await;
        };
        let accepted = connection.leave.run_until_cancelled(TlsAcceptor::from(tls).accept(stream)).await;
        let Some(Ok(stream)) = accepted else { return };
        connection.ready();
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            converse(stream, connection, &protocols.http2, false, router).await;
        } else {
            converse(stream, connection, &protocols.http1, true, router).await;
        }
    };
    connection.drop.run_until_cancelled(talk).await;
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    connection: &Arc<Connection>,
    protocol: &Builder<TokioExecutor>,
    bytes_begin_requests: bool,
    router: Router,
) {
    let stream = Watched { stream, connection: bytes_begin_requests.then(|| connection.clone()) };
    let service = service_fn(|request: Request<Incoming>| {
        let work = connection.begin();
        let answer = router.clone().call(request.map(Body::new));
        async move {
            let answer = answer.await?;
            if answer.status() == StatusCode::OK {
                work.served();
            }
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let mut serving = std::pin::pin!(protocol.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // Its client is told of a fault by the protocol, and nobody else could do anything about it.
        _ = serving.as_mut() => return,
        () = connection.leave.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    let _ = serving.await;
}
