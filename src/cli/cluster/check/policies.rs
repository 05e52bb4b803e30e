//! The admission policies: there, and bound.

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::{Api, ResourceExt, api::ListParams};

use super::{
    finding::{Finding, Mark},
    installation::OURS,
    readable,
};
use crate::cli::cluster::{connect::Cluster, failure::Failure};

const CHECK: &str = "policies";

/// How their names end in the chart, the value that switches each off, and what nobody does without it.
const POLICIES: [(&str, &str, &str); 5] = [
    ("final-state", "finalState", "an annotated pod may start without IPC_LOCK while the webhook is away"),
    ("misplaced-annotation", "misplacedAnnotation", "nobody is warned of an annotation on a workload itself"),
    ("exec", "exec", "the controller's account may execute anything in any pod"),
    ("status", "status", "the controller's account may write any pod's status"),
    (
        "configuration",
        "configuration",
        "the controller's account may write anything into its webhook configuration, and so turn the webhook off",
    ),
];

pub(super) async fn check(cluster: &Cluster) -> Result<Vec<Finding>, Failure> {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(cluster.client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(cluster.client.clone());
    let found = readable(cluster.list(&policies, ListParams::default().labels(OURS)).await)?;
    let bound = readable(cluster.list(&bindings, ListParams::default().labels(OURS)).await)?;
    match (found, bound) {
        (Ok(found), Ok(bound)) => {
            let names: BTreeSet<String> = found.iter().map(ResourceExt::name_any).collect();
            let bound = bound.into_iter().filter_map(|binding| binding.spec?.policy_name).collect();
            Ok(compare(&names, &bound))
        }
        (Err(failure), _) | (_, Err(failure)) => Ok(vec![Finding::unreadable(CHECK, &failure)]),
    }
}

fn compare(names: &BTreeSet<String>, bound: &BTreeSet<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut good = Vec::new();
    for (end, value, lost) in POLICIES {
        let of_kind = |names: &BTreeSet<String>| {
            names.iter().any(|name| name.strip_suffix(end).is_some_and(|rest| rest.ends_with('-')))
        };
        findings.push(match (of_kind(names), of_kind(bound)) {
            (true, true) => {
                good.push(end);
                continue;
            }
            (true, false) => Finding::new(
                CHECK,
                Mark::Wrong,
                format!("the policy {end} has no binding, so it is not in force: {lost}"),
            )
            .remedy("put it back with helm upgrade"),
            (false, true) => Finding::new(
                CHECK,
                Mark::Wrong,
                format!("the policy {end} is gone, although something binds it: {lost}"),
            )
            .remedy("put it back with helm upgrade"),
            // Only the one who installed it knows whether that is meant.
            (false, false) => Finding::new(CHECK, Mark::Warning, format!("the policy {end} is not installed: {lost}"))
                .remedy(format!("if that is not meant: helm upgrade --set policies.{value}=true")),
        });
    }
    if !good.is_empty() {
        findings.insert(0, Finding::new(CHECK, Mark::Good, format!("in force: {}", good.join(", "))));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::offline;

    #[test]
    fn they_are_those_that_the_chart_installs() {
        let manifests = include_str!("../../../../manifests/memlock-operator.yaml");
        let objects = offline::objects(manifests).unwrap().into_iter().map(|object| object.value);
        let installed: BTreeSet<String> = objects
            .filter(|object| object["kind"] == "ValidatingAdmissionPolicy")
            .map(|object| object["metadata"]["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(installed, named(&POLICIES.map(|(end, ..)| end)));
    }

    fn named(ends: &[&str]) -> BTreeSet<String> {
        ends.iter().map(|end| format!("memlock-operator-{end}")).collect()
    }

    #[test]
    fn a_policy_is_in_force_when_it_is_there_and_bound() {
        let all = POLICIES.map(|(end, ..)| end);
        let marks = |names: &[&str], bound: &[&str]| -> Vec<Mark> {
            compare(&named(names), &named(bound)).iter().map(|finding| finding.mark).collect()
        };
        assert_eq!(marks(&all, &all), [Mark::Good]);
        assert_eq!(marks(&all[..4], &all), [Mark::Good, Mark::Wrong]);
        assert_eq!(marks(&all, &all[1..]), [Mark::Good, Mark::Wrong]);
        assert_eq!(marks(&all[1..], &all[1..]), [Mark::Good, Mark::Warning]);
        assert_eq!(marks(&[], &[]), [Mark::Warning; 5]);
    }
}
