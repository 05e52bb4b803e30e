//! The annotation on the workload instead of its pod template.

use serde_json::{Value, json};

use super::{dry_run, said};
use crate::cluster::{Namespace, nbdkit, opted_in, run};

#[test]
fn an_annotation_on_the_workload_itself_is_warned_of() {
    let namespace = Namespace::new("policy-misplaced");
    let template = |restart: &str| {
        let mut pod = nbdkit("", &json!({}), &[]);
        pod["spec"]["restartPolicy"] = json!(restart);
        json!({ "metadata": { "labels": { "app": "device" } }, "spec": pod["spec"] })
    };
    let selected = |extra: Value| {
        let mut spec = json!({ "selector": { "matchLabels": { "app": "device" } }, "template": template("Always") });
        json_patch::merge(&mut spec, &extra);
        spec
    };
    let job = json!({ "suspend": true, "template": template("Never") });
    let simple = json!({ "replicas": 0, "selector": { "app": "device" }, "template": template("Always") });
    let workloads = [
        ("apps/v1", "Deployment", selected(json!({ "replicas": 0 }))),
        ("apps/v1", "StatefulSet", selected(json!({ "replicas": 0, "serviceName": "device" }))),
        ("apps/v1", "ReplicaSet", selected(json!({ "replicas": 0 }))),
        ("apps/v1", "DaemonSet", selected(json!({}))),
        ("v1", "ReplicationController", simple),
        ("batch/v1", "Job", job.clone()),
        ("batch/v1", "CronJob", json!({ "schedule": "0 0 1 1 *", "jobTemplate": { "spec": job } })),
    ];
    for (version, kind, spec) in workloads {
        let place = if kind == "CronJob" { "/spec/jobTemplate/spec/template" } else { "/spec/template" };
        let says = format!("move it to {}.metadata.annotations", place.trim_start_matches('/').replace('/', "."));
        for (outside, inside) in [(true, false), (true, true), (false, true), (false, false)] {
            let mut object =
                json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "device" }, "spec": spec });
            if outside {
                object["metadata"]["annotations"] = opted_in();
            }
            if inside {
                object.pointer_mut(place).unwrap()["metadata"]["annotations"] = opted_in();
            }
            let output = dry_run(&namespace, &object);
            let text = said(&output);
            assert!(output.status.success(), "never refused: {text}");
            assert_eq!(text.contains("Warning:"), outside && !inside, "{kind} {outside} {inside}: {text}");
            assert!(!outside || inside || text.contains(&says), "{says}: {text}");
        }
    }

    // As it happens: the annotation comes later, by an update.
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "device" },
        "spec": selected(json!({ "replicas": 0 })),
    });
    let created = namespace.create(&deployment);
    assert!(created.status.success() && !said(&created).contains("Warning:"), "{}", said(&created));
    let annotate = ["-n", &namespace.0, "annotate", "deployment", "device", "memlock.dev/swap-device=true"];
    let warned = said(&run("kubectl", &annotate));
    assert!(warned.contains("no effect on the Deployment itself") && warned.contains("annotated"), "{warned}");
}
