//! What the controller keeps of each pod, in bytes of the heap: watch, schedule and ledger, fed by a list of the whole
//! cluster and carried on until every verdict stands.
//!
//! `MEMLOCK_FULL=1` (`make bench`): 150,000 pods; else 6,000.

#![allow(clippy::print_stdout, reason = "a measurement prints")]

use std::{
    collections::HashSet,
    convert::Infallible,
    process::Command,
    sync::{Arc, LazyLock},
};

use axum::{
    body::Body,
    http::{Request, Response},
};
use futures::{Stream, StreamExt, future::ready, stream::pending};
use kube::client::Body as ClientBody;
use serde_json::{Value, json};

use super::{
    ledger::{Ended as Called, Object, Seen, Step as Call},
    *,
};
use crate::{
    controller::{
        check::{Ended, Look},
        pod_view::PodView,
        schedule::{Schedule, Step},
        watch::{self, Change},
    },
    domain::{
        inject::{Agent, Delivery, Settings, inject},
        probe::parse,
        verdict::{Wanted, judge},
    },
};

/// Counts while a profiler is there; the other tests run without one.
#[global_allocator]
static HEAP: dhat::Alloc = dhat::Alloc;

const INTERVAL: Duration = Duration::from_mins(5);
/// Past the short pauses after a start.
const SETTLED: Duration = Duration::from_mins(3);
/// Of the pods, one in so many is opted in.
const SHARE: usize = 20;
const FOR_A_WATCHED_POD: usize = 512;
const FOR_A_DEVICE: usize = 2_048;
const FOR_ALL: usize = 64 << 20;

/// Each name, uid and id has the number in these digits.
const DIGITS: &str = "000000";

/// A running pod as the API server sends it, opted in as the webhook leaves it.
fn template(opted_in: bool) -> String {
    let managed = json!({ "manager": "kubelet", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": { "f:status": {} } });
    let annotations = json!({ "memlock.dev/swap-device": "true", "memlock.dev/device": "/dev/ublkb0" });
    let mut pod = json!({
        "metadata": {
            "name": "ublk-server-000000", "namespace": "storage", "uid": "2b4c6d8e-1a3b-4c5d-8e9f-000000000000",
            "resourceVersion": "1000000", "labels": { "app": "ublk" }, "managedFields": [managed],
        },
        "spec": {
            "nodeName": "worker-000000.example.internal",
            "containers": [{
                "name": "server", "image": "registry.example/ublk:1", "command": ["/usr/bin/ublk"],
                "resources": { "limits": { "memory": "512Mi" }, "requests": { "memory": "512Mi" } },
            }],
        },
    });
    if opted_in {
        pod["metadata"]["annotations"] = annotations;
        let agent = Agent {
            image: "registry.example/memlock-operator:1".into(),
            pull_policy: None,
            delivery: Delivery::InitContainer,
        };
        let settings = Settings { agent: Some(agent), ..Settings::default() };
        let injection = inject(&pod, &settings).unwrap();
        assert!(injection.patch.0.len() > 3, "{injection:?}");
        json_patch::patch(&mut pod, &injection.patch).unwrap();
    }
    let id = format!("containerd://{DIGITS}{}", "5".repeat(58));
    pod["status"] = json!({
        "phase": "Running", "podIP": "10.0.0.1", "conditions": [{ "type": "Ready", "status": "True" }],
        "containerStatuses": [{ "name": "server", "containerID": id, "ready": true, "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } } }],
    });
    pod.to_string()
}

/// The pod with this number.
fn one(number: usize, opted_in: bool) -> String {
    static PLAIN: LazyLock<String> = LazyLock::new(|| template(false));
    static OPTED_IN: LazyLock<String> = LazyLock::new(|| template(true));
    let template = if opted_in { &OPTED_IN } else { &PLAIN };
    template.replace(DIGITS, &format!("{number:06}"))
}

/// A page of the list, as it was asked for.
fn page(query: &str, pods: usize, opted_in: usize) -> String {
    let asked = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')?.parse().ok());
    let (from, limit) = (asked("continue").unwrap_or(0), asked("limit").unwrap_or(usize::MAX));
    let until = from.saturating_add(limit).min(pods);
    let items = (from..until).map(|n| one(n, n < opted_in)).collect::<Vec<_>>().join(",");
    let rest = if until < pods { until.to_string() } else { String::new() };
    let metadata = json!({ "resourceVersion": "1000001", "continue": rest });
    format!(r#"{{"apiVersion":"v1","kind":"PodList","metadata":{metadata},"items":[{items}]}}"#)
}

/// The changes of a cluster with so many pods, so many of them opted in.
fn cluster(pods: usize, opted_in: usize) -> impl Stream<Item = Change> {
    let service = tower::service_fn(move |request: Request<ClientBody>| {
        let query = request.uri().query().unwrap_or_default();
        let body = if query.contains("watch=true") {
            Body::from_stream(pending::<Result<Vec<u8>, Infallible>>())
        } else {
            Body::from(page(query, pods, opted_in))
        };
        ready(Ok::<_, Infallible>(Response::new(body)))
    });
    watch::watch(&Client::new(service, "default"), &[])
}

/// Schedule and ledger, whose execs and calls end at once and well.
struct Controller {
    schedule: Schedule,
    ledger: Ledger,
    verdict: crate::domain::verdict::Verdict,
    now: Instant,
    /// Calls to the API server.
    calls: usize,
}

impl Controller {
    fn new() -> Self {
        let facts = parse(include_bytes!("../../domain/probe/testdata/nbdkit-locked.txt")).unwrap();
        let mut ledger = Ledger::new(INTERVAL, 1);
        ledger.seen(Seen::Listed(None, HashSet::new()), Instant::now());
        Self {
            schedule: Schedule::new(INTERVAL, Arc::default()),
            ledger,
            verdict: judge(&facts, &Wanted::default()),
            now: Instant::now(),
            calls: 0,
        }
    }

    fn observe(&mut self, change: Change) {
        take(&mut self.ledger, News::of(&change, &[]));
        self.schedule.observe(change, self.now);
    }

    /// Carries on for so long.
    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            while self.turn() {}
            let next = [self.schedule.next_due(), self.ledger.next_due()].into_iter().flatten().min();
            match next.filter(|next| *next <= end) {
                Some(next) => self.now = self.now.max(next),
                None => break,
            }
        }
        self.now = end;
    }

    /// Whether there was anything to do.
    fn turn(&mut self) -> bool {
        let steps = self.schedule.steps(self.now);
        let calls = self.ledger.steps(self.now, Timestamp::UNIX_EPOCH);
        let busy = !(steps.is_empty() && calls.is_empty());
        for step in steps {
            self.end(step);
        }
        for call in calls {
            self.answer(call);
        }
        busy
    }

    fn end(&mut self, step: Step) {
        match step {
            Step::Check { key, uid, targets, .. } => {
                let containers =
                    targets.iter().map(|target| (target.container.clone(), self.verdict.clone())).collect();
                let looks = targets.iter().map(|_| Look { ended: Ended::Through, left: Some(300 << 20) }).collect();
                let checked = Checked { verdict: self.verdict.clone(), containers, looks };
                take(&mut self.ledger, News::checked(&key, &uid, &targets, &checked));
                self.schedule.checked(&key, &uid, &targets, checked, self.now);
            }
            Step::Write { key, pod, report, .. } => {
                self.calls += 1;
                // What stands, as the list had it.
                let number: usize = key.name.rsplit('-').next().unwrap().parse().unwrap();
                let mut raw: Value = serde_json::from_str(&one(number, true)).unwrap();
                json_patch::merge(&mut raw, &report.patch(&pod, Timestamp::UNIX_EPOCH));
                let shown: PodView = serde_json::from_value(raw).unwrap();
                self.observe(Change::Seen(Box::new(shown)));
                self.schedule.written(&key, pod.uid(), Some(report), Written::Done, self.now);
            }
            Step::Clean { .. } => panic!("nobody opts out here"),
        }
    }

    fn answer(&mut self, call: Call) {
        self.calls += 1;
        let (Call::Create(name, mut device) | Call::Change { name, mut device, .. }) = call else {
            panic!("nothing is deleted here")
        };
        device.metadata.uid = Some("7c9e6679-7425-40de-944b-e07fc1f90ae7".into());
        device.metadata.resource_version = Some("1000002".into());
        let standing = || Box::new(content::Standing::of(&device));
        self.ledger.seen(Seen::There(name.clone(), standing()), self.now);
        let object = Some(Object::There(standing()));
        self.ledger.ended(&name, Called { object, failed: false, ours: true }, self.now);
    }
}

/// Bytes that are kept in the end, and the most that were in use on the way there.
async fn bytes(pods: usize, opted_in: usize) -> (usize, usize) {
    // The templates are made once, and are nobody's.
    drop((one(0, false), one(0, true)));
    let profiler = dhat::Profiler::builder().testing().trim_backtraces(Some(1)).build();
    let changes = Box::pin(cluster(pods, opted_in));
    let mut changes = changes.peekable();
    let mut controller = Controller::new();
    let mut seen = 0;
    loop {
        let change = changes.next().await.unwrap();
        let listed = matches!(change, Change::Listed(_));
        seen += usize::from(!listed);
        controller.observe(change);
        if listed {
            break;
        }
    }
    assert_eq!(seen, opted_in);
    controller.run(SETTLED);
    // One pod, and two for an object and its status.
    assert_eq!(controller.calls, 2 * opted_in);
    let stats = dhat::HeapStats::get();
    drop(profiler);
    (stats.curr_bytes, stats.max_bytes)
}

#[tokio::test(start_paused = true)]
#[ignore = "its heap must be its own: run by the test below, in a process of its own"]
async fn in_a_process_of_its_own() {
    let pods = if std::env::var_os("MEMLOCK_FULL").is_some() { 150_000 } else { 6_000 };
    let opted_in = pods / SHARE;
    let (none, _) = bytes(0, 0).await;
    let (devices, _) = bytes(opted_in, opted_in).await;
    let (all, most) = bytes(pods, opted_in).await;
    let a_watched_pod = all.saturating_sub(devices) / (pods - opted_in);
    let a_device = (devices - none) / opted_in;
    println!(
        "{pods} pods, {opted_in} of them opted in: {a_watched_pod} B a watched pod, {a_device} B an opted-in pod, {} kB in all, {} kB at most on the way",
        all >> 10,
        most >> 10
    );
    assert!(a_watched_pod <= FOR_A_WATCHED_POD);
    assert!(a_device <= FOR_A_DEVICE);
    assert!(most <= FOR_ALL);
}

#[test]
fn what_is_kept_of_a_pod_is_bounded() {
    let test = "controller::devices::heap_tests::in_a_process_of_its_own";
    let arguments = ["--ignored", "--exact", "--nocapture", test];
    let output = Command::new(std::env::current_exe().unwrap()).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
}
