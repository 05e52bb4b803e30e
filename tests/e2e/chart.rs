//! helm on the real API server. Run by itself, after the others: it uninstalls what they use.

use crate::cluster::{Namespace, RELEASE, SYSTEM, eventually, kubectl, nbdkit, opted_in, succeed};

pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/memlock-operator");

#[test]
fn upgrades_without_conflict_and_uninstalls_cleanly() {
    // Entries of the webhook configuration change their selectors and come to no conflict with the controller's field.
    let rounds = [
        ["podSecurity.defaultLevel=baseline", "podSecurity.exemptNamespaces={storage,backup}"],
        ["podSecurity.defaultLevel=privileged", "podSecurity.exemptNamespaces=null"],
    ];
    for [level, exempt] in rounds {
        let with = ["--reuse-values", "--set", level, "--set", exempt, "--wait", "--timeout", "90s"];
        let told = succeed("helm", &[&["upgrade", RELEASE, CHART, "-n", SYSTEM], &with[..]].concat());
        assert!(told.contains("STATUS: deployed"), "{level}: {told}");
    }
    let fields = "jsonpath={.webhooks[*].clientConfig.caBundle}";
    let bundles = kubectl(&["get", "mutatingwebhookconfiguration", "memlock-operator", "-o", fields]);
    assert_eq!(bundles.split_whitespace().count(), 4, "an upgrade must not take a caBundle");

    succeed("helm", &["uninstall", RELEASE, "-n", SYSTEM, "--wait", "--timeout", "90s"]);
    let kinds = kubectl(&["api-resources", "--verbs=list", "-o", "name"]);
    // Events are a log of the past and go by themselves.
    let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
    // The webhook's pods drain for some seconds after helm is done.
    eventually("nothing left", || {
        let labelled = format!("app.kubernetes.io/instance={RELEASE}");
        let left = kubectl(&["get", &kinds.join(","), "-A", "-o", "name", "-l", &labelled]);
        if left.trim().is_empty() { Ok(()) } else { Err(left) }
    });

    let namespace = Namespace::new("uninstalled");
    let output = namespace.create(&nbdkit("annotated", &opted_in(), &[]));
    assert!(output.status.success(), "no pod is blocked afterwards: {}", String::from_utf8_lossy(&output.stderr));
}
