//! Between the controller and the API server: answers each exec like a kubelet whose container says that it is locked,
//! passes everything else on, and counts.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    http::{Method, StatusCode, header},
    response::Response,
};
use axum_server::tls_rustls::RustlsConfig;
use base64::{Engine, prelude::BASE64_STANDARD};
use futures::SinkExt;
use hyper_util::rt::TokioIo;
use kube::{Client, client::Body as ClientBody};
use memlock_operator::domain::{
    probe::parse,
    verdict::{State, Wanted, judge},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::json;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

/// What the agent prints of a locked daemon.
const FACTS: &str = "memlock-probe 1\nreader 77 32\nmemory 536870912 227540992 4096 0 0\n\
    process 1 0 00000000a80465fb 207540 207508 0 0 8388608 initial 1 0 ublk\nunread 0\nend\n";
/// An exec on a node that is well.
const EXEC: Duration = Duration::from_millis(50);
/// Channels of the protocol `v5.channel.k8s.io`.
const PROTOCOL: &str = "v5.channel.k8s.io";
const STDOUT: u8 = 1;
const STATUS: u8 = 3;
const MOST_BYTES: usize = 8 << 20;
const PATIENCE: Duration = Duration::from_mins(5);

/// What went through.
#[derive(Debug, Default)]
struct Counts {
    execs: u32,
    watches: u32,
    /// Writes other than those of the lease: what, and how often.
    writes: BTreeMap<String, u32>,
}

#[derive(Clone)]
pub struct Gate {
    client: Client,
    counts: Arc<Mutex<Counts>>,
}

impl Gate {
    /// Listens on loopback, over TLS as an API server does, and writes `gate.kubeconfig` into the folder.
    pub fn open(client: Client, folder: &Path) -> Self {
        let facts = parse(FACTS.as_bytes()).unwrap();
        assert_eq!(judge(&facts, &Wanted::default()).state, State::Locked);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let certificate = certified.cert.pem();
        let server = format!("https://{}", listener.local_addr().unwrap());
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "gate",
            "clusters": [{ "name": "gate", "cluster": { "server": server, "certificate-authority-data": BASE64_STANDARD.encode(&certificate) } }],
            "users": [{ "name": "gate", "user": {} }],
            "contexts": [{ "name": "gate", "context": { "cluster": "gate", "user": "gate" } }],
        });
        fs::write(folder.join("gate.kubeconfig"), kubeconfig.to_string()).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(certified.signing_key.serialize_pem().as_bytes()).unwrap();
        let tls = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let gate = Self { client, counts: Arc::default() };
        let app = axum::Router::new().fallback({
            let gate = gate.clone();
            move |request: Request| async move { gate.answer(request).await }
        });
        let server = axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(Arc::new(tls))).unwrap();
        tokio::spawn(server.serve(app.into_make_service()));
        gate
    }

    async fn answer(&self, request: Request) -> Response {
        let path = request.uri().path().to_owned();
        if path.ends_with("/exec") {
            self.counts.lock().unwrap().execs += 1;
            return exec(request);
        }
        if request.method() != Method::GET && !path.contains("/leases/") {
            *self.counts.lock().unwrap().writes.entry(format!("{} {}", request.method(), kind(&path))).or_default() +=
                1;
        }
        if path == "/api/v1/pods" && request.uri().query().is_some_and(|query| query.contains("watch=true")) {
            self.counts.lock().unwrap().watches += 1;
        }
        self.pass_on(request).await
    }

    async fn pass_on(&self, request: Request) -> Response {
        let (mut parts, body) = request.into_parts();
        parts.headers.remove(header::HOST);
        let path = parts.uri.path_and_query().unwrap().as_str();
        parts.uri = path.parse().unwrap();
        let body = ClientBody::from(to_bytes(body, MOST_BYTES).await.unwrap().to_vec());
        match self.client.send(Request::from_parts(parts, body)).await {
            Ok(response) => response.map(Body::new),
            Err(error) => {
                Response::builder().status(StatusCode::BAD_GATEWAY).body(Body::from(error.to_string())).unwrap()
            }
        }
    }

    /// Counts from now on.
    pub fn forget(&self) {
        *self.counts.lock().unwrap() = Counts::default();
    }

    pub fn execs(&self) -> u32 {
        self.counts.lock().unwrap().execs
    }

    /// Watches of pods that began.
    pub fn watches(&self) -> u32 {
        self.counts.lock().unwrap().watches
    }

    pub fn writes(&self) -> BTreeMap<String, u32> {
        self.counts.lock().unwrap().writes.clone()
    }

    /// Waits until this is so.
    pub async fn until<F: Future<Output = bool>>(&self, what: &str, is_so: impl Fn() -> F) {
        let waiting = async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let ended = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(ended.is_ok(), "{what}: not within {PATIENCE:?}; so far {:?}", self.counts.lock().unwrap());
    }
}

/// The resource that a path speaks of.
fn kind(path: &str) -> String {
    let words = path.split('/').filter(|word| !word.is_empty());
    words
        .filter(|word| ["pods", "status", "swapdevices", "events", "secrets"].contains(word))
        .collect::<Vec<_>>()
        .join("/")
}

fn exec(mut request: Request) -> Response {
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).expect("a WebSocket");
    let accept = derive_accept_key(key.as_bytes());
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(&mut request).await else { return };
        let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        tokio::time::sleep(EXEC).await;
        let frame = |channel: u8, text: &str| Message::binary([&[channel], text.as_bytes()].concat());
        // Whoever does not wait for the answer is gone.
        let _ = socket.send(frame(STDOUT, FACTS)).await;
        let _ = socket.send(frame(STATUS, r#"{"status":"Success"}"#)).await;
        let _ = socket.close(None).await;
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::UPGRADE, "websocket")
        .header(header::CONNECTION, "Upgrade")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .header(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL)
        .body(Body::empty())
        .unwrap()
}
