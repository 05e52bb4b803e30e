//! `kubectl memlock check`: what is healthy, what is broken, and what could not be looked at.

use super::*;

/// Exit code, and the results by what was looked at.
pub(super) fn checked(more: &[&str]) -> (i32, Value) {
    let (code, out, err) = memlock(&[&["check", "-o", "json"], more].concat());
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    assert_eq!(report["healthy"], code == 0, "{report}");
    let mut results = json!({});
    for check in report["checks"].as_array().unwrap() {
        let of = &mut results[check["check"].as_str().unwrap()];
        let before = of.as_array().cloned().unwrap_or_default();
        *of = before.into_iter().chain([check["result"].clone()]).collect();
    }
    (code, results)
}

/// Waits until the check says this; namespaces of other tests are going all the time.
fn eventually_checked(what: &str, holds: impl Fn(i32, &Value) -> bool) {
    eventually(what, || {
        let (code, results) = checked(&[]);
        if holds(code, &results) { Ok(()) } else { Err(format!("exit {code}: {results}")) }
    });
}

#[test]
fn a_healthy_installation_is_all_well() {
    rolled_out();
    eventually_checked("all well", |code, _| code == 0);
    let (code, out, err) = memlock(&["check"]);
    assert_eq!(code, 0, "{out}{err}");
    eprint!("{out}");
    assert!(out.lines().all(|line| line.starts_with("✓ ")), "{out}");
    assert!(err.starts_with("all well: ") && !err.contains('…') && !out.contains('\u{1b}'), "{err}");
}

#[test]
fn what_is_broken_is_named() {
    let namespace = Namespace::new("plugin-broken");
    {
        let _webhook = stopped("webhook");
        eventually_checked("no webhook", |code, results| {
            code == 1 && results["webhook"] == json!(["wrong"]) && results["trial"] == json!(["wrong"])
        });
    }
    {
        let upgrade = ["helm", "upgrade", RELEASE, CHART, "-n", SYSTEM, "--reuse-values", "--wait", "--timeout", "90s"];
        let _chart = put_back(&upgrade);
        kubectl(&["delete", "validatingadmissionpolicy", "memlock-operator-exec"]);
        kubectl(&["delete", "validatingadmissionpolicybinding", "memlock-operator-status"]);
        kubectl(&["delete", "clusterrolebinding", "memlock-operator-controller"]);
        eventually_checked("no policy and no rights", |code, results| {
            code == 1 && results["policies"] == json!(["ok", "wrong", "wrong"]) && results["rights"] == json!(["wrong"])
        });
    }
    stateful_set(&namespace, "misplaced", &opted_in(), &json!({}));
    stateful_set(&namespace, "fine", &json!({}), &opted_in());
    eventually_checked("a misplaced annotation", |code, results| {
        code == 1 && results["workloads"] == json!(["wrong", "ok"]) && results["pod-security"] == json!(["ok"])
    });
    kubectl(&["label", "namespace", &namespace.0, "pod-security.kubernetes.io/enforce=baseline"]);
    eventually_checked("a namespace that refuses", |code, results| {
        code == 1 && results["pod-security"] == json!(["wrong"])
    });
    let (_, out, _) = memlock(&["check"]);
    let remedy = format!("kubectl label namespace {} pod-security.kubernetes.io/enforce=privileged", namespace.0);
    assert!(out.contains(&remedy) && out.contains("move it to spec.template.metadata.annotations"), "{out}");
}

#[test]
fn what_may_not_be_read_is_neither_good_nor_wrong() {
    let (code, results) = checked(&["--as", "e2e-nobody"]);
    eprintln!("as somebody without rights: {results}");
    assert_eq!(code, 3, "{results}");
    assert!(!results.to_string().contains("wrong"), "{results}");
    for check in ["installation", "configuration", "trial", "policies", "rights", "pod-security"] {
        assert_eq!(results[check], json!(["unknown"]), "{check}: {results}");
    }
    let (code, _, err) = memlock(&["status", "--as", "e2e-nobody"]);
    assert_eq!(code, 1);
    assert!(err.contains("Error from server (Forbidden): pods is forbidden: User \"e2e-nobody\""), "{err}");
}
