//! Which entry of the webhook configuration serves a namespace: one, and that of its Pod Security level.

use serde_json::{Value, json};

use crate::{
    chart::CHART,
    cluster::{Namespace, eventually, kubectl, kubectl_with, nbdkit, opted_in, run, succeed},
};

const NAME: &str = "e2e-levels";

/// A configuration whose Service does not exist, so that its call, and only that, is refused by name.
struct Alone;

impl Alone {
    fn create(mut configuration: Value, entry: &Value) -> Self {
        configuration["webhooks"] = json!([entry]);
        let output = kubectl_with(&["create", "-f", "-"], &configuration);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        run("kubectl", &["delete", "mutatingwebhookconfiguration", NAME]);
    }
}

/// The chart's configuration, by another name and of another namespace.
fn rendered(exempt: &Namespace) -> Value {
    let name = format!("fullnameOverride={NAME}");
    let exempt = format!("podSecurity.exemptNamespaces={{{}}}", exempt.0);
    let only = "templates/webhook-configuration.yaml";
    let text = succeed(
        "helm",
        &["template", "levels", CHART, "-n", NAME, "--set", &name, "--set", &exempt, "--show-only", only],
    );
    let file = std::env::temp_dir().join(format!("memlock-{NAME}-{}", std::process::id()));
    std::fs::write(&file, text).unwrap();
    let json = kubectl(&["create", "--dry-run=client", "-o", "json", "-f", file.to_str().unwrap()]);
    std::fs::remove_file(file).unwrap();
    serde_json::from_str(&json).unwrap()
}

#[test]
fn each_namespace_is_served_by_the_entry_of_its_level() {
    let labelled = |name: &str, level: Option<&str>| {
        let namespace = Namespace::new(name);
        if let Some(level) = level {
            let label = format!("pod-security.kubernetes.io/enforce={level}");
            kubectl(&["label", "namespace", &namespace.0, &label]);
        }
        namespace
    };
    let unlabelled = labelled("level-none", None);
    let privileged = labelled("level-privileged", Some("privileged"));
    let baseline = labelled("level-baseline", Some("baseline"));
    let restricted = labelled("level-restricted", Some("restricted"));
    let exempt = labelled("level-exempt", Some("restricted"));
    let all = [&unlabelled, &privileged, &baseline, &restricted, &exempt];
    let expected = [
        ("inject.memlock.dev", "/mutate/baseline", vec![&baseline, &restricted]),
        ("inject-privileged.memlock.dev", "/mutate/privileged", vec![&privileged]),
        ("inject-unlabelled.memlock.dev", "/mutate/privileged", vec![&unlabelled]),
        ("inject-exempt.memlock.dev", "/mutate/privileged", vec![&exempt]),
    ];

    let configuration = rendered(&exempt);
    let entries = configuration["webhooks"].as_array().unwrap();
    assert_eq!(entries.len(), expected.len());
    for (entry, (name, path, served)) in entries.iter().zip(expected) {
        assert_eq!((&entry["name"], &entry["clientConfig"]["service"]["path"]), (&json!(name), &json!(path)));
        let _alone = Alone::create(configuration.clone(), entry);
        let refusal = format!("failed calling webhook \"{name}\"");
        let wanted: Vec<&str> = served.iter().map(|namespace| namespace.0.as_str()).collect();
        // The API server knows a new configuration a moment later.
        eventually(name, || {
            let pod = nbdkit("device", &opted_in(), &[]);
            let called = all.iter().filter(|namespace| {
                let output = kubectl_with(&["-n", &namespace.0, "create", "--dry-run=server", "-f", "-"], &pod);
                let text = String::from_utf8_lossy(&output.stderr);
                text.contains(&refusal) && text.contains(NAME)
            });
            let called: Vec<&str> = called.map(|namespace| namespace.0.as_str()).collect();
            if called == wanted { Ok(()) } else { Err(format!("called in {called:?}, not in {wanted:?}")) }
        });
        eprintln!("{name}, {path}: {wanted:?}");
    }
}

#[test]
fn a_namespace_that_refuses_the_capability_is_named_with_the_remedy() {
    let namespace = Namespace::new("level-enforced");
    let device = |annotations: Value| {
        let pod = nbdkit("device", &annotations, &[]);
        let output = kubectl_with(&["-n", &namespace.0, "create", "--dry-run=server", "-f", "-"], &pod);
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let level = |value: &str| {
        let label = format!("pod-security.kubernetes.io/enforce={value}");
        kubectl(&["label", "namespace", &namespace.0, &label, "--overwrite"]);
    };
    level("baseline");
    let remedy = "pod-security.kubernetes.io/enforce=privileged";
    // Namespace labels reach the webhook's selectors by a watch.
    eventually("a refusal with the remedy", || match device(opted_in()) {
        (false, text) if text.contains("inject.memlock.dev") && text.contains(remedy) => Ok(()),
        (_, text) => Err(text),
    });
    let mut lenient = opted_in();
    lenient["memlock.dev/required"] = json!("false");
    let (created, text) = device(lenient);
    assert!(created && text.contains(remedy), "{text}");
    level("privileged");
    eventually("the capability", || match device(opted_in()) {
        (true, text) if text.contains("got the capability IPC_LOCK") => Ok(()),
        (_, text) => Err(text),
    });
}

/// An entry without the authorities refuses every annotated pod of its namespaces.
#[test]
fn every_entry_has_the_authorities() {
    let live = kubectl(&["get", "mutatingwebhookconfiguration", "memlock-operator", "-o", "json"]);
    let live: Value = serde_json::from_str(&live).unwrap();
    let bundles: Vec<_> = live["webhooks"].as_array().unwrap().iter().map(|w| &w["clientConfig"]["caBundle"]).collect();
    assert_eq!(bundles.len(), 4);
    assert!(bundles.iter().all(|bundle| bundle.is_string() && *bundle == bundles[0]), "{bundles:?}");
}
