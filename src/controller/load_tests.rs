//! The schedule under load: thousands of pods, frozen containers, hanging nodes, in simulated time.

use std::{cmp::Reverse, collections::BinaryHeap};

use serde_json::json;

use super::*;
use crate::{
    controller::{
        assess::{Assessment, tests::pod},
        check::{Ended, Look},
    },
    domain::verdict::{Figures, Reason, Verdict},
};

const INTERVAL: Duration = Duration::from_mins(5);
/// An exec on a node that is well, and the write that follows.
const EXEC: Duration = Duration::from_millis(50);
const WRITE: Duration = Duration::from_millis(10);
/// An exec that does not end.
const DEADLINE: Duration = Duration::from_secs(10);

/// A cluster whose execs take a known time. Whatever ends is told to the schedule at that moment.
struct Cluster {
    schedule: Schedule,
    start: Instant,
    now: Instant,
    /// Pods whose name begins like this hang.
    frozen: &'static str,
    /// As the API server has them.
    pods: HashMap<String, PodView>,
    ends: BinaryHeap<Reverse<(Instant, usize)>>,
    under_way: Vec<Option<Step>>,
    /// When each check began, and of which pod.
    checks: Vec<(Instant, String)>,
    /// When each verdict other than pending stood, and on which pod.
    verdicts: Vec<(Instant, String)>,
    running: HashMap<String, usize>,
    most_at_once: usize,
    most_on_a_node: usize,
}

impl Cluster {
    fn new(frozen: &'static str) -> Self {
        let now = Instant::now();
        Self {
            schedule: Schedule::new(INTERVAL, Arc::default()),
            start: now,
            now,
            frozen,
            pods: HashMap::new(),
            ends: BinaryHeap::new(),
            under_way: Vec::new(),
            checks: Vec::new(),
            verdicts: Vec::new(),
            running: HashMap::new(),
            most_at_once: 0,
            most_on_a_node: 0,
        }
    }

    fn add(&mut self, name: &str, node: &str) {
        self.show(running(name, node));
    }

    /// The pod looks like this now.
    fn show(&mut self, pod: PodView) {
        self.pods.insert(pod.key().name, pod.clone());
        self.schedule.observe(Change::Seen(Box::new(pod)), self.now);
    }

    /// Adds a pod on which an earlier run of the controller reported this.
    fn add_reported(&mut self, name: &str, node: &str, state: State, reason: Reason) {
        let fresh = running(name, node);
        let Assessment::Check(targets) = assess(&fresh, &[]) else { panic!("it runs") };
        let verdict = Verdict { state, reason, ..locked() };
        let report = Report::checked(verdict.clone(), &[("c".to_owned(), verdict)], &targets);
        self.show(patched(&fresh, &report));
    }

    /// Lets the time pass.
    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            for step in self.schedule.steps(self.now) {
                self.begin(step);
            }
            let ending = self.ends.peek().map(|Reverse((at, _))| *at);
            let next = [ending, self.schedule.next_due()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            while self.ends.peek().is_some_and(|Reverse((at, _))| *at <= self.now) {
                let Reverse((_, index)) = self.ends.pop().unwrap();
                let step = self.under_way[index].take().unwrap();
                self.end(step);
            }
        }
        self.now = end;
    }

    fn begin(&mut self, step: Step) {
        let took = match &step {
            Step::Check { key, .. } => {
                self.checks.push((self.now, key.name.clone()));
                let node = self.running.entry(node_of(&key.name)).or_default();
                *node += 1;
                self.most_on_a_node = self.most_on_a_node.max(*node);
                self.most_at_once = self.most_at_once.max(self.running.values().sum());
                if self.hangs(&key.name) { DEADLINE } else { EXEC }
            }
            Step::Write { .. } | Step::Clean { .. } => WRITE,
        };
        self.ends.push(Reverse((self.now + took, self.under_way.len())));
        self.under_way.push(Some(step));
    }

    fn end(&mut self, step: Step) {
        match step {
            Step::Check { key, uid, targets, .. } => {
                *self.running.get_mut(&node_of(&key.name)).unwrap() -= 1;
                let (verdict, ended) = if self.hangs(&key.name) {
                    (Verdict::unknown("it hangs"), Ended::Hung)
                } else {
                    (locked(), Ended::Through)
                };
                let containers = vec![("c".to_owned(), verdict.clone())];
                let checked = Checked { verdict, containers, looks: vec![Look { ended, left: None }] };
                self.schedule.checked(&key, &uid, &targets, checked, self.now);
            }
            Step::Write { key, pod, report, .. } => {
                if report.verdict.state != State::Pending {
                    self.verdicts.push((self.now, key.name.clone()));
                }
                self.show(patched(&self.pods[&key.name], &report));
                self.schedule.written(&key, pod.uid(), Some(report), Written::Done, self.now);
            }
            Step::Clean { .. } => panic!("nobody opts out here"),
        }
    }

    fn hangs(&self, name: &str) -> bool {
        !self.frozen.is_empty() && name.starts_with(self.frozen)
    }

    /// Seconds from a moment to the first verdict on each pod whose name begins like this, in order.
    fn waits(&self, prefix: &str, since: Instant) -> Vec<f64> {
        let mut waits: Vec<f64> = self
            .verdicts
            .iter()
            .filter(|(at, name)| name.starts_with(prefix) && *at >= since)
            .map(|(at, _)| (*at - since).as_secs_f64())
            .collect();
        waits.sort_by(f64::total_cmp);
        waits
    }
}

fn node_of(name: &str) -> String {
    name.rsplit('@').next().unwrap().to_owned()
}

fn running(name: &str, node: &str) -> PodView {
    let name = format!("{name}@{node}");
    let status = json!({ "name": "c", "containerID": format!("containerd://{name:0>64}"), "state": { "running": {} } });
    pod(
        &json!({ "metadata": { "name": name, "uid": name }, "spec": { "nodeName": node }, "status": { "containerStatuses": [status] } }),
    )
}

/// The pod after the API server took the report.
fn patched(pod: &PodView, report: &Report) -> PodView {
    let mut raw = serde_json::to_value(pod).unwrap();
    json_patch::merge(&mut raw, &report.patch(pod, jiff::Timestamp::UNIX_EPOCH));
    serde_json::from_value(raw).unwrap()
}

fn locked() -> Verdict {
    let figures = Some(Figures { locked_kb: 1000, ..Figures::default() });
    Verdict { state: State::Locked, reason: Reason::Locked, figures, message: "all locked".to_owned() }
}

fn percentile(sorted: &[f64], hundredth: usize) -> f64 {
    sorted[(sorted.len() * hundredth / 100).min(sorted.len() - 1)]
}

#[tokio::test(start_paused = true)]
async fn a_frozen_container_delays_no_other_pod_of_its_node() {
    let mut cluster = Cluster::new("frozen");
    cluster.add("frozen", "x");
    for n in 0..20 {
        cluster.add(&format!("well-{n}"), "x");
    }
    cluster.run(Duration::from_secs(1));
    let waits = cluster.waits("well", cluster.start);
    assert_eq!(waits.len(), 20);
    assert!(waits[19] < 0.5, "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn hanging_nodes_starve_no_other_node() {
    let mut cluster = Cluster::new("hung");
    for n in 0..7 {
        for m in 0..100 {
            cluster.add(&format!("hung-{m}"), &format!("bad-{n}"));
        }
    }
    cluster.run(Duration::from_secs(1));
    assert_eq!(cluster.most_on_a_node, 8);
    // While the hanging execs hold 56 of 64 slots.
    for n in 0..10 {
        cluster.add(&format!("well-{n}"), "good");
    }
    let added = cluster.now;
    cluster.run(Duration::from_secs(1));
    let waits = cluster.waits("well", added);
    assert_eq!(waits.len(), 10);
    assert!(waits[9] < 0.5, "{waits:?}");
    // Later each hanging node has one slot.
    cluster.run(Duration::from_secs(20));
    assert!(cluster.running.iter().filter(|(node, _)| node.starts_with("bad")).all(|(_, count)| *count == 1));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_exec_is_not_followed_by_another_for_minutes_and_then_by_ever_fewer() {
    let mut cluster = Cluster::new("frozen");
    cluster.add("frozen", "x");
    cluster.run(Duration::from_hours(3));
    let begun: Vec<u64> = cluster.checks.iter().map(|(at, _)| (*at - cluster.start).as_secs() / 60).collect();
    assert_eq!(begun.len(), 6, "at 0, then after 5, 10, 20, 40 and 60 minutes: {begun:?}");
    let mut again = running("frozen", "x");
    again.status.container_statuses[0].container_id = Some("containerd://another".to_owned());
    cluster.show(again);
    cluster.run(Duration::from_secs(1));
    assert_eq!(cluster.checks.len(), 7, "a restart ends the wait");
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_of_the_controller_thousands_are_looked_at_bit_by_bit_and_new_pods_at_once() {
    let mut cluster = Cluster::new("");
    for n in 0..5_000 {
        cluster.add_reported(&format!("old-{n}"), &format!("node-{}", n % 250), State::Locked, Reason::Locked);
    }
    let mut waits = Vec::new();
    for n in 0..100 {
        cluster.add(&format!("new-{n}-"), &format!("node-{n}"));
        let added = cluster.now;
        cluster.run(Duration::from_millis(500));
        waits.extend(cluster.waits(&format!("new-{n}-"), added));
    }
    waits.sort_by(f64::total_cmp);
    let worst = percentile(&waits, 99);
    assert_eq!(waits.len(), 100);
    assert!(worst < 0.2, "p99 {worst} s");
    cluster.run(Duration::from_secs(15));
    let old: Vec<u64> = cluster
        .checks
        .iter()
        .filter(|(_, name)| name.starts_with("old"))
        .map(|(at, _)| (*at - cluster.start).as_secs())
        .collect();
    assert_eq!(old.len(), 5_000, "each once, within a minute");
    let busiest = (0..60).map(|second| old.iter().filter(|at| **at == second).count()).max();
    assert!(busiest < Some(150), "{busiest:?} in one second");
    assert!(cluster.waits("old", cluster.start).is_empty(), "what stands is not written again");
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_pods_without_a_lock_holds_up_no_new_pod() {
    let mut cluster = Cluster::new("");
    for n in 0..5_000 {
        cluster.add_reported(&format!("old-{n}"), &format!("node-{}", n % 250), State::Unlocked, Reason::NotLocked);
    }
    cluster.run(Duration::from_millis(100));
    cluster.add("new", "node-1");
    let added = cluster.now;
    cluster.run(Duration::from_secs(1));
    assert!(percentile(&cluster.waits("new", added), 99) < 0.2);
    assert_eq!((cluster.most_at_once, cluster.most_on_a_node), (64, 2), "64 slots over 250 nodes");
}

#[tokio::test(start_paused = true)]
async fn five_thousand_new_pods_all_have_their_verdict_in_the_time_that_the_slots_allow() {
    let mut cluster = Cluster::new("");
    for n in 0..5_000 {
        cluster.add(&format!("new-{n}"), &format!("node-{}", n % 250));
    }
    cluster.run(Duration::from_secs(20));
    let waits = cluster.waits("new", cluster.start);
    assert_eq!(waits.len(), 5_000);
    // 5,000 execs of 50 ms through 64 slots are 3.9 s; second looks must not get in between.
    assert!(waits[4_999] < 4.5, "{}", waits[4_999]);
    assert_eq!(cluster.schedule.states(), Some(&HashMap::from([(State::Locked, 5_000)])));
}
