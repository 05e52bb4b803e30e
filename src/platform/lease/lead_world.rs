//! For tests of the election: an API server, the ways to it, and contenders that can be cut off and frozen.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use axum::http::{Request, Response};
use http_body_util::BodyExt;
use kube::client::{Body, ClientBuilder};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::{
    runtime::Handle,
    task::JoinHandle,
    time::{Instant, sleep},
};
use tower::{BoxError, service_fn};

use super::super::*;

/// The API server's side: one object, its version, and what leaders wrote.
#[derive(Default)]
pub(super) struct Server {
    pub(super) object: Option<Value>,
    pub(super) version: u64,
    pub(super) writes: Vec<(Duration, String)>,
}

impl Server {
    /// As `registry/rest` does: a replace needs the stored version, a create an empty place.
    fn answer(&mut self, method: &str, path: &str, body: &Value, now: Duration) -> (u16, Value) {
        match (method, &self.object) {
            ("PUT", _) if path.contains("work") => {
                self.writes.push((now, body["by"].as_str().unwrap().to_owned()));
                (200, json!({}))
            }
            ("GET" | "PUT", None) => refusal(404, "NotFound"),
            ("POST", Some(_)) => refusal(409, "AlreadyExists"),
            ("PUT", Some(stored)) if stored["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] => {
                refusal(409, "Conflict")
            }
            ("GET", Some(stored)) => (200, stored.clone()),
            _ => {
                self.put(body.clone());
                (200, self.object.clone().unwrap())
            }
        }
    }

    pub(super) fn put(&mut self, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.object = Some(object);
    }
}

pub(super) fn refusal(code: u16, reason: &str) -> (u16, Value) {
    (code, json!({ "kind": "Status", "status": "Failure", "code": code, "message": reason, "reason": reason }))
}

/// What lies between one contender and the server.
#[derive(Clone, Copy, Default)]
pub(super) struct Link {
    /// Requests are lost.
    pub(super) cut: bool,
    /// Answers are lost.
    pub(super) deaf: bool,
    /// Each way.
    pub(super) delay: Duration,
    /// Every request is refused with this code.
    pub(super) refuse: Option<u16>,
}

pub(super) struct World {
    pub(super) server: Arc<Mutex<Server>>,
    pub(super) start: Instant,
}

pub(super) struct Contender {
    link: Arc<Mutex<Link>>,
    pub(super) frozen: Arc<AtomicBool>,
    pub(super) shutdown: Shutdown,
    pub(super) readiness: Readiness,
    pub(super) identity: String,
    pub(super) task: JoinHandle<Result<()>>,
}

impl Contender {
    pub(super) fn link(&self, link: Link) {
        *self.link.lock().unwrap() = link;
    }
}

/// Not polled while it is frozen, as a process after SIGSTOP.
async fn freezable<F: Future>(frozen: Arc<AtomicBool>, future: F) -> F::Output {
    let mut future = Box::pin(future);
    loop {
        let polled =
            poll_fn(
                |context| {
                    if frozen.load(Ordering::Relaxed) { Poll::Pending } else { future.as_mut().poll(context) }
                },
            );
        tokio::select! {
            output = polled => return output,
            () = sleep(Duration::from_millis(50)) => {}
        }
    }
}

impl World {
    pub(super) fn new() -> Self {
        let mut server = Server::default();
        // As the chart makes it.
        server.put(json!({ "metadata": { "name": "l" } }));
        Self { server: Arc::new(Mutex::new(server)), start: Instant::now() }
    }

    /// The way to the server. A request that has left goes on without its sender.
    pub(super) fn transport(
        &self,
        link: Arc<Mutex<Link>>,
    ) -> impl tower::Service<Request<Body>, Response = Response<Body>, Error = BoxError, Future: Send> + Send + Clone + 'static
    {
        let (server, start) = (self.server.clone(), self.start);
        service_fn(move |request: Request<Body>| {
            let (server, link) = (server.clone(), link.clone());
            let sent = Handle::current().spawn(async move {
                let before = *link.lock().unwrap();
                let (parts, body) = request.into_parts();
                let bytes = body.collect().await.unwrap().to_bytes();
                let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                if before.cut {
                    std::future::pending::<()>().await;
                }
                sleep(before.delay).await;
                let (code, answer) = match before.refuse {
                    Some(code) => refusal(code, "Busy"),
                    None => {
                        server.lock().unwrap().answer(parts.method.as_str(), parts.uri.path(), &body, start.elapsed())
                    }
                };
                let after = *link.lock().unwrap();
                if after.deaf || after.cut {
                    std::future::pending::<()>().await;
                }
                sleep(after.delay).await;
                Response::builder().status(code).body(Body::from(answer.to_string().into_bytes())).unwrap()
            });
            async move { sent.await.map_err(BoxError::from) }
        })
    }

    pub(super) fn contender(&self, name: &str) -> Contender {
        let link: Arc<Mutex<Link>> = Arc::default();
        let frozen: Arc<AtomicBool> = Arc::default();
        let client = ClientBuilder::new(self.transport(link.clone()), "n").build();
        let readiness = Readiness::new(["lease"]);
        let metrics = Metrics::register(&mut Registry::default());
        let mut lease = Lease::new(Lease::api(&client, "n"), "l".to_owned(), name, metrics, readiness.clone(), "lease");
        let start = self.start;
        lease.clock = Clock::new(move || Duration::from_secs(1_000) + start.elapsed());
        lease.leadership = Leadership::new(lease.clock.clone());
        let guarded = ClientBuilder::new(self.transport(link.clone()), "n").with_layer(&lease.leadership()).build();
        let (identity, shutdown) = (lease.identity.clone(), Shutdown::default());
        let work = {
            let (stop, by, frozen) = (shutdown.clone(), identity.clone(), frozen.clone());
            async move {
                let writing = async {
                    loop {
                        let body = serde_json::to_vec(&json!({ "by": by })).unwrap();
                        let request = Request::put("/work").body(body).unwrap();
                        // Not waited for: a leader has several requests under way.
                        let client = guarded.clone();
                        Handle::current().spawn(async move { client.request::<Value>(request).await.is_ok() });
                        sleep(Duration::from_millis(200)).await;
                    }
                };
                freezable(frozen, stop.unless_stopped(writing)).await;
                Ok(())
            }
        };
        let task = Handle::current().spawn(freezable(frozen.clone(), lease.lead(shutdown.clone(), work)));
        Contender { link, frozen, shutdown, readiness, identity, task }
    }

    /// Who wrote last, and when.
    pub(super) fn last(&self) -> (Duration, String) {
        self.server.lock().unwrap().writes.last().cloned().unwrap_or_default()
    }

    pub(super) fn spec(&self) -> Value {
        self.server.lock().unwrap().object.as_ref().map(|object| object["spec"].clone()).unwrap_or_default()
    }

    /// Nobody writes again after somebody else has written: never two at once. Gives the leaders in their order.
    pub(super) fn leaders(&self) -> Vec<String> {
        let mut leaders: Vec<String> = Vec::new();
        for (at, by) in &self.server.lock().unwrap().writes {
            if leaders.last() != Some(by) {
                assert!(!leaders.contains(by), "{by} wrote at {at:?}, after another leader had");
                leaders.push(by.clone());
            }
        }
        leaders
    }
}
