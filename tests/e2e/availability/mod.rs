//! No admission fails, no certificate is served that is not trusted, and never do two lead, whatever is done to the
//! product meanwhile.
//!
//! `MEMLOCK_ROTATIONS`: how many certificates are replaced; 1 by default, 20 in `make bench`.

mod load;
mod record;
mod trust;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use memlock_operator::platform::client::connect;
use serde_json::Value;

use crate::{
    chart::CHART,
    cluster::{Namespace, RELEASE, SYSTEM, eventually, kubectl, leader, nbdkit, opted_in, run, running_id, succeed},
    host,
};

const WEBHOOK: &str = "deployment/memlock-operator-webhook";
const CONTROLLER: &str = "deployment/memlock-operator-controller";
const WEBHOOK_PODS: &str = "app.kubernetes.io/component=webhook";

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

fn names(selector: &str) -> Vec<String> {
    let found = kubectl(&["-n", SYSTEM, "get", "pods", "-l", selector, "-o", "jsonpath={.items[*].metadata.name}"]);
    found.split_whitespace().map(str::to_owned).collect()
}

/// Process of the leader, as the machine numbers it, and its identity.
fn leading_process() -> (String, String) {
    let holder = leader();
    let pod = holder.rsplit_once('_').unwrap().0;
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

fn secret(key: &str) -> String {
    let field = format!("jsonpath={{.data.{key}}}");
    kubectl(&["-n", SYSTEM, "get", "secret", "memlock-operator-tls", "-o", &field])
}

/// Waits for new leaves. The kubelet looks after a pod's mounts about once a minute, or when the pod changes: here it
/// changes, so that certificates may live short. Gives how many leaves and authorities there were.
fn rotate(count: usize) -> (usize, usize) {
    let (mut leaf, mut authority) = (secret("tls\\.crt"), secret("ca\\.key"));
    let (mut leaves, mut authorities) = (0, 0);
    let start = Instant::now();
    while leaves < count {
        assert!(start.elapsed() < Duration::from_mins(2) * u32::try_from(count).unwrap(), "{leaves} rotations");
        let mark = format!("e2e/tick={}", start.elapsed().as_millis());
        run("kubectl", &["-n", SYSTEM, "annotate", "pods", "-l", WEBHOOK_PODS, "--overwrite", &mark]);
        sleep(Duration::from_secs(1));
        let now = (secret("tls\\.crt"), secret("ca\\.key"));
        leaves += usize::from(now.0 != leaf);
        authorities += usize::from(now.1 != authority);
        (leaf, authority) = now;
    }
    (leaves, authorities)
}

fn disturb() {
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
    let rotations = std::env::var("MEMLOCK_ROTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    step("helm upgrade to certificates of 75 s", &mut || {
        upgrade(&["certificates.life=75s", "certificates.authorityLife=225s", "webhook.podLabels.round=two"]);
    });
    step("certificates replaced", &mut || {
        let (leaves, authorities) = rotate(rotations);
        eprintln!("{leaves} leaves and {authorities} authorities beside the first of each");
    });
    step("helm upgrade to certificates of 90 days", &mut || {
        upgrade(&["certificates.life=2160h", "certificates.authorityLife=8760h", "webhook.podLabels=null"]);
        rolled_out(CONTROLLER);
    });
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
}

#[test]
fn nothing_fails_whatever_is_done_to_the_product() {
    let namespace = Namespace::new("availability");
    // Pods to check, so that a leader has something to write.
    for name in ["locked-1", "locked-2", "locked-3"] {
        assert!(namespace.create(&nbdkit(name, &opted_in(), &["--swap"])).status.success());
    }
    for name in ["locked-1", "locked-2", "locked-3"] {
        namespace.state(name, "locked");
    }
    let since = jiff::Timestamp::now().to_string();
    let stop: Arc<AtomicBool> = Arc::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = runtime.block_on(connect()).unwrap();
    let pod: Value = nbdkit("load", &opted_in(), &["--swap"]);
    let load = runtime.spawn(load::admit(client.clone(), namespace.0.clone(), pod, stop.clone()));
    let trust = runtime.spawn(trust::watch(client, stop.clone()));

    disturb();
    // Without it the last handshakes might be before the last change.
    sleep(Duration::from_secs(2));
    stop.store(true, Ordering::Relaxed);
    let (outcomes, lasted) = runtime.block_on(load).unwrap();
    let seen = runtime.block_on(trust).unwrap();

    let mut times = outcomes.admitted;
    times.sort();
    let rate = f64::from(u32::try_from(times.len()).unwrap()) / lasted.as_secs_f64();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    eprintln!(
        "{} admissions in {:.0} s ({rate:.1}/s), {} failed; median {:?}, p99 {:?}, longest {:?}",
        times.len(),
        lasted.as_secs_f64(),
        outcomes.failed.len(),
        at(50),
        at(99),
        at(100),
    );
    eprintln!(
        "{} handshakes trusted, {} wrong, {} pods went away meanwhile",
        seen.trusted,
        seen.wrong.len(),
        seen.unreachable
    );
    assert!(outcomes.failed.is_empty(), "{:?}", &outcomes.failed[..outcomes.failed.len().min(20)]);
    assert!(rate >= 20.0, "too few to tell");
    assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
    assert!(seen.trusted > 50, "too few handshakes to tell");

    let record = record::read(&since);
    eprintln!(
        "{} writes of {} leaders in turn, {} by another",
        record.writes,
        record.leaders.len(),
        record.strange.len()
    );
    assert!(record.strange.is_empty(), "{:?}", record.strange);
    assert!(record.writes > 20 && record.leaders.len() > 3, "too little to tell: {record:?}");
}
