//! Connections to the webhook, and reviews over them.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    sync::Arc,
};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// 127.0.0.2 to 127.0.0.201: many, so that ports do not run out.
const ATTACKERS: (u8, u8) = (2, 200);

/// How to get there.
#[derive(Clone)]
pub(crate) struct Way {
    address: SocketAddr,
    process: u32,
    /// The last number of the first address that it comes from, and how many there are of them.
    from: (u8, u8),
    config: Arc<ClientConfig>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) review: Value,
}

impl Way {
    pub(crate) fn new(address: SocketAddr, process: u32, certificate: CertificateDer<'static>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { address, process, from: ATTACKERS, config: Arc::new(config) }
    }

    /// From an address of its own, as an API server does.
    pub(crate) fn of_server(&self) -> Self {
        Self { from: (1, 1), ..self.clone() }
    }

    pub(crate) fn speaking(&self, protocol: &[u8]) -> Self {
        let mut config = (*self.config).clone();
        config.alpn_protocols = vec![protocol.to_vec()];
        Self { config: Arc::new(config), ..self.clone() }
    }

    /// How many connections and other files the webhook has open.
    pub(crate) fn held(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process)).expect("the webhook runs").count()
    }

    /// Without TLS.
    pub(crate) async fn plain(&self, nth: usize) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        let (first, count) = self.from;
        let last = first + u8::try_from(nth % usize::from(count)).unwrap();
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)))?;
        socket.connect(self.address).await
    }

    pub(crate) async fn open(&self, nth: usize) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = self.plain(nth).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(self.config.clone()).connect(name, stream).await
    }
}

/// An ordinary review of some 7 kB.
pub(crate) fn review() -> Vec<u8> {
    let env: Vec<Value> =
        (0..60).map(|n| json!({ "name": format!("VARIABLE_{n:02}"), "value": "the value of it" })).collect();
    let managed: Vec<Value> = (0..60).map(|n| json!({ "f:name": {}, "f:value": { "f:field": n } })).collect();
    of_pod(&json!({
        "metadata": { "name": "nbd", "annotations": { "memlock.dev/swap-device": "true" }, "managedFields": managed },
        "spec": { "containers": [{ "name": "server", "image": "i", "env": env }] },
    }))
}

pub(crate) fn of_pod(pod: &Value) -> Vec<u8> {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "operation": "CREATE", "namespace": "storage",
            "kind": { "group": "", "version": "v1", "kind": "Pod" }, "object": pod,
        },
    });
    review.to_string().into_bytes()
}

fn head(length: usize) -> String {
    format!(
        "POST /mutate/privileged HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// Posts a body and reads the answer, which may come before the body is sent.
pub(crate) async fn post(stream: &mut TlsStream<TcpStream>, body: &[u8]) -> std::io::Result<Answer> {
    let (mut answers, mut requests) = tokio::io::split(stream);
    let request = async {
        requests.write_all(head(body.len()).as_bytes()).await?;
        requests.write_all(body).await?;
        requests.flush().await
    };
    let mut receive = pin!(receive(&mut answers));
    tokio::select! {
        biased;
        answer = &mut receive => answer,
        // A refusal in the middle of the body ends the connection; what was said before that can still be read.
        sent = request => receive.await.map_err(|error| sent.err().unwrap_or(error)),
    }
}

async fn receive(answers: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Answer> {
    let mut bytes = Vec::new();
    loop {
        if let Some(answer) = parse(&bytes) {
            return Ok(answer);
        }
        if answers.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse().unwrap();
    let body = bytes.get(end + 4..end + 4 + length)?;
    let status = head.split(' ').nth(1)?.parse().unwrap();
    Some(Answer { status, review: serde_json::from_slice(body).expect("every answer is JSON") })
}
