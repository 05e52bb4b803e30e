//! At each moment: does the live configuration trust what each webhook pod serves?

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Pod};
use kube::{Api, Client, api::ListParams};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tokio_rustls::TlsConnector;

use crate::cluster::SYSTEM;

const PAUSE: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(5);
pub const NAME: &str = "memlock-operator-webhook.memlock-system.svc";

#[derive(Default)]
pub struct Seen {
    pub trusted: usize,
    pub wrong: Vec<String>,
    /// Each chain, DER, leaf first.
    pub served: BTreeMap<Vec<Vec<u8>>, Served>,
    /// How often a pod was found to go away when it was not reached.
    pub went: usize,
}

/// When a chain was seen.
pub struct Served {
    pub pod: String,
    pub first: Timestamp,
    pub last: Timestamp,
}

impl Seen {
    fn saw(&mut self, pod: &str, chain: Vec<Vec<u8>>) {
        let now = Timestamp::now();
        let served = self.served.entry(chain).or_insert_with(|| Served { pod: pod.to_owned(), first: now, last: now });
        served.last = now;
    }
}

/// Asks until it is stopped.
pub async fn watch(client: Client, stop: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        let pods: Api<Pod> = Api::namespaced(client.clone(), SYSTEM);
        let ready = ListParams::default().labels("app.kubernetes.io/component=webhook");
        for pod in pods.list(&ready).await.map(|list| list.items).unwrap_or_default() {
            if is_serving(&pod) {
                look(&client, &pods, &pod.metadata.name.unwrap(), &mut seen).await;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    seen
}

fn is_serving(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"));
    ready && pod.metadata.deletion_timestamp.is_none()
}

/// A configuration that changed during the look is looked at again: both may have been right in turn. So is a pod that
/// was not reached, unless it goes.
async fn look(client: &Client, pods: &Api<Pod>, pod: &str, seen: &mut Seen) {
    let mut reached = true;
    for _ in 0..5 {
        let Some(before) = bundles(client).await else { return };
        let mut wrong = Vec::new();
        reached = true;
        for bundle in &before {
            match tokio::time::timeout(PATIENCE, shake_hands(pods, pod, bundle)).await.ok().flatten() {
                Some(Ok(chain)) => seen.saw(pod, chain),
                Some(Err(error)) => wrong.push(error),
                None => reached = false,
            }
        }
        if !reached {
            let still = pods.get_opt(pod).await;
            if still.is_ok_and(|found| !found.is_some_and(|pod| is_serving(&pod))) {
                seen.went += 1;
                return;
            }
        } else if wrong.is_empty() {
            seen.trusted += 1;
            return;
        } else if bundles(client).await.as_ref() == Some(&before) {
            seen.wrong.push(format!("{}: {pod}: {}", Timestamp::now(), wrong.join(", ")));
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    if !reached {
        seen.wrong.push(format!("{}: {pod}: ready, and not reached", Timestamp::now()));
    }
}

/// The different bundles of the entries: one, when all is well.
async fn bundles(client: &Client) -> Option<Vec<Vec<u8>>> {
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let found = configurations.get("memlock-operator").await.ok()?;
    let entries = found.webhooks.unwrap_or_default().into_iter();
    let mut all: Vec<_> = entries.map(|entry| entry.client_config.ca_bundle.unwrap_or_default().0).collect();
    all.sort();
    all.dedup();
    Some(all)
}

/// The chain. `None`: the pod was not reached. `Err`: its certificate was not accepted.
async fn shake_hands(pods: &Api<Pod>, pod: &str, bundle: &[u8]) -> Option<Result<Vec<Vec<u8>>, String>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(bundle).filter_map(Result::ok));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut forwarder = pods.portforward(pod, &[10250]).await.ok()?;
    let stream = forwarder.take_stream(10250)?;
    let name = ServerName::try_from(NAME).unwrap();
    match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        Ok(stream) => {
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
            Some(Ok(chain.iter().map(|der| der.as_ref().to_vec()).collect()))
        }
        Err(error) if error.to_string().contains("certificate") => Some(Err(error.to_string())),
        Err(_) => None,
    }
}
