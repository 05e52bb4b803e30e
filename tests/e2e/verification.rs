//! Watch → exec → verdict → pod status.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use memlock_operator::platform::client::{CALL_DEADLINE, connect, within};
use serde_json::{Value, json};

use crate::{
    cluster::{
        Namespace, apply, condition, eventually, kubectl, label, log_lines, nbdkit, opted_in, page, reported, run,
        running_id,
    },
    host,
};

/// How soon after a restart the label must follow.
const FOLLOW: Duration = Duration::from_secs(5);

fn create(namespace: &Namespace, name: &str, annotations: &Value, arguments: &[&str]) {
    let mut pod = nbdkit(name, annotations, arguments);
    pod["metadata"]["namespace"] = json!(namespace.0);
    apply(&pod);
}

#[test]
fn what_is_reported_is_what_the_kernel_says() {
    let namespace = Namespace::new("truth");
    create(&namespace, "locked", &opted_in(), &["--swap"]);
    create(&namespace, "unlocked", &opted_in(), &[]);
    create(&namespace, "plain", &json!({}), &["--swap"]);

    for (name, status, reason) in [("locked", "True", "Locked"), ("unlocked", "False", "NotLocked")] {
        let pod = namespace.state(name, name);
        let found = condition(&pod);
        assert_eq!((&found["status"], &found["reason"]), (&json!(status), &json!(reason)));
        let pid = host::first_process(&running_id(&pod).unwrap());
        let truth = host::kilobytes(pid, "VmLck");
        assert_eq!(reported(&pod, "nbdkit")["lockedKiB"], json!(truth), "{name}");
        eprintln!("{name}: reported {} kB, /proc/{pid}/status VmLck {truth} kB", reported(&pod, "nbdkit")["lockedKiB"]);
    }
    // The same daemon without the annotation: dies for want of the capability, and is left alone.
    let log = eventually("the plain daemon's complaint", || {
        let log = String::from_utf8_lossy(&run("kubectl", &["-n", &namespace.0, "logs", "plain"]).stdout).into_owned();
        if log.contains("mlockall: Cannot allocate memory") { Ok(log) } else { Err(log) }
    });
    let plain = namespace.get("plain").unwrap();
    assert!(label(&plain).is_none() && condition(&plain).is_null() && reported(&plain, "nbdkit").is_null());
    eprintln!("plain: {}", log.trim());
}

#[test]
fn a_restart_is_followed() {
    let namespace = Namespace::new("restart");
    create(&namespace, "device", &opted_in(), &["--swap"]);
    let mut before = running_id(&namespace.state("device", "locked")).unwrap();
    for round in 1..=2 {
        run("kill", &["-KILL", &host::first_process(&before).to_string()]);
        let (now, since) = eventually("a new container", || {
            let pod = namespace.get("device").unwrap();
            match running_id(&pod) {
                Some(id) if id != before => Ok((id, Instant::now())),
                other => Err(format!("{other:?}")),
            }
        });
        eventually("the label", || {
            let pod = namespace.get("device").unwrap();
            let said = reported(&pod, "nbdkit");
            let fresh = said["id"].as_str().is_some_and(|id| now.starts_with(id));
            if fresh && label(&pod) == Some("locked") { Ok(()) } else { Err(format!("{:?} {said}", label(&pod))) }
        });
        let took = since.elapsed();
        eprintln!(
            "restart {round}: the label followed {} ms after the new container was seen running",
            took.as_millis()
        );
        assert!(took < FOLLOW, "{took:?}");
        before = now;
    }
}

#[test]
fn each_decision_is_logged_once_and_a_deleted_pod_leaves_nothing() {
    let namespace = Namespace::new("once");
    create(&namespace, "device", &opted_in(), &["--swap"]);
    namespace.state("device", "locked");
    // Further checks happen (debug lines), and add no decision.
    eventually("three checks", || {
        let checks = log_lines(&namespace.0, "device").iter().filter(|line| line["message"] == "checked").count();
        if checks >= 3 {
            Ok(())
        } else {
            Err(format!("{checks} checks; is the log level info,memlock_operator=debug?"))
        }
    });
    let decisions =
        || log_lines(&namespace.0, "device").into_iter().filter(|line| line["level"] == "INFO").collect::<Vec<_>>();
    let states: Vec<_> = decisions().iter().map(|line| line["state"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(states, ["pending", "locked"]);

    kubectl(&["-n", &namespace.0, "delete", "pod", "device", "--wait"]);
    create(&namespace, "device", &opted_in(), &[]);
    let second = namespace.state("device", "unlocked");
    assert_eq!(reported(&second, "nbdkit")["lockedKiB"], 0);
    let complaints: Vec<_> =
        log_lines(&namespace.0, "device").into_iter().filter(|line| line["level"] == "WARN").collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}

/// What the real API server answers, by which a write is moot or not.
#[test]
fn a_write_to_another_pod_of_the_name_is_moot_and_one_that_comes_too_late_is_not() {
    let namespace = Namespace::new("moot");
    create(&namespace, "device", &json!({}), &[]);
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let refused = |metadata: Value| {
        let patch = Patch::Strategic(json!({ "metadata": metadata }));
        let written = runtime.block_on(async {
            let pods: Api<Pod> = Api::namespaced(connect().await.unwrap(), &namespace.0);
            within(CALL_DEADLINE, pods.patch_status("device", &PatchParams::default(), &patch)).await
        });
        let error = written.unwrap_err();
        eprintln!("{metadata}: {error}");
        (error.is_moot(), error.is_conflict())
    };
    assert_eq!(refused(json!({ "uid": "00000000-0000-0000-0000-000000000000" })), (true, false));
    assert_eq!(refused(json!({ "resourceVersion": "1" })), (false, true));
}

/// A daemon in whose container no program is found by its name.
fn without_programs(namespace: &Namespace, name: &str, agent: &str) {
    let annotations = json!({ "memlock.dev/swap-device": "true", "memlock.dev/agent": agent });
    let mut pod = nbdkit(name, &annotations, &["--swap"]);
    pod["metadata"]["namespace"] = json!(namespace.0);
    pod["spec"]["containers"][0]["env"] = json!([{ "name": "PATH", "value": "/nowhere" }]);
    pod["spec"]["containers"][0]["command"] = json!(["/usr/bin/nbdkit"]);
    apply(&pod);
}

#[test]
fn what_cannot_be_checked_is_unknown() {
    let namespace = Namespace::new("unknown");
    without_programs(&namespace, "no-cat", "false");
    let found = condition(&namespace.state("no-cat", "unknown"));
    assert_eq!((&found["status"], &found["reason"]), (&json!("Unknown"), &json!("CannotCheck")));
    assert!(found["message"].as_str().unwrap().contains("add the program cat to the image"), "{found}");
}

#[test]
fn an_image_without_programs_is_checked_by_the_agent() {
    let namespace = Namespace::new("distroless");
    without_programs(&namespace, "agent", "true");
    namespace.state("agent", "locked");
}

#[test]
fn opting_out_takes_our_marks_off() {
    let namespace = Namespace::new("optout");
    create(&namespace, "device", &opted_in(), &["--swap"]);
    namespace.state("device", "locked");
    kubectl(&["-n", &namespace.0, "annotate", "--overwrite", "pod", "device", "memlock.dev/swap-device=false"]);
    eventually("clean", || {
        let pod = namespace.get("device").unwrap();
        let clean = label(&pod).is_none() && condition(&pod).is_null() && reported(&pod, "nbdkit").is_null();
        if clean { Ok(()) } else { Err(condition(&pod).to_string()) }
    });
}

#[test]
fn kubectl_can_wait_and_tell() {
    let namespace = Namespace::new("kubectl");
    create(&namespace, "device", &opted_in(), &["--swap"]);
    kubectl(&["-n", &namespace.0, "wait", "--for=condition=memlock.dev/Locked", "pod/device", "--timeout=60s"]);
    // The Event follows the status by one call.
    eventually("the Event", || {
        let told = kubectl(&["-n", &namespace.0, "events", "--for", "pod/device"]);
        if told.lines().any(|line| line.contains(" Locked ") && line.contains("has locked all of its")) {
            Ok(())
        } else {
            Err(told)
        }
    });
}

#[test]
fn metrics_tell_what_stands_on_the_pods() {
    let namespace = Namespace::new("metrics");
    create(&namespace, "device", &opted_in(), &["--swap"]);
    namespace.state("device", "locked");
    eventually("the metrics", || {
        let text = page("metrics");
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        let locked = value("memlock_swap_devices{state=\"locked\"}").unwrap_or_default();
        let waits = value("memlock_time_to_verdict_seconds_count").unwrap_or_default();
        let (sum, checks) =
            (value("memlock_time_to_verdict_seconds_sum"), value("memlock_check_duration_seconds_count"));
        if locked < 1.0 || waits < 1.0 || checks.unwrap_or_default() < 1.0 {
            return Err(text);
        }
        eprintln!("mean time to verdict over {waits} containers: {:.3} s", sum.unwrap_or_default() / waits);
        Ok(())
    });
}
