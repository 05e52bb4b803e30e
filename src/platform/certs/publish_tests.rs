use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use axum::http::{Request, Response};
use http_body_util::BodyExt;
use jiff::SignedDuration;
use kube::client::{Body, ClientBuilder};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tower::{BoxError, service_fn};

use super::*;
use crate::platform::{certs::due::convinces, metrics};

const ENTRIES: [&str; 2] = ["a.memlock.dev", "b.memlock.dev"];

/// The two objects, as the API server holds them.
#[derive(Default)]
struct Server {
    version: u64,
    data: BTreeMap<String, String>,
    bundles: BTreeMap<String, String>,
    writes: usize,
}

impl Server {
    fn answer(&mut self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let secret = path.contains("/secrets/");
        if method == "PATCH" {
            self.writes += 1;
            if !secret {
                for entry in body["webhooks"].as_array().unwrap() {
                    let bundle = entry["clientConfig"]["caBundle"].as_str().unwrap();
                    self.bundles.insert(entry["name"].as_str().unwrap().to_owned(), bundle.to_owned());
                }
            } else if body["metadata"]["resourceVersion"] == json!(self.version.to_string()) {
                self.version += 1;
                for (key, value) in body["data"].as_object().unwrap() {
                    self.data.insert(key.clone(), value.as_str().unwrap().to_owned());
                }
            } else {
                return (
                    409,
                    json!({ "kind": "Status", "status": "Failure", "code": 409, "reason": "Conflict", "message": "x" }),
                );
            }
        }
        let metadata = json!({ "name": "x", "resourceVersion": self.version.to_string() });
        if secret {
            return (200, json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": self.data }));
        }
        let webhooks: Vec<_> = ENTRIES
            .iter()
            .map(|name| {
                let mut client = json!({});
                if let Some(bundle) = self.bundles.get(*name) {
                    client["caBundle"] = json!(bundle);
                }
                json!({ "name": name, "clientConfig": client, "sideEffects": "None", "admissionReviewVersions": ["v1"] })
            })
            .collect();
        (
            200,
            json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": CONFIGURATION, "metadata": metadata, "webhooks": webhooks }),
        )
    }

    fn text(&self, key: &str) -> String {
        let bytes = self.data.get(key).map(|encoded| serde_json::from_value::<ByteString>(json!(encoded)).unwrap().0);
        String::from_utf8(bytes.unwrap_or_default()).unwrap()
    }

    fn put(&mut self, key: &str, text: &str) {
        self.version += 1;
        let encoded = serde_json::to_value(ByteString(text.as_bytes().to_vec())).unwrap();
        self.data.insert(key.to_owned(), encoded.as_str().unwrap().to_owned());
    }

    /// What each entry trusts.
    fn trusted(&self) -> Vec<Bundle> {
        let read = |name: &&str| {
            let bundle = json!(self.bundles.get(*name).cloned().unwrap_or_default());
            Bundle::read(&String::from_utf8(serde_json::from_value::<ByteString>(bundle).unwrap().0).unwrap())
        };
        ENTRIES.iter().map(read).collect()
    }
}

struct World {
    server: Arc<Mutex<Server>>,
    client: Client,
    registry: Mutex<Registry>,
    start: (Timestamp, Instant),
}

const LIVES: Lives = Lives { certificate: SignedDuration::from_secs(60), authority: SignedDuration::from_secs(180) };

impl World {
    fn new() -> Self {
        let server: Arc<Mutex<Server>> = Arc::default();
        let shared = server.clone();
        let transport = service_fn(move |request: Request<Body>| {
            let server = shared.clone();
            async move {
                let (parts, body) = request.into_parts();
                let bytes = body.collect().await?.to_bytes();
                let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                let (code, answer) = server.lock().unwrap().answer(parts.method.as_str(), parts.uri.path(), &body);
                let answer = Body::from(answer.to_string().into_bytes());
                Ok::<_, BoxError>(Response::builder().status(code).body(answer).unwrap())
            }
        });
        let client = ClientBuilder::new(transport, "n").build();
        Self { server, client, registry: Mutex::default(), start: (Timestamp::now(), Instant::now()) }
    }

    fn publisher(&self, source: Source, manage: bool) -> Publisher {
        let [namespace, secret, service, configuration] = ["n", "tls", "webhook", "memlock"].map(str::to_owned);
        let names = Names { namespace, secret, service, configuration };
        let metrics = PublishedMetrics::register(&mut self.registry.lock().unwrap());
        Publisher::new(&self.client, names, source, manage, metrics)
    }

    /// The value of `memlock_certificate_authority_trusted`.
    fn is_said_to_be_trusted(&self) -> bool {
        let text = metrics::text(&self.registry.lock().unwrap());
        text.lines().any(|line| line == "certificate_authority_trusted 1")
    }

    fn now(&self) -> Timestamp {
        self.start.0 + SignedDuration::try_from(self.start.1.elapsed()).unwrap()
    }

    fn text(&self, key: &str) -> String {
        self.server.lock().unwrap().text(key)
    }

    /// Whether each entry trusts what a pod with this leaf serves.
    fn accepts(&self, leaf: &str) -> bool {
        let names = ["webhook.n.svc".to_owned()];
        let leaf = CertificateDer::from_pem_slice(leaf.as_bytes()).unwrap();
        let trusted = self.server.lock().unwrap().trusted();
        trusted.iter().all(|bundle| convinces(&leaf, &bundle.certificates().collect::<Vec<_>>(), &names, self.now()))
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_secret_is_filled_in_one_go() {
    let world = World::new();
    let mut publisher = world.publisher(Source::Internal(LIVES), true);
    publisher.publish(world.now()).await.unwrap();
    assert!(world.accepts(&world.text(CERTIFICATE)));
    let writes = world.server.lock().unwrap().writes;
    publisher.publish(world.now()).await.unwrap();
    assert_eq!(world.server.lock().unwrap().writes, writes, "and then left alone");
}

/// Pods get a new pair late, each at its own time; leaders change. At each second each of them must be trusted.
#[tokio::test(start_paused = true)]
async fn no_moment_of_twenty_rotations_is_without_trust() {
    let world = World::new();
    let mut publisher = world.publisher(Source::Internal(LIVES), true);
    publisher.publish(world.now()).await.unwrap();
    let mut history: VecDeque<String> = std::iter::repeat_n(world.text(CERTIFICATE), 13).collect();
    let (mut leaves, mut authorities) = (Vec::new(), Vec::new());
    let mut next = Instant::now();
    for second in 0..900 {
        tokio::time::advance(Duration::from_secs(1)).await;
        if Instant::now() >= next {
            next = Instant::now() + publisher.publish(world.now()).await.unwrap();
        }
        if second % 97 == 0 {
            publisher = world.publisher(Source::Internal(LIVES), true);
        }
        history.push_front(world.text(CERTIFICATE));
        history.truncate(13);
        let mut different: Vec<_> = history.iter().enumerate().collect();
        different.dedup_by_key(|(_, leaf)| *leaf);
        for (late, leaf) in different {
            assert!(world.accepts(leaf), "after {second} s, a pod that is {late} s late");
        }
        leaves.push(world.text(CERTIFICATE));
        authorities.push(world.text(AUTHORITY_KEY));
    }
    leaves.dedup();
    authorities.dedup();
    assert!(leaves.len() > 20 && authorities.len() > 6, "{} leaves, {} authorities", leaves.len(), authorities.len());
    assert!(Bundle::read(&world.text(AUTHORITIES)).certificates().count() <= 3);
}

#[tokio::test(start_paused = true)]
async fn an_emptied_secret_costs_no_trust_in_what_is_served() {
    let world = World::new();
    let mut publisher = world.publisher(Source::Internal(LIVES), true);
    publisher.publish(world.now()).await.unwrap();
    let served = world.text(CERTIFICATE);
    world.server.lock().unwrap().data.clear();
    let error = publisher.publish(world.now()).await.unwrap_err().to_string();
    assert!(error.contains("does somebody else write the Secret"), "{error}");
    tokio::time::advance(Duration::from_secs(11)).await;
    publisher.publish(world.now()).await.unwrap();
    assert_ne!(world.text(CERTIFICATE), served);
    assert!(world.accepts(&served) && world.accepts(&world.text(CERTIFICATE)));
}

/// A clock that jumps between two times makes some certificates, not one a look.
#[tokio::test(start_paused = true)]
async fn a_jumping_clock_does_not_issue_in_a_loop() {
    let world = World::new();
    let lives = Lives::default();
    let mut publisher = world.publisher(Source::Internal(lives), true);
    let mut seen = Vec::new();
    for look in 0..120 {
        let jump = SignedDuration::from_hours(if look % 2 == 0 { 0 } else { 24 * 300 });
        let _ = publisher.publish(world.now() + jump).await;
        seen.push(world.text(CERTIFICATE));
        tokio::time::advance(LOOK_AGAIN).await;
    }
    seen.dedup();
    assert!(seen.len() <= 11, "{} in ten minutes", seen.len());
}

#[tokio::test(start_paused = true)]
async fn where_others_write_the_bundle_the_leaf_waits_for_them() {
    let world = World::new();
    let mut publisher = world.publisher(Source::Internal(LIVES), false);
    publisher.publish(world.now()).await.unwrap();
    let first = world.text(CERTIFICATE);
    assert!(!first.is_empty() && world.server.lock().unwrap().bundles.is_empty());
    let by_hand = |world: &World| {
        let mut server = world.server.lock().unwrap();
        let bundle = server.data[AUTHORITIES].clone();
        server.bundles = ENTRIES.iter().map(|name| ((*name).to_owned(), bundle.clone())).collect();
    };
    by_hand(&world);
    // The authority is replaced after 120 s; leaves of the old one go on until then, and none of the new one comes.
    for _ in 0..27 {
        publisher.publish(world.now()).await.unwrap();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(world.accepts(&world.text(CERTIFICATE)));
    }
    let old = world.text(CERTIFICATE);
    assert_ne!(old, first);
    by_hand(&world);
    for _ in 0..4 {
        publisher.publish(world.now()).await.unwrap();
        tokio::time::advance(Duration::from_secs(5)).await;
    }
    assert_ne!(world.text(CERTIFICATE), old);
    assert!(world.accepts(&world.text(CERTIFICATE)));
}

#[tokio::test(start_paused = true)]
async fn the_authority_of_somebody_elses_secret_is_copied_and_the_one_before_kept() {
    let world = World::new();
    let mut publisher = world.publisher(Source::Secret, true);
    let error = publisher.publish(world.now()).await.unwrap_err().to_string();
    assert!(error.contains("has no authority in ca.crt"), "{error}");
    let lives = Lives::default();
    let authorities = [0, 1].map(|_| issue_authority(lives, world.now()).unwrap());
    let leaves =
        authorities.each_ref().map(|a| issue_leaf(&["webhook.n.svc".to_owned()], &a.key, lives, world.now()).unwrap());
    for authority in &authorities {
        world.server.lock().unwrap().put(AUTHORITIES, &authority.certificate);
        publisher.publish(world.now()).await.unwrap();
    }
    assert!(leaves.iter().all(|leaf| world.accepts(&leaf.certificate)));
    assert!(world.text(CERTIFICATE).is_empty(), "nothing is issued");
}

#[tokio::test(start_paused = true)]
async fn a_secret_without_an_authority_is_trusted_once_each_entry_trusts_any() {
    let world = World::new();
    let mut publisher = world.publisher(Source::Secret, false);
    publisher.publish(world.now()).await.unwrap();
    assert!(!world.is_said_to_be_trusted());
    let authorities = [0, 1].map(|_| issue_authority(Lives::default(), world.now()).unwrap());
    let bundle = serde_json::to_value(ByteString(authorities[0].certificate.clone().into_bytes())).unwrap();
    for entry in ENTRIES {
        let bundle = bundle.as_str().unwrap().to_owned();
        world.server.lock().unwrap().bundles.insert(entry.to_owned(), bundle);
    }
    publisher.publish(world.now()).await.unwrap();
    assert!(world.is_said_to_be_trusted());
    world.server.lock().unwrap().put(AUTHORITIES, &authorities[1].certificate);
    publisher.publish(world.now()).await.unwrap();
    assert!(!world.is_said_to_be_trusted(), "another one is named than is trusted");
}
