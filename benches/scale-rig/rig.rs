//! The controller in a large cluster: a real API server and etcd, thousands of pods that no kubelet runs, and execs that
//! are answered by a stub. Started by `benches/scale`, which sets KUBECONFIG.
//!
//! `scale-rig CONTROLLER FOLDER SECONDS`: the operator's binary, a folder for what is written, how long to measure.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a measurement may panic, and prints; the stub's tasks end with the process"
)]

mod gate;
#[path = "../../tests/hostile/image.rs"]
mod image;
mod load;
mod process;

use std::{ops::Range, path::PathBuf, time::Duration};

use kube::{Client, Config};
use tokio::time::{Instant, sleep};

use self::{gate::Gate, process::Controller};

/// Pods that did not opt in, of a small cluster and of one of 20,000, and those that did: first of the latter, then of the
/// run that is measured over time.
const FEW_PLAIN: u32 = 5_000;
const PLAIN: u32 = 19_000;
const DEVICES: u32 = 1_000;
const MANY_DEVICES: u32 = 5_000;
/// How often each of them is looked at.
const INTERVAL: &str = "60s";
const LOOKS_A_MINUTE: f64 = 5_000.0;
/// After a list or the last first verdict, until nothing but routine is left.
const SETTLED: Duration = Duration::from_secs(20);

/// Goals; of memory in bytes. What an opted-in pod may take is held by `heap_tests`: what the allocator adds differs from run
/// to run, and counts in the large cluster.
const FOR_A_WATCHED_POD: f64 = 512.0;
const FOR_A_LARGE_CLUSTER: f64 = 64.0 * 1_048_576.0;
const LARGE_CLUSTER: f64 = 150_000.0;
const LARGE_CLUSTERS_DEVICES: f64 = 7_500.0;
const CORES: f64 = 0.5;
const RESIDENT_KB: u32 = 100 * 1_024;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().unwrap_or_else(|| panic!("{what} is missing: run benches/scale"));
    let (binary, folder) = (PathBuf::from(next("the operator's binary")), PathBuf::from(next("a folder")));
    let steady = Duration::from_secs(next("the number of seconds").parse().expect("a number of seconds"));
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let client = Client::try_from(Config::infer().await.expect("KUBECONFIG names the API server")).unwrap();
    load::prepare(&client).await;
    let gate = Gate::open(client.clone(), &folder);
    let mut missed = Vec::new();

    let started = async |pods: Range<u32>| {
        load::create(&client, pods.clone(), false).await;
        gate.forget();
        let controller = Controller::start(&binary, &folder, INTERVAL);
        let resident = listed(&gate, &controller).await;
        row(&format!("{} pods that did not opt in", pods.end), &controller);
        (controller, resident)
    };
    started(0..0).await.0.stop().await;
    let (controller, small) = started(0..FEW_PLAIN).await;
    controller.stop().await;
    let (controller, watching) = started(FEW_PLAIN..PLAIN).await;
    let few = locked(&client, &gate, &controller, 0..DEVICES).await;
    row(&format!("and {DEVICES} that did"), &controller);
    let many = locked(&client, &gate, &controller, DEVICES..MANY_DEVICES).await;
    row(&format!("and {} more of those", MANY_DEVICES - DEVICES), &controller);

    // What does not grow with the pods, such as the buffers of a page of the list and of looks that go on at the same time,
    // is in none of the two.
    let a_watched_pod = bytes(small, watching) / f64::from(PLAIN - FEW_PLAIN);
    let a_device = bytes(few, many) / f64::from(MANY_DEVICES - DEVICES);
    let rest = f64::from(few) * 1_024.0 - a_watched_pod * f64::from(PLAIN) - a_device * f64::from(DEVICES);
    let large = rest + a_watched_pod * (LARGE_CLUSTER - LARGE_CLUSTERS_DEVICES) + a_device * LARGE_CLUSTERS_DEVICES;
    println!(
        "a watched pod {a_watched_pod:.0} B, an opted-in pod {a_device:.0} B; {LARGE_CLUSTER} pods with {LARGE_CLUSTERS_DEVICES} opted in would need {:.1} MiB",
        large / 1_048_576.0
    );

    gate.forget();
    let (before, since, mut most) = (controller.processor(), Instant::now(), 0);
    while since.elapsed() < steady {
        sleep(Duration::from_secs(1)).await;
        most = most.max(controller.resident());
    }
    let seconds = since.elapsed().as_secs_f64();
    let cores = controller.processor().saturating_sub(before).as_secs_f64() / seconds;
    let (looks, writes) = (f64::from(gate.execs()) / seconds * 60.0, gate.writes());
    println!(
        "{MANY_DEVICES} devices for {seconds:.0} s: {looks:.0} looks a minute, {cores:.3} cores, {most} kB resident, writes beside the lease: {writes:?}"
    );
    controller.stop().await;

    let mut goal = |met: bool, what: &'static str| {
        if !met {
            missed.push(what);
        }
    };
    goal(a_watched_pod <= FOR_A_WATCHED_POD, "memory for a watched pod");
    goal(large <= FOR_A_LARGE_CLUSTER, "memory for a large cluster");
    goal(looks >= 0.9 * LOOKS_A_MINUTE, "each device looked at once a minute");
    goal(cores <= CORES, "processor time");
    goal(most <= RESIDENT_KB, "resident memory");
    goal(writes.is_empty(), "no write in a steady minute");
    assert!(missed.is_empty(), "goals that were missed: {missed:?}");
}

fn row(what: &str, controller: &Controller) {
    let (now, most) = (controller.resident(), controller.most());
    println!("{what:<40} {now:>8} kB resident, {most:>8} kB at most until then");
}

/// Resident memory, in kB, once the controller has listed all pods.
async fn listed(gate: &Gate, controller: &Controller) -> u32 {
    gate.until("a watch of the pods", || async { gate.watches() > 0 }).await;
    sleep(SETTLED).await;
    controller.resident()
}

/// Adds these devices; gives the resident memory, in kB, once each has its verdict.
async fn locked(client: &Client, gate: &Gate, controller: &Controller, devices: Range<u32>) -> u32 {
    let expected = devices.end;
    let offset = PLAIN;
    load::create(client, offset + devices.start..offset + devices.end, true).await;
    gate.until("a verdict on each device", || async { load::locked(client).await == expected }).await;
    sleep(SETTLED).await;
    controller.resident()
}

/// From so many kB to so many.
fn bytes(before: u32, after: u32) -> f64 {
    f64::from(after.saturating_sub(before)) * 1_024.0
}
