//! What is done to the product.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, sleep, spawn},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    chart::CHART,
    cluster::{RELEASE, SYSTEM, eventually, kubectl, kubectl_with, leader, page_of, pod_of, run, running_id, succeed},
    host,
};

const WEBHOOK: &str = "deployment/memlock-operator-webhook";
const CONTROLLER: &str = "deployment/memlock-operator-controller";
const WEBHOOK_PODS: &str = "app.kubernetes.io/component=webhook";
const CONTROLLER_PODS: &str = "app.kubernetes.io/component=controller";

fn rolled_out(deployment: &str) {
    kubectl(&["-n", SYSTEM, "rollout", "status", deployment, "--timeout=120s"]);
}

fn upgrade(values: &[&str]) {
    let mut arguments = vec!["upgrade", RELEASE, CHART, "-n", SYSTEM, "--reuse-values", "--wait", "--timeout", "120s"];
    for value in values {
        arguments.extend(["--set", value]);
    }
    succeed("helm", &arguments);
}

/// Of the pods that stay.
fn names(selector: &str) -> Vec<String> {
    let found = kubectl(&["-n", SYSTEM, "get", "pods", "-l", selector, "-o", "json"]);
    let found: Value = serde_json::from_str(&found).unwrap();
    let staying = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
    let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap().to_owned();
    found["items"].as_array().unwrap().iter().filter(staying).map(name).collect()
}

/// Names of the webhook's pods.
pub fn webhook_pods() -> Vec<String> {
    names(WEBHOOK_PODS)
}

/// Names of the controller's pods.
pub fn controller_pods() -> Vec<String> {
    names(CONTROLLER_PODS)
}

/// When the certificate that this webhook pod serves ends, in seconds since 1970.
pub fn served_until(pod: &str) -> Option<i64> {
    let metrics =
        String::from_utf8_lossy(&run("kubectl", &["get", "--raw", &page_of(pod, "metrics")]).stdout).into_owned();
    let name = "memlock_certificate_not_after_timestamp_seconds{certificate=\"served\"} ";
    metrics.lines().find_map(|line| line.strip_prefix(name)?.parse().ok())
}

/// Process of the leader, as the machine numbers it, and its identity.
fn leading_process() -> (String, String) {
    let holder = leader();
    let pod = pod_of(&holder).unwrap();
    let found = kubectl(&["-n", SYSTEM, "get", "pod", pod, "-o", "json"]);
    let id = running_id(&serde_json::from_str(&found).unwrap()).expect("the leader runs");
    (host::first_process(&id).to_string(), holder)
}

fn another_leads(old: &str) {
    let start = Instant::now();
    eventually("another leader", || {
        let holder = leader();
        if holder == old { Err(holder) } else { Ok(()) }
    });
    eprintln!("another leads after {:.1} s", start.elapsed().as_secs_f64());
}

/// Changes the webhook's pods all the time. The kubelet looks after a pod's mounts about once a minute, or when the pod
/// changes: so certificates may live short.
struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start() -> Self {
        let stop: Arc<AtomicBool> = Arc::default();
        let stopped = stop.clone();
        let thread = spawn(move || {
            for tick in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let mark = format!("e2e/tick={tick}");
                run("kubectl", &["-n", SYSTEM, "annotate", "pods", "-l", WEBHOOK_PODS, "--overwrite", &mark]);
                sleep(Duration::from_secs(1));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// How many leaves and authorities there have been since it was made.
struct Rotations {
    last: [String; 2],
    seen: [usize; 2],
}

impl Rotations {
    fn now() -> [String; 2] {
        ["tls\\.crt", "ca\\.key"].map(|key| {
            let field = format!("jsonpath={{.data.{key}}}");
            kubectl(&["-n", SYSTEM, "get", "secret", "memlock-operator-tls", "-o", &field])
        })
    }

    fn new() -> Self {
        Self { last: Self::now(), seen: [0, 0] }
    }

    /// Waits for so many leaves and authorities.
    fn wait(&mut self, wanted: [usize; 2]) {
        let start = Instant::now();
        let patience = Duration::from_mins(2) * u32::try_from(wanted[0]).unwrap();
        while self.seen.iter().zip(wanted).any(|(seen, wanted)| *seen < wanted) {
            assert!(start.elapsed() < patience, "leaves and authorities: {:?} of {wanted:?}", self.seen);
            sleep(Duration::from_secs(1));
            for (seen, (last, now)) in self.seen.iter_mut().zip(self.last.iter_mut().zip(Self::now())) {
                *seen += usize::from(*last != now);
                *last = now;
            }
        }
    }
}

/// Asks for a pod to go, as `kubectl drain` does, until it is allowed. Gives how often it was not.
fn evict(pod: &str) -> usize {
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": pod, "namespace": SYSTEM },
    });
    let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{pod}/eviction");
    let mut refused = 0;
    eventually(&format!("the eviction of {pod}"), || {
        let output = kubectl_with(&["create", "--raw", &path, "-f", "-"], &eviction);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            return Ok(());
        }
        assert!(said.contains("disruption budget"), "{said}");
        refused += 1;
        Err(said)
    });
    refused
}

/// All of it. `wanted`: leaves and authorities that are replaced meanwhile. Gives how many were.
pub fn disturb(wanted: [usize; 2]) -> [usize; 2] {
    let step = |what: &str, action: &mut dyn FnMut()| {
        let start = Instant::now();
        action();
        eprintln!("{what}: {:.1} s", start.elapsed().as_secs_f64());
    };
    step("rolling restart of the webhook", &mut || {
        kubectl(&["-n", SYSTEM, "rollout", "restart", WEBHOOK]);
        rolled_out(WEBHOOK);
    });
    step("each webhook pod deleted", &mut || {
        for pod in names(WEBHOOK_PODS) {
            kubectl(&["-n", SYSTEM, "delete", "pod", &pod, "--wait=false", "--ignore-not-found"]);
            rolled_out(WEBHOOK);
        }
    });
    for (what, selector, deployment) in
        [("webhook", WEBHOOK_PODS, WEBHOOK), ("controller", CONTROLLER_PODS, CONTROLLER)]
    {
        step(&format!("each {what} pod evicted, one right after the other"), &mut || {
            let refused: usize = names(selector).iter().map(|pod| evict(pod)).sum();
            assert!(refused > 0, "the budget lets one {what} pod go at a time");
            rolled_out(deployment);
        });
    }
    let mut rotations = Rotations::new();
    let ticker = Ticker::start();
    // A leaf is replaced after 33 s, an authority after 110, and with it a leaf that is 11 s old.
    step("helm upgrade to certificates of 50 s", &mut || {
        upgrade(&["certificates.life=50s", "certificates.authorityLife=165s", "webhook.podLabels.round=two"]);
    });
    step("certificates replaced", &mut || {
        rotations.wait(wanted);
        // One that is new outlives what comes now.
        rotations.wait([rotations.seen[0] + 1, 0]);
    });
    step("helm upgrade to certificates of 90 days", &mut || {
        let [leaves, authorities] = rotations.seen;
        upgrade(&["certificates.life=2160h", "certificates.authorityLife=8760h", "webhook.podLabels=null"]);
        rolled_out(CONTROLLER);
        rotations.wait([leaves + 1, authorities + 1]);
        // The leader before may have made those, and a short life could end while nobody leads.
        let tomorrow = Timestamp::now().as_second() + 24 * 60 * 60;
        eventually("a long life in every webhook pod", || {
            let short: Vec<_> = webhook_pods().into_iter().filter(|pod| served_until(pod) < Some(tomorrow)).collect();
            if short.is_empty() { Ok(()) } else { Err(format!("{short:?}")) }
        });
    });
    drop(ticker);
    step("the leader killed", &mut || {
        let (process, holder) = leading_process();
        succeed("kill", &["-KILL", &process]);
        another_leads(&holder);
    });
    step("the leader frozen beyond its lease", &mut || {
        let (process, holder) = leading_process();
        succeed("kill", &["-STOP", &process]);
        another_leads(&holder);
        succeed("kill", &["-CONT", &process]);
        eventually("the end of the one that was frozen", || {
            // Gone, or a zombie that waits for its parent.
            let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") { Ok(()) } else { Err(stat) }
        });
        rolled_out(CONTROLLER);
    });
    rotations.seen
}
