//! Each right is used: what the product asked for, by the API server's own record.

use std::{collections::BTreeSet, process::Output, time::Duration};

use serde_json::{Value, json};

use super::{CONTROLLER, RULES, full_name};
use crate::{
    audit,
    cluster::{Namespace, SYSTEM, apply, eventually, eventually_within, kubectl, label, minor, nbdkit, opted_in, run},
};

const LEASE: [&str; 4] = ["-n", SYSTEM, "lease", CONTROLLER];

/// The record, without what tests ask with the account's token by kubectl.
fn requests() -> Vec<Value> {
    let by_kubectl = |event: &Value| event["userAgent"].as_str().unwrap_or_default().starts_with("kubectl");
    audit::requests().into_iter().filter(|event| !by_kubectl(event)).collect()
}

/// `verb resource`.
fn right(event: &Value) -> String {
    let asked = &event["objectRef"];
    let [group, resource, part] =
        ["apiGroup", "resource", "subresource"].map(|field| asked[field].as_str().unwrap_or_default());
    let resource = if part.is_empty() { resource.to_owned() } else { format!("{resource}/{part}") };
    format!("{} {}", event["verb"].as_str().unwrap(), full_name(group, &resource))
}

/// What was asked for and answered so (`allow`, `forbid`).
fn decided(decision: &str) -> BTreeSet<String> {
    let so = |event: &&Value| event["annotations"]["authorization.k8s.io/decision"] == decision;
    requests().iter().filter(so).map(right).collect()
}

/// An Event that comes again: the verdict changes and changes back.
fn provoke_a_series(namespace: &Namespace) {
    let annotate = |value: &str| kubectl(&["-n", &namespace.0, "annotate", "pod", "locked", "--overwrite", value]);
    annotate("memlock.dev/process=nobody");
    eventually("a verdict that there is no such process", || {
        let pod = namespace.get("locked").unwrap();
        if label(&pod) == Some("locked") { Err(pod["metadata"]["labels"].to_string()) } else { Ok(()) }
    });
    annotate("memlock.dev/process-");
    namespace.state("locked", "locked");
}

/// A caBundle that somebody removed.
fn provoke_trust() {
    let field = "jsonpath={.webhooks[0].clientConfig.caBundle}";
    let bundle = || kubectl(&["get", "mutatingwebhookconfiguration", "memlock-operator", "-o", field]);
    let before = bundle();
    assert!(!before.is_empty(), "it was there");
    let remove = json!([{ "op": "remove", "path": "/webhooks/0/clientConfig/caBundle" }]).to_string();
    kubectl(&["patch", "mutatingwebhookconfiguration", "memlock-operator", "--type=json", "-p", &remove]);
    eventually("caBundle again", || if bundle() == before { Ok(()) } else { Err(bundle()) });
}

/// A Lease that somebody deleted: another one is made, and one of the controllers leads by it.
fn provoke_a_lease() {
    let uid = || {
        let found =
            run("kubectl", &[&["get", "-o", "jsonpath={.metadata.uid} {.spec.holderIdentity}"], &LEASE[..]].concat());
        String::from_utf8_lossy(&found.stdout).into_owned()
    };
    let before = uid();
    kubectl(&[&["delete"], &LEASE[..]].concat());
    eventually("a leader by a Lease of its own", || {
        let now = uid();
        let (is, holder) = now.split_once(' ').unwrap_or_default();
        if holder.is_empty() || before.starts_with(is) { Err(now) } else { Ok(()) }
    });
    // The one that led has ended and waits for its next start.
    let deployment = format!("deployment/{CONTROLLER}");
    kubectl(&["-n", SYSTEM, "rollout", "status", &deployment, "--timeout=120s"]);
}

/// An exec is a GET, for which newer API servers ask for `create` beside `get`: the record shows the first alone. So
/// somebody who has the first alone tries. Gives whether this API server asks for it.
fn is_create_asked_for(namespace: &Namespace) -> bool {
    let role = |verbs: &[&str]| {
        apply(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": { "name": "half", "namespace": namespace.0 },
            "rules": [
                { "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] },
                { "apiGroups": [""], "resources": ["pods/exec"], "verbs": verbs },
            ],
        }));
    };
    let who = format!("system:serviceaccount:{}:half", namespace.0);
    let exec = || -> String {
        let Output { stdout, stderr, .. } =
            run("kubectl", &["--as", &who, "-n", &namespace.0, "exec", "locked", "--", "cat", "/proc/1/comm"]);
        String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned()
    };
    role(&["get", "create"]);
    let account = format!("--serviceaccount={}:half", namespace.0);
    kubectl(&["-n", &namespace.0, "create", "rolebinding", "half", "--role=half", &account]);
    let through = |said: &str| said.lines().any(|line| line == "nbdkit");
    eventually("an exec with both rights", || if through(&exec()) { Ok(()) } else { Err(exec()) });
    role(&["get"]);
    // Since then the API server asks (AuthorizePodWebsocketUpgradeCreatePermission).
    if minor() < 35 {
        return false;
    }
    eventually("a refusal of an exec with one of them", || {
        let said = exec();
        if said.contains("cannot create resource \"pods/exec\"") { Ok(()) } else { Err(said) }
    });
    true
}

#[test]
fn every_right_is_used_and_none_is_missed() {
    let namespace = Namespace::new("rights-used");
    for (name, arguments) in [("locked", &["--swap"][..]), ("unlocked", &[])] {
        let created = namespace.create(&nbdkit(name, &opted_in(), arguments));
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        namespace.state(name, name);
    }
    provoke_a_series(&namespace);
    // A foreign hand in the spec of a device, which is undone.
    let lie = json!({ "spec": { "node": "elsewhere" } }).to_string();
    kubectl(&["-n", &namespace.0, "patch", "swapdevice", "locked.nbdkit", "--type=merge", "-p", &lie]);
    provoke_trust();
    // A device that goes because its pod opts out, not by the garbage collector.
    kubectl(&["-n", &namespace.0, "annotate", "pod", "unlocked", "memlock.dev/swap-device-"]);
    provoke_a_lease();

    let mut granted: BTreeSet<String> = RULES
        .iter()
        .flat_map(|(_, group, resource, verbs, _)| {
            verbs.iter().map(|verb| format!("{verb} {}", full_name(group, resource)))
        })
        .collect();
    let listed = granted.clone();
    // Asked for only where somebody else's write comes between the watch and ours, a matter of milliseconds. What is done
    // then is held by `ledger_tests`.
    assert!(granted.remove("get swapdevices.memlock.dev"));
    if is_create_asked_for(&namespace) {
        assert!(granted.remove("create pods/exec"));
    } else {
        eprintln!("create pods/exec: this API server does not ask for it");
        granted.remove("create pods/exec");
    }
    eventually_within(Duration::from_mins(2), "every right in the record of the API server", || {
        let used = decided("allow");
        let unused: Vec<_> = granted.difference(&used).collect();
        if unused.is_empty() { Ok(()) } else { Err(format!("{unused:?} unused; used: {used:?}")) }
    });
    // Other tests take granted rights away for a while.
    let missed: Vec<_> = decided("forbid").difference(&listed).cloned().collect();
    assert!(missed.is_empty(), "the product asked for what it may not have: {missed:?}");
}
