//! Many devices of every kind on one kubelet: how soon each verdict stands on the pod, and whether it is true, at every
//! moment.
//!
//! `MEMLOCK_FULL=1`: 60 pods and five restarts of each; else 12 and two.

pub mod observer;

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use self::observer::{Kinds, Observer, Seen};
use crate::{
    cluster::{
        Namespace, apply, eventually, eventually_within, full, label, log_lines, opted_in, reported, run, running_id,
    },
    host,
    states::{Truth, says},
};

/// Of the installation that the tests run on (`tests/e2e/run`).
const INTERVAL: Duration = Duration::from_secs(10);
/// The goal, which a machine of its own holds (`MEMLOCK_FULL=1`).
const GOAL: Duration = Duration::from_secs(2);
/// The same on two cores that compile at the same time, where 0.8 s were seen.
const LATEST: Duration = Duration::from_secs(4);
/// Longer than the kubelet waits with the fifth restart.
const BACK_OFF: Duration = Duration::from_mins(5);
/// Between two restarts: a node whose every container dies in one moment is another test than this.
const PACE: Duration = Duration::from_millis(250);
const CONTAINER: &str = "daemon";

/// Each kind of device: its name, and what differs from a daemon that runs the state of this name.
fn kinds() -> Vec<(&'static str, &'static str, Value)> {
    let as_user = |command: Value| json!({ "securityContext": { "runAsUser": 1000 }, "command": command });
    vec![
        ("locked", "all", json!({})),
        ("partial", "current_then_map", json!({})),
        ("unlocked", "none", json!({})),
        ("user", "none", as_user(Value::Null)),
        ("user-by-launcher", "all", as_user(json!(["/states"]))),
        ("no-programs", "all", json!({ "env": [{ "name": "PATH", "value": "/nowhere" }] })),
        ("child-unlocked", "forked", json!({})),
        ("child-locked", "forked_both", json!({})),
        ("many-threads", "onfault_then_threads", json!({})),
        ("crashing", "crashing", json!({})),
    ]
}

/// A device with a daemon in this state.
pub fn device(namespace: &Namespace, name: &str, state: &str, change: &Value) -> Value {
    let mut container =
        json!({ "name": CONTAINER, "image": "localhost/states:1", "imagePullPolicy": "IfNotPresent", "args": [state] });
    json_patch::merge(&mut container, change);
    let mut annotations = opted_in();
    // What cannot lock runs all the same, and is told.
    annotations["memlock.dev/required"] = json!("false");
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": namespace.0, "annotations": annotations },
        "spec": { "terminationGracePeriodSeconds": 0, "containers": [container] },
    })
}

/// Waits until each pod says of its running container what is true of it; gives the containers.
fn all_true(
    observer: &Observer,
    pods: &BTreeMap<String, bool>,
    before: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut ids = BTreeMap::new();
    for (name, crashes) in pods {
        eventually_within(BACK_OFF, &format!("the truth of {name}"), || {
            let pod = observer.pod(name).ok_or("not seen yet")?;
            let Some(id) = running_id(&pod) else {
                // Between two lives there is nothing to be true of.
                return if *crashes && label(&pod) == Some("pending") {
                    Ok(())
                } else {
                    Err(format!("not running: {:?}", label(&pod)))
                };
            };
            let fresh = reported(&pod, CONTAINER)["id"].as_str().is_some_and(|start| id.starts_with(start));
            if before.get(name) == Some(&id) || !fresh {
                return Err(format!("{:?}, not of {id}", label(&pod)));
            }
            let truth = Truth::of(&id);
            if label(&pod) != Some(truth.state().label()) {
                return Err(format!("{:?} of {id}: {truth:?}", label(&pod)));
            }
            ids.insert(name.clone(), id);
            Ok(())
        });
    }
    ids
}

/// In order, by nearest rank.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent).div_ceil(100).saturating_sub(1)]
}

#[test]
fn every_verdict_of_many_is_true_and_soon() {
    let namespace = Namespace::new("fleet");
    let (count, rounds, bound) = if full() { (60, 5, GOAL) } else { (12, 2, LATEST) };
    let kinds_of_note = Kinds { never_locked: &["unlocked", "user"], killed: &["crashing"], times: rounds };
    let observer = Observer::of(&namespace, kinds_of_note);
    let mut pods = BTreeMap::new();
    let mut items = Vec::new();
    for (n, (kind, state, change)) in kinds().iter().cycle().take(count).enumerate() {
        let name = format!("{kind}-{n}");
        items.push(device(&namespace, &name, state, change));
        pods.insert(name, *kind == "crashing");
    }
    apply(&json!({ "apiVersion": "v1", "kind": "List", "items": items }));
    let mut ids = all_true(&observer, &pods, &BTreeMap::new());
    let first = observer.containers();
    let at_once = show(&format!("{count} pods started at once"), &first);
    let stable: BTreeMap<String, bool> = pods.iter().map(|(n, c)| (n.clone(), *c)).filter(|(_, c)| !c).collect();
    for _ in 0..rounds {
        for name in stable.keys() {
            run("kill", &["-KILL", &host::first_process(&ids[name]).to_string()]);
            std::thread::sleep(PACE);
        }
        ids = all_true(&observer, &stable, &ids);
    }
    for name in pods.iter().filter_map(|(name, crashes)| crashes.then_some(name)) {
        eventually_within(2 * BACK_OFF, &format!("{name} killed {rounds} times"), || match observer.kills(name) {
            kills if kills == rounds => Ok(()),
            kills => Err(format!("{kills} times so far")),
        });
    }
    all_true(&observer, &pods, &BTreeMap::new());

    let all = observer.containers();
    let later =
        all.iter().filter(|(id, _)| !first.contains_key(*id)).map(|(id, seen)| (id.clone(), seen.clone())).collect();
    show(&format!("{rounds} restarts of each, one every {} ms", PACE.as_millis()), &later);
    let overall = show("all of them", &all);
    let told = later.values().filter(|seen| stable.contains_key(&seen.pod) && seen.told.is_some()).count();
    assert!(told >= stable.len() * rounds, "{told} of {}", later.len());
    // Of so few that start in one moment the 99th percentile is the very last, on a node that has no processor left.
    assert!(overall < bound && at_once < LATEST, "{overall:?} and {at_once:?}");
}

/// Prints how long the verdicts took; the 99th percentile.
fn show(what: &str, containers: &HashMap<String, Seen>) -> Duration {
    let sorted = |wait: fn(&Seen) -> Option<Duration>| {
        let mut waits: Vec<Duration> = containers.values().filter_map(wait).collect();
        waits.sort_unstable();
        waits
    };
    let waits = sorted(|c| Some(c.told? - c.running));
    let lives = sorted(|c| Some(c.told? - c.running + c.age));
    let of = |sorted: &[Duration], percent| percentile(sorted, percent).as_millis();
    eprintln!(
        "{what}, {} verdicts: from running in the API p50 {} ms, p99 {} ms; from the start of the process p50 {} ms, p99 {} ms",
        waits.len(),
        of(&waits, 50),
        of(&waits, 99),
        of(&lives, 50),
        of(&lives, 99),
    );
    percentile(&waits, 99)
}

#[test]
fn a_daemon_that_unlocks_itself_is_flagged_within_an_interval() {
    let namespace = Namespace::new("unlocking");
    apply(&device(&namespace, "device", "unlocking", &json!({})));
    let pod = namespace.state("device", "locked");
    let id = running_id(&pod).unwrap();
    // Past the short pauses after its start.
    eventually("four checks", || {
        let checks = log_lines(&namespace.0, "device").iter().filter(|line| line["message"] == "checked").count();
        if checks >= 4 { Ok(()) } else { Err(format!("{checks} checks")) }
    });
    run("kill", &["-USR1", &host::first_process(&id).to_string()]);
    let since = Instant::now();
    says(&namespace, "device", "ready");
    let pod = namespace.state("device", "unlocked");
    let took = since.elapsed();
    assert_eq!(running_id(&pod).as_ref(), Some(&id), "the same container");
    eprintln!(
        "it unlocked itself, and was flagged {:.1} s later; the interval is {} s",
        took.as_secs_f64(),
        INTERVAL.as_secs()
    );
    assert!(took < INTERVAL, "{took:?}");
}
