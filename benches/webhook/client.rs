//! Reviews, as many at a time as asked, over HTTP/1.1 or HTTP/2.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::server::Server;

const PATH: &str = "/mutate/privileged";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Connections that are kept open.
    Http1,
    /// One connection.
    Http2,
}

#[derive(Clone, Copy)]
pub(super) enum Pace {
    /// The next one as soon as there is an answer.
    Full,
    /// So many a second, in even distances.
    Each(u32),
}

#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) protocol: Protocol,
    pub(super) pace: Pace,
    pub(super) at_a_time: usize,
    pub(super) length: Duration,
}

#[derive(Default)]
pub(super) struct Outcome {
    /// In microseconds, sorted.
    pub(super) latencies: Vec<u32>,
    pub(super) lasted: Duration,
    /// Resident, in KiB.
    pub(super) highest_memory: u64,
}

impl Outcome {
    pub(super) fn quantile(&self, part: f64) -> f64 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the list")]
        let place = (part * (self.latencies.len() - 1) as f64) as usize;
        f64::from(self.latencies[place])
    }
}

/// What carries the bytes of HTTP/2 beside its requests.
type Drivers = JoinSet<hyper::Result<()>>;

enum Connection {
    Http1 { stream: Box<TlsStream<TcpStream>>, request: Vec<u8>, answer: Vec<u8> },
    Http2 { sender: SendRequest<Full<Bytes>>, body: Bytes },
}

impl Connection {
    async fn http1(server: &Server, body: &[u8]) -> Self {
        let head = format!(
            "POST {PATH}?timeout=5s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: kube-apiserver-admission\r\nContent-Length: {}\r\nAccept: application/json, */*\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n",
            body.len()
        );
        let stream = Box::new(connect(server, b"http/1.1").await);
        Self::Http1 { stream, request: [head.as_bytes(), body].concat(), answer: Vec::new() }
    }

    async fn http2(server: &Server, drivers: &mut Drivers) -> SendRequest<Full<Bytes>> {
        let stream = TokioIo::new(connect(server, b"h2").await);
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        drivers.spawn(connection);
        sender
    }

    /// One review; the length of its answer.
    async fn ask(&mut self) -> usize {
        match self {
            Self::Http1 { stream, request, answer } => {
                stream.write_all(request).await.unwrap();
                stream.flush().await.unwrap();
                read_answer(stream, answer).await
            }
            Self::Http2 { sender, body } => {
                let request = Request::post(format!("https://localhost{PATH}"))
                    .header("content-type", "application/json")
                    .body(Full::new(body.clone()));
                let answer = sender.send_request(request.unwrap()).await.unwrap();
                assert_eq!(answer.status(), 200);
                answer.into_body().collect().await.unwrap().to_bytes().len()
            }
        }
    }
}

async fn connect(server: &Server, protocol: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(server.certificate.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(server.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

async fn read_answer(stream: &mut TlsStream<TcpStream>, answer: &mut Vec<u8>) -> usize {
    answer.clear();
    loop {
        assert!(stream.read_buf(answer).await.unwrap() > 0, "the webhook closed the connection");
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&answer[..end]).unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let length: usize = length.parse().unwrap();
        while answer.len() < end + 4 + length {
            assert!(stream.read_buf(answer).await.unwrap() > 0, "the answer was cut");
        }
        return length;
    }
}

pub(super) async fn answer_length(server: &Server, body: &[u8]) -> usize {
    let mut connection = Connection::http1(server, body).await;
    let length = connection.ask().await;
    let Connection::Http1 { answer, .. } = connection else { unreachable!() };
    // In base64, so what begins with [{"
    assert!(answer.windows(12).any(|window| window == b"\"patch\":\"W3s"), "the answer has no patch");
    length
}

pub(super) async fn run(server: &Server, body: &[u8], load: &Load) -> Outcome {
    let (mut connections, mut drivers) = (Vec::new(), Drivers::new());
    let shared =
        if load.protocol == Protocol::Http2 { Some(Connection::http2(server, &mut drivers).await) } else { None };
    for _ in 0..load.at_a_time {
        connections.push(match &shared {
            Some(sender) => Connection::Http2 { sender: sender.clone(), body: Bytes::copy_from_slice(body) },
            None => Connection::http1(server, body).await,
        });
    }
    let (start, length, pace) = (Instant::now(), load.length, load.pace);
    let among = u32::try_from(load.at_a_time).unwrap();
    let all: Arc<Mutex<Vec<u32>>> = Arc::default();
    let mut tasks = JoinSet::new();
    for (nth, mut connection) in (0_u32..).zip(connections) {
        let all = all.clone();
        tasks.spawn(async move {
            let mut latencies = Vec::with_capacity(1 << 16);
            let mut round = 0;
            loop {
                if let Pace::Each(rate) = pace {
                    let due = Duration::from_secs(1) * (round * among + nth) / rate;
                    tokio::time::sleep_until((start + due).into()).await;
                    round += 1;
                }
                if start.elapsed() >= length {
                    break;
                }
                let sent = Instant::now();
                connection.ask().await;
                latencies.push(u32::try_from(sent.elapsed().as_micros()).unwrap());
            }
            all.lock().unwrap().append(&mut latencies);
        });
    }
    let mut highest_memory = 0;
    while start.elapsed() < length {
        tokio::time::sleep(Duration::from_millis(250)).await;
        highest_memory = highest_memory.max(server.memory());
    }
    tasks.join_all().await;
    let lasted = start.elapsed();
    let mut latencies = std::mem::take(&mut *all.lock().unwrap());
    latencies.sort_unstable();
    Outcome { latencies, lasted, highest_memory }
}
