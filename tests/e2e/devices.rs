//! `kubectl get swapdevices`: what stands, who made it, and what happens when somebody else touches it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    availability::controller_pods,
    cluster::{
        Namespace, SYSTEM, apply, condition, controller_log, eventually, kubectl, kubectl_with, label, leading_pod,
        nbdkit, opted_in, page, page_of, run, running_id,
    },
    host,
};

/// How soon a pod that the webhook missed must be found.
const FOUND: Duration = Duration::from_secs(5);
const CONTROLLER: &str = "deployment/memlock-operator-controller";

fn create(namespace: &Namespace, name: &str, annotations: &Value, arguments: &[&str]) {
    let mut pod = nbdkit(name, annotations, arguments);
    pod["metadata"]["namespace"] = json!(namespace.0);
    apply(&pod);
}

fn device(namespace: &Namespace, name: &str) -> Option<Value> {
    let output = run("kubectl", &["-n", &namespace.0, "get", "swapdevice", name, "-o", "json", "--ignore-not-found"]);
    serde_json::from_slice(&output.stdout).ok()
}

/// Waits until the object says this, and gives it.
fn says(namespace: &Namespace, name: &str, state: &str) -> Value {
    eventually(&format!("{name} {state}"), || {
        let found = device(namespace, name).ok_or("no such SwapDevice")?;
        if found["status"]["state"] == json!(state) { Ok(found) } else { Err(found["status"].to_string()) }
    })
}

fn gone(namespace: &Namespace, name: &str) {
    eventually(&format!("{name} gone"), || match device(namespace, name) {
        None => Ok(()),
        Some(found) => Err(found.to_string()),
    });
}

fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap()
}

/// The versions of every pod and `SwapDevice` of the namespace: a write changes one.
fn versions(namespace: &Namespace) -> BTreeMap<String, String> {
    let all = kubectl(&["-n", &namespace.0, "get", "pods,swapdevices", "-o", "json"]);
    let all: Value = serde_json::from_str(&all).unwrap();
    let one = |object: &Value| {
        let metadata = &object["metadata"];
        (format!("{}/{}", object["kind"], metadata["name"]), metadata["resourceVersion"].as_str().unwrap().to_owned())
    };
    all["items"].as_array().unwrap().iter().map(one).collect()
}

fn checks(namespace: &str, pod: &str) -> usize {
    crate::cluster::log_lines(namespace, pod).iter().filter(|line| line["message"] == "checked").count()
}

fn restart_the_controller() {
    kubectl(&["-n", SYSTEM, "rollout", "restart", CONTROLLER]);
    kubectl(&["-n", SYSTEM, "rollout", "status", CONTROLLER, "--timeout=60s"]);
}

fn scale_the_controller(replicas: u32) {
    kubectl(&["-n", SYSTEM, "scale", CONTROLLER, &format!("--replicas={replicas}")]);
    let selector = ["-l", "app.kubernetes.io/component=controller", "-o", "name"];
    eventually("the controller's pods", || {
        let left = kubectl(&[&["-n", SYSTEM, "get", "pods"], &selector[..]].concat());
        if left.lines().count() == replicas as usize { Ok(()) } else { Err(left) }
    });
    kubectl(&["-n", SYSTEM, "rollout", "status", CONTROLLER, "--timeout=60s"]);
}

#[test]
fn each_chosen_container_has_a_row() {
    let namespace = Namespace::new("rows");
    let annotations = json!({ "memlock.dev/swap-device": "true", "memlock.dev/device": "/dev/nbd0", "memlock.dev/containers": "nbdkit,second" });
    let mut pod = nbdkit("device", &annotations, &["--swap"]);
    pod["metadata"]["namespace"] = json!(namespace.0);
    let mut second = pod["spec"]["containers"][0].clone();
    second["name"] = json!("second");
    second["args"] = json!(["-f", "-U", "/tmp/other.sock", "memory", "64M"]);
    pod["spec"]["containers"].as_array_mut().unwrap().push(second);
    apply(&pod);

    let locked = says(&namespace, "device.nbdkit", "Locked");
    says(&namespace, "device.second", "Unlocked");
    let pod = namespace.state("device", "unlocked");
    assert_eq!(
        locked["metadata"]["ownerReferences"],
        json!([{ "apiVersion": "v1", "kind": "Pod", "name": "device", "uid": uid(&pod), "controller": false }])
    );
    let content = json!({ "spec": locked["spec"], "status": locked["status"] }).to_string();
    assert!(content.len() <= 1_024, "{content}");
    let pid = host::first_process(
        pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap().rsplit("://").next().unwrap(),
    );
    assert_eq!(locked["status"]["locked"], json!(format!("{}Mi", host::kilobytes(pid, "VmLck") / 1024)));

    let table = kubectl(&["-n", &namespace.0, "get", "swapdev", "-o", "wide"]);
    eprintln!("{table}");
    let mut lines = table.lines();
    let heads: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    let expected =
        "NAME POD CONTAINER STATE LOCKED UNLOCKED SWAPPED REASON AGE NODE DEVICE DEVICE-USE NODE-SWAP MESSAGE";
    assert_eq!(heads.join(" "), expected);
    let row = lines.next().unwrap().split_whitespace().take(8).collect::<Vec<_>>().join(" ");
    assert_eq!(row, "device.nbdkit device nbdkit Locked 202Mi 0 0 Locked");
    kubectl(&["-n", &namespace.0, "wait", "--for=condition=Locked", "swapdevice/device.nbdkit", "--timeout=10s"]);
}

#[test]
fn a_restart_of_the_controller_writes_nothing_that_is_so() {
    let namespace = Namespace::new("relearn");
    create(&namespace, "locked", &opted_in(), &["--swap"]);
    create(&namespace, "unlocked", &opted_in(), &[]);
    says(&namespace, "locked.nbdkit", "Locked");
    says(&namespace, "unlocked.nbdkit", "Unlocked");
    // By then the kubelet has written what it has to write.
    for pod in ["locked", "unlocked"] {
        kubectl(&["-n", &namespace.0, "wait", "--for=condition=Ready", "pod", pod, "--timeout=60s"]);
        eventually("a further check", || match checks(&namespace.0, pod) {
            0..3 => Err(format!("fewer than 3 of {pod}")),
            _ => Ok(()),
        });
    }
    let before = versions(&namespace);
    restart_the_controller();
    for pod in ["locked", "unlocked"] {
        eventually("checks by the new controller", || match checks(&namespace.0, pod) {
            0..2 => Err(format!("fewer than 2 of {pod}")),
            _ => Ok(()),
        });
    }
    assert_eq!(versions(&namespace), before);
    eprintln!("a restart and two checks of each pod: {} objects, 0 writes", before.len());
}

#[test]
fn what_somebody_else_does_to_it_is_undone() {
    let namespace = Namespace::new("undone");
    create(&namespace, "device", &opted_in(), &["--swap"]);
    let first = says(&namespace, "device.nbdkit", "Locked");
    let since = Instant::now();
    kubectl(&["-n", &namespace.0, "delete", "swapdevice", "device.nbdkit", "--wait=false"]);
    let second = eventually("a new one", || {
        let found = device(&namespace, "device.nbdkit").ok_or("none yet")?;
        if uid(&found) == uid(&first) || found["status"].is_null() { Err(found.to_string()) } else { Ok(found) }
    });
    eprintln!("deleted by hand: back after {} ms", since.elapsed().as_millis());
    assert_eq!(second["status"]["state"], "Locked");

    let lie = json!({ "status": { "state": "Unlocked", "locked": "0" }, "spec": { "node": "elsewhere" } }).to_string();
    let since = Instant::now();
    for part in [&[][..], &["--subresource=status"]] {
        kubectl(
            &[&["-n", &namespace.0, "patch", "swapdevice", "device.nbdkit", "--type=merge", "-p", &lie], part].concat(),
        );
    }
    eventually("the truth again", || {
        let found = device(&namespace, "device.nbdkit").ok_or("gone")?;
        let same = ["spec", "status"].iter().all(|part| found[part] == second[part]);
        if same { Ok(()) } else { Err(found.to_string()) }
    });
    eprintln!("edited by hand: undone after {} ms", since.elapsed().as_millis());
}

#[test]
fn it_follows_its_pod() {
    let namespace = Namespace::new("follows");
    create(&namespace, "device", &opted_in(), &["--swap"]);
    says(&namespace, "device.nbdkit", "Locked");
    let old = uid(&namespace.get("device").unwrap()).to_owned();
    // As a StatefulSet does: the same name at once, another pod.
    kubectl(&["-n", &namespace.0, "delete", "pod", "device", "--wait"]);
    create(&namespace, "device", &opted_in(), &[]);
    let second = says(&namespace, "device.nbdkit", "Unlocked");
    let owner = second["metadata"]["ownerReferences"][0]["uid"].as_str().unwrap();
    assert_eq!(owner, uid(&namespace.get("device").unwrap()));
    assert_ne!(owner, old);

    kubectl(&["-n", &namespace.0, "annotate", "--overwrite", "pod", "device", "memlock.dev/swap-device=false"]);
    gone(&namespace, "device.nbdkit");
    kubectl(&["-n", &namespace.0, "annotate", "--overwrite", "pod", "device", "memlock.dev/swap-device=true"]);
    says(&namespace, "device.nbdkit", "Unlocked");

    // While no controller runs: the garbage collector needs none.
    scale_the_controller(0);
    kubectl(&["-n", &namespace.0, "delete", "pod", "device", "--wait"]);
    gone(&namespace, "device.nbdkit");
    scale_the_controller(1);
}

#[test]
fn a_pod_that_is_made_anew_while_it_is_looked_into_is_told_nothing_of_the_old_one() {
    let namespace = Namespace::new("anew");
    let pod = nbdkit("", &opted_in(), &["--swap"]);
    let labels = json!({ "app": "set" });
    let output = namespace.create(&json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "set" },
        "spec": { "serviceName": "set", "selector": { "matchLabels": labels }, "updateStrategy": { "type": "OnDelete" },
                  "template": { "metadata": { "annotations": opted_in(), "labels": labels }, "spec": pod["spec"] } },
    }));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let old = namespace.state("set-0", "locked");
    let id = running_id(&old).unwrap();
    // The next one does not lock.
    let arguments = nbdkit("", &json!({}), &[])["spec"]["containers"][0]["args"].clone();
    let patch = json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/args", "value": arguments }]);
    kubectl(&["-n", &namespace.0, "patch", "statefulset", "set", "--type=json", "-p", &patch.to_string()]);

    let processes = || host::processes(&id).len() + host::with_argument(&id).len();
    let before = processes();
    let frozen = host::Frozen::new(&id);
    eventually("an exec that hangs", || if processes() > before { Ok(()) } else { Err("none yet".to_owned()) });
    kubectl(&["-n", &namespace.0, "delete", "pod", "set-0", "--force", "--grace-period=0"]);
    eventually("another pod of the name", || match namespace.get("set-0") {
        Some(pod) if uid(&pod) != uid(&old) => Ok(()),
        _ => Err("not yet".to_owned()),
    });
    // Now the exec ends, and says that the old one is locked.
    drop(frozen);
    let new = namespace.state("set-0", "unlocked");
    assert_ne!(uid(&new), uid(&old));
    let device = says(&namespace, "set-0.nbdkit", "Unlocked");
    assert_eq!(device["metadata"]["ownerReferences"][0]["uid"].as_str(), Some(uid(&new)));
    let decisions = crate::cluster::log_lines(&namespace.0, "set-0").into_iter().filter(|line| line["level"] == "INFO");
    let states: Vec<_> = decisions.map(|line| line["state"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(states, ["pending", "locked", "pending", "unlocked"]);
}

#[test]
fn a_pod_that_ran_before_is_found_and_told_that_the_webhook_missed_it() {
    let namespace = Namespace::new("missed");
    create(&namespace, "running", &json!({}), &[]);
    create(&namespace, "crashing", &json!({}), &["--swap"]);
    eventually("both started", || {
        let started = |pod: &str| {
            namespace.get(pod).is_some_and(|p| {
                let status = &p["status"]["containerStatuses"][0];
                !status["lastState"]["terminated"].is_null() || !status["state"]["running"].is_null()
            })
        };
        if started("running") && started("crashing") { Ok(()) } else { Err("not yet") }.map_err(str::to_owned)
    });
    // As after an installation: the annotation is there, and the webhook never saw the pod.
    let since = Instant::now();
    kubectl(&["-n", &namespace.0, "annotate", "pods", "--all", "memlock.dev/swap-device=true"]);
    let running = namespace.state("running", "unlocked");
    eprintln!("a pod that ran before: found after {} ms", since.elapsed().as_millis());
    assert!(since.elapsed() < FOUND, "{:?}", since.elapsed());
    let said = condition(&running);
    assert_eq!(said["reason"], "NotLocked", "what is seen goes before what was missed");
    assert!(said["message"].as_str().unwrap().contains("the webhook has not changed this pod"), "{said}");

    // It dies for want of the capability, so that there is nothing to check.
    let said = condition(&namespace.state("crashing", "not-injected"));
    assert_eq!((&said["status"], &said["reason"]), (&json!("Unknown"), &json!("NotInjected")));
    says(&namespace, "crashing.nbdkit", "NotInjected");
}

#[test]
fn a_static_pod_is_found_and_told_what_to_do() {
    let namespace = Namespace::new("static");
    let mut pod = nbdkit("static", &opted_in(), &[]);
    pod["metadata"]["namespace"] = json!(namespace.0);
    let state = std::env::var("MEMLOCK_CLUSTER_STATE").unwrap_or_else(|_| "/var/lib/memlock-cluster".to_owned());
    let manifest = host::File::create(&format!("{state}/static/memlock-e2e.yaml"), &pod.to_string());
    let running = eventually("the mirror pod runs", || {
        let pod = namespace.get("static-node-1").ok_or("no mirror pod")?;
        if crate::cluster::running_id(&pod).is_some() { Ok(Instant::now()) } else { Err(pod["status"].to_string()) }
    });
    let said = condition(&namespace.state("static-node-1", "unlocked"));
    eprintln!("a static pod: found {} ms after it was seen running", running.elapsed().as_millis());
    assert!(running.elapsed() < FOUND, "{:?}", running.elapsed());
    assert!(said["message"].as_str().unwrap().contains("no webhook can change a static pod"), "{said}");
    says(&namespace, "static-node-1.nbdkit", "Unlocked");
    drop(manifest);
    eventually("the mirror pod gone", || {
        namespace.get("static-node-1").map_or(Ok(()), |pod| Err(label(&pod).map(str::to_owned).unwrap_or_default()))
    });
}

#[test]
fn a_finished_pod_is_told_once() {
    let namespace = Namespace::new("finished");
    let mut pod = nbdkit("job", &opted_in(), &["--run", "sleep 1"]);
    pod["metadata"]["namespace"] = json!(namespace.0);
    pod["spec"]["restartPolicy"] = json!("Never");
    apply(&pod);
    let said = eventually("the end", || {
        let said = condition(&namespace.get("job").unwrap());
        if said["reason"] == "Terminated" { Ok(said) } else { Err(said.to_string()) }
    });
    assert_eq!(said["status"], "Unknown");
    says(&namespace, "job.nbdkit", "Unknown");
    let before = versions(&namespace);
    // Another pod that is checked meanwhile tells that time has passed.
    create(&namespace, "other", &opted_in(), &["--swap"]);
    eventually("checks of another pod", || if checks(&namespace.0, "other") < 2 { Err(String::new()) } else { Ok(()) });
    let after = versions(&namespace);
    assert!(before.iter().all(|(name, version)| after.get(name) == Some(version)), "{before:?} {after:?}");
}

#[test]
fn a_namespace_that_goes_is_left_in_peace() {
    let name = {
        let namespace = Namespace::new("leaving");
        for pod in ["a", "b", "c"] {
            create(&namespace, pod, &opted_in(), &["--swap"]);
        }
        says(&namespace, "c.nbdkit", "Locked");
        kubectl(&["delete", "namespace", &namespace.0, "--wait", "--timeout=60s"]);
        namespace.0.clone()
    };
    let log = controller_log();
    let complaints: Vec<&str> = log.lines().filter(|line| line.contains(&name) && line.contains("\"WARN\"")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}

#[test]
fn without_the_definition_the_pods_are_told_all_the_same() {
    let namespace = Namespace::new("undefined");
    let definition = kubectl(&["get", "crd", "swapdevices.memlock.dev", "-o", "json"]);
    kubectl(&["delete", "crd", "swapdevices.memlock.dev", "--wait"]);
    create(&namespace, "device", &opted_in(), &["--swap"]);
    namespace.state("device", "locked");
    let complaints = || {
        controller_log()
            .lines()
            .filter(|line| line.contains("\"WARN\"") && line.contains("swapdevices.memlock.dev"))
            .count()
    };
    eprintln!("without the definition: the pod is locked, {} complaint(s)", complaints());
    let mut definition: Value = serde_json::from_str(&definition).unwrap();
    for field in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"] {
        definition["metadata"].as_object_mut().unwrap().remove(field);
    }
    definition.as_object_mut().unwrap().remove("status");
    let back = Instant::now();
    let output = kubectl_with(&["create", "-f", "-"], &definition);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    says(&namespace, "device.nbdkit", "Locked");
    eprintln!("with it again: written after {} ms", back.elapsed().as_millis());
    assert!(complaints() <= 3, "each kind of failure is said once: {}", controller_log());
}

#[test]
fn who_asks_is_told_what_the_checks_do() {
    let namespace = Namespace::new("debug");
    create(&namespace, "device", &opted_in(), &["--swap"]);
    says(&namespace, "device.nbdkit", "Locked");
    let row = eventually("two checks", || {
        let state: Value = serde_json::from_str(&page("debug/state")).unwrap();
        let rows = state["devices"].as_array().cloned().unwrap_or_default();
        let row = rows.into_iter().find(|row| row["namespace"] == json!(namespace.0)).ok_or("not there")?;
        if row["checks"].as_u64() >= Some(2) { Ok(row) } else { Err(row.to_string()) }
    });
    assert_eq!((&row["pod"], &row["container"], &row["state"]), (&json!("device"), &json!("nbdkit"), &json!("locked")));
    assert!(row["lastCheck"].is_string() && row["nextCheck"].is_string() && row["lastError"].is_null(), "{row}");
    eprintln!("{row}");
    let metrics = page("metrics");
    for object in ["pod", "swapdevice", "event"] {
        let series = format!("memlock_writes_total{{object=\"{object}\",outcome=\"done\"}}");
        assert!(metrics.contains(&series), "no {series}: {metrics}");
    }
}

#[test]
fn a_controller_that_waits_says_that_it_does_not_lead() {
    let said = eventually("the other controller", || {
        let leads = leading_pod();
        let other = controller_pods().into_iter().find(|pod| *pod != leads).ok_or("there is no other")?;
        let output = run("kubectl", &["get", "--raw", &page_of(&other, "debug/state")]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if said.contains("does not lead") { Ok(said) } else { Err(said) }
    });
    eprintln!("{said}");
}
