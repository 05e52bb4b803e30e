//! What the product does while the control plane is away or refuses it: it says so, loses nothing, and goes on by itself.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    thread::sleep,
    time::{Duration, Instant},
};

use memlock_operator::domain::probe::ALLOWED;
use serde_json::{Value, json};

use crate::{
    chart::CHART,
    cluster::{
        Namespace, RELEASE, SYSTEM, condition, controller_log, create_locking, eventually, eventually_within, kubectl,
        label, leader, nbdkit, opted_in, page, run, running_id, succeed,
    },
    host,
};

const CLUSTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/cluster");
/// As long as the control plane of a cluster with one of each may be away for an upgrade.
const OUTAGE: Duration = Duration::from_mins(1);

/// How long scheduler and kubelet may need after it.
const OTHERS: Duration = Duration::from_mins(3);

/// A component that is stopped, and started again whatever comes.
struct Stopped(&'static str);

impl Stopped {
    fn new(component: &'static str) -> Self {
        succeed(CLUSTER, &["stop", component]);
        Self(component)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        run(CLUSTER, &["start", self.0]);
    }
}

/// Restarts of each of the product's pods, by component and uid.
fn restarts() -> BTreeMap<(String, String), u64> {
    let pods: Value = serde_json::from_str(&kubectl(&["-n", SYSTEM, "get", "pods", "-o", "json"])).unwrap();
    let of = |pod: &Value| {
        let component = pod["metadata"]["labels"]["app.kubernetes.io/component"].as_str().unwrap().to_owned();
        let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
        ((component, uid), pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap())
    };
    pods["items"].as_array().unwrap().iter().map(of).collect()
}

/// Admission and verification of a new pod, as soon as they come.
fn works_again(namespace: &Namespace, name: &str) {
    let start = Instant::now();
    eventually("an admission", || {
        let created = namespace.create(&nbdkit(name, &opted_in(), &["--swap"]));
        let said = String::from_utf8_lossy(&created.stderr).into_owned();
        if created.status.success() || said.contains("AlreadyExists") { Ok(()) } else { Err(said) }
    });
    let admitted = start.elapsed();
    // Scheduler and kubelet take their time to find the API server again.
    eventually_within(OTHERS, "a running container", || {
        let pod = namespace.get(name).ok_or("no such pod")?;
        running_id(&pod).map(drop).ok_or_else(|| pod["status"].to_string())
    });
    let running = start.elapsed();
    namespace.state(name, "locked");
    eprintln!("admitted after {admitted:.1?}, running after {running:.1?}, locked after {:.1?}", start.elapsed());
}

/// The value of a series, 0 where it is not there yet.
fn metric(text: &str, series: &str) -> f64 {
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok()).unwrap_or_default()
}

/// What the controllers said of this, by their present and their last run.
fn said(words: &str) -> usize {
    let before = run(
        "kubectl",
        &[
            "-n",
            SYSTEM,
            "logs",
            "-l",
            "app.kubernetes.io/component=controller",
            "--tail=-1",
            "--previous",
            "--ignore-errors",
        ],
    );
    let all = controller_log() + &String::from_utf8_lossy(&before.stdout);
    all.lines().filter(|line| line.contains(words)).count()
}

#[test]
fn the_api_server_is_away_for_a_minute() {
    let namespace = Namespace::new("outage");
    for name in ["stays", "restarts"] {
        create_locking(&namespace, name);
        namespace.state(name, "locked");
    }
    let of_restarts = running_id(&namespace.get("restarts").unwrap()).unwrap();
    let (before, holder) = (restarts(), leader());

    {
        let _stopped = Stopped::new("kube-apiserver");
        let start = Instant::now();
        // Its verdict is of a container that is gone by the time anybody can look again.
        run("kill", &["-KILL", &host::first_process(&of_restarts).to_string()]);
        // The length of the outage is what is tested.
        sleep(OUTAGE.saturating_sub(start.elapsed()));
    }
    works_again(&namespace, "new");
    assert_eq!(label(&namespace.get("stays").unwrap()), Some("locked"), "nothing was forgotten");
    eventually_within(OTHERS, "the verdict of the new container", || {
        let pod = namespace.get("restarts").unwrap();
        let id = running_id(&pod).ok_or("not running")?;
        let newer =
            id != of_restarts && pod["metadata"]["annotations"]["memlock.dev/status"].to_string().contains(&id[..8]);
        if newer && label(&pod) == Some("locked") { Ok(()) } else { Err(condition(&pod).to_string()) }
    });

    // Who led may not lead on without the lease: it ended, and the kubelet started it again. Nobody else did.
    let after = restarts();
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "the same pods");
    let more: Vec<_> = after.iter().filter(|(pod, count)| **count != before[pod]).collect();
    assert!(
        more.len() <= 1 && more.iter().all(|((part, _), _)| part == "controller"),
        "before {before:?}, after {after:?}"
    );
    assert!(more.iter().all(|(pod, count)| **count == before[pod] + 1), "before {before:?}, after {after:?}");
    assert!(said("the lease could not be renewed in time") >= 1, "{}", controller_log());
    assert!(said("the lease cannot be read; trying again") >= 1, "{}", controller_log());
    eprintln!("{holder} led before, {} leads now", leader());
}

#[test]
fn etcd_is_restarted() {
    let namespace = Namespace::new("etcd");
    create_locking(&namespace, "stays");
    namespace.state("stays", "locked");
    let before = restarts();
    let start = Instant::now();
    drop(Stopped::new("etcd"));
    eprintln!("etcd was away for {:.1?}", start.elapsed());
    works_again(&namespace, "new");
    assert_eq!(label(&namespace.get("stays").unwrap()), Some("locked"));
    assert_eq!(restarts(), before, "nothing of the product was started again");
}

/// A release whose policy knows other checks than its controller makes; the right one comes back whatever happens.
struct OtherChecks(PathBuf);

impl OtherChecks {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("memlock-e2e-other-checks-{}", std::process::id()));
        succeed("cp", &["-r", CHART, folder.to_str().unwrap()]);
        let argv: Vec<Vec<String>> = ALLOWED
            .iter()
            .map(|argv| [&argv[..], &["--of-another-release"]].concat().iter().map(|w| (*w).to_owned()).collect())
            .collect();
        fs::write(folder.join("files/exec-argv.json"), json!(argv).to_string()).unwrap();
        let other = Self(folder);
        upgrade(other.0.to_str().unwrap());
        other
    }
}

impl Drop for OtherChecks {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
        upgrade(CHART);
    }
}

fn upgrade(chart: &str) {
    let output =
        run("helm", &["upgrade", RELEASE, chart, "-n", SYSTEM, "--reuse-values", "--wait", "--timeout", "120s"]);
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_refused_check_is_unknown_and_says_why() {
    let namespace = Namespace::new("refused-check");
    create_locking(&namespace, "before");
    namespace.state("before", "locked");
    let before = restarts();
    let series = "memlock_checks_total{state=\"unknown\"}";
    let counted = metric(&page("metrics"), series);
    {
        let _other = OtherChecks::new();
        create_locking(&namespace, "during");
        for name in ["during", "before"] {
            let pod = namespace.state(name, "unknown");
            let message = condition(&pod)["message"].as_str().unwrap().to_owned();
            assert!(
                message.contains("the API server refused the command")
                    && message.contains("upgrade chart and image together"),
                "{message}"
            );
        }
        let now = metric(&page("metrics"), series);
        assert!(now >= counted + 2.0, "{series}: {counted} before, {now} now");
    }
    for name in ["during", "before"] {
        namespace.state(name, "locked");
    }
    assert_eq!(restarts(), before, "nothing of the product was started again");
}
