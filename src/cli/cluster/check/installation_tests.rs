use rstest::rstest;
use serde_json::json;

use super::*;

/// An installation of this version whose parts have this many pods wanted and ready.
pub(in crate::cli::cluster::check) fn installation(version: &str, wanted: i32, ready: i32) -> Installation {
    let deployment = |component: &str| -> Deployment {
        let arguments = json!([component, "--certificate-secret=memlock-operator-tls", "--agent-image=operator:1"]);
        serde_json::from_value(json!({
            "metadata": {
                "name": format!("memlock-operator-{component}"), "namespace": "memlock-system", "generation": 2,
                "labels": { "app.kubernetes.io/component": component, "app.kubernetes.io/version": version,
                            "helm.sh/chart": "memlock-operator-0.1.0" },
            },
            "spec": { "replicas": wanted, "selector": {}, "template": { "spec": {
                "serviceAccountName": "memlock-operator-controller", "containers": [{ "name": component, "args": arguments }] } } },
            "status": { "readyReplicas": ready, "updatedReplicas": wanted, "observedGeneration": 2 },
        }))
        .unwrap()
    };
    Installation {
        namespace: "memlock-system".to_owned(),
        deployments: ["webhook", "controller"].map(deployment).to_vec(),
    }
}

impl Installation {
    pub(in crate::cli::cluster::check) fn add_flag(&mut self, component: &str, flag: &str) {
        for deployment in &mut self.deployments {
            let container = &mut deployment.spec.as_mut().unwrap().template.spec.as_mut().unwrap().containers[0];
            if container.name == component {
                container.args.as_mut().unwrap().push(flag.to_owned());
            }
        }
    }
}

#[rstest]
#[case(2, 2, Mark::Good, "2 of 2 pods ready")]
#[case(2, 1, Mark::Warning, "1 of 2 pods ready; kubectl -n memlock-system describe")]
#[case(2, 0, Mark::Wrong, "0 of 2 pods ready")]
#[case(
    0,
    0,
    Mark::Wrong,
    "is scaled to 0; kubectl -n memlock-system scale deployment memlock-operator-webhook --replicas=2"
)]
fn pods_ready(#[case] wanted: i32, #[case] is_ready: i32, #[case] mark: Mark, #[case] says: &str) {
    let finding = ready(&installation("0.1.0", wanted, is_ready), "webhook");
    assert_eq!(finding.mark, mark);
    assert!(finding.line(false).contains(says), "{}", finding.line(false));
}

#[test]
fn a_rollout_that_has_not_ended_is_told() {
    let mut found = installation("0.1.0", 2, 2);
    found.deployments[0].status.as_mut().unwrap().updated_replicas = Some(1);
    assert_eq!(ready(&found, "webhook").mark, Mark::Warning);
    found.deployments[0].metadata.labels = None;
    assert_eq!(ready(&found, "webhook").mark, Mark::Wrong, "there is none");
}

#[test]
fn versions_are_compared_with_this_program() {
    assert_eq!(versions(&installation(env!("CARGO_PKG_VERSION"), 1, 1)).mark, Mark::Good);
    assert_eq!(versions(&installation("9.9.9", 1, 1)).mark, Mark::Warning);
    let mut two = installation("9.9.9", 1, 1);
    let other = installation("9.9.8", 1, 1).deployments.remove(0);
    two.deployments.push(other);
    assert_eq!(versions(&two).mark, Mark::Wrong);
}

#[test]
fn flags_are_read_from_the_command_line() {
    let found = installation("0.1.0", 1, 1);
    assert_eq!(found.flag("controller", "certificate-secret"), Some("memlock-operator-tls"));
    assert_eq!(found.flag("controller", "certificate"), None);
    assert_eq!(found.service_account(), Some("memlock-operator-controller"));
}
