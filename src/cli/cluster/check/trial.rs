//! Whether the webhook answers: a pod is tried on the server and never created.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::PostParams};
use serde_json::json;

use super::{
    finding::{Finding, Mark},
    installation::Installation,
    readable,
    serving::{Labels, Serving},
};
use crate::{
    cli::cluster::{connect::Cluster, failure::Failure},
    domain::{inject::Level, names},
};

const CHECK: &str = "trial";
/// Every cluster has it.
const USUAL: &str = "default";

pub(super) async fn check(
    cluster: &Cluster,
    named: Option<&str>,
    installation: &Installation,
    serving: Option<&Serving>,
    namespaces: Option<&[(String, Labels)]>,
) -> Result<Finding, Failure> {
    let namespace =
        named.or_else(|| served(serving?, namespaces?)).or_else(|| installation.served().next()).unwrap_or(USUAL);
    let api: Api<Pod> = cluster.api(Some(namespace));
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let answer = readable(cluster.ask(api.create(&params, &pod(&asked_labels(serving)))).await)?;
    Ok(judge(namespace, &answer, serving.is_some_and(narrows)))
}

/// Further conditions on pods than the chart's own, which a trial pod need not meet.
fn narrows(serving: &Serving) -> bool {
    let own = ["memlock-annotation", "no-mirror-pod"];
    serving.entries.iter().any(|entry| {
        let expressions = entry.object_selector.as_ref().and_then(|selector| selector.match_expressions.as_ref());
        let mut conditions = entry.match_conditions.iter().flatten();
        expressions.is_some_and(|all| !all.is_empty()) || conditions.any(|one| !own.contains(&one.name.as_str()))
    })
}

/// Labels without which the webhook is not asked, by `webhook.objectSelector` of the chart.
fn asked_labels(serving: Option<&Serving>) -> Labels {
    let entry = serving.and_then(|serving| serving.entries.first());
    entry.and_then(|entry| entry.object_selector.as_ref()?.match_labels.clone()).unwrap_or_default()
}

/// A namespace that may hold the capability, best the one that every cluster has.
fn served<'a>(serving: &Serving, namespaces: &'a [(String, Labels)]) -> Option<&'a str> {
    let mut fit = namespaces.iter().filter(|(_, labels)| serving.level(labels) == Some(Level::Privileged));
    let first = fit.clone().next();
    fit.find(|(name, _)| name == USUAL).or(first).map(|(name, _)| name.as_str())
}

/// As small as a pod can be; the capability only, so that no image of ours is named.
fn pod(labels: &Labels) -> Pod {
    let pod = json!({
        "metadata": {
            "name": "memlock-check-trial",
            "labels": labels,
            "annotations": { names::SWAP_DEVICE: "true", names::AGENT: "false" },
        },
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "trial",
                "image": "memlock.invalid/trial",
                "resources": { "requests": { "cpu": "1m", "memory": "1Mi" }, "limits": { "cpu": "1m", "memory": "1Mi" } },
            }],
        },
    });
    serde_json::from_value(pod).unwrap_or_default()
}

fn judge(namespace: &str, answer: &Result<Pod, Failure>, narrowed: bool) -> Finding {
    let failure = match answer {
        Ok(pod) if has_capability(pod) => {
            let sentence = format!("the webhook answered, and gave a trial pod in namespace {namespace} IPC_LOCK");
            return Finding::new(CHECK, Mark::Good, sentence);
        }
        Ok(_) if narrowed => {
            let sentence = format!(
                "a trial pod in namespace {namespace} was left out, as webhook.objectSelector or webhook.matchConditions may ask for, so that nothing is known of the webhook"
            );
            return Finding::new(CHECK, Mark::Unknown, sentence)
                .remedy("try a pod of yours with kubectl create --dry-run=server -o yaml");
        }
        Ok(_) => {
            let sentence = format!(
                "a trial pod in namespace {namespace} came through without IPC_LOCK: the webhook was not called, or did not answer and failurePolicy is Ignore"
            );
            return Finding::new(CHECK, Mark::Wrong, sentence)
                .remedy("see whether the webhook's pods are ready and its configuration selects the namespace");
        }
        Err(failure) => failure,
    };
    let said = failure.to_string();
    let in_namespace = format!("a trial pod in namespace {namespace}");
    if said.contains("failed calling webhook") && said.contains("memlock.dev") {
        let sentence = format!("the API server cannot reach the webhook: {said}");
        return Finding::new(CHECK, Mark::Wrong, sentence)
            .remedy("see whether its pods are ready, and whether the control plane may reach them on port 10250");
    }
    if said.contains("ValidatingAdmissionPolicy") && said.contains("final-state") {
        let sentence = format!(
            "{in_namespace} was refused by the policy for the final state, because no webhook gave it IPC_LOCK: {said}"
        );
        return Finding::new(CHECK, Mark::Wrong, sentence)
            .remedy("see whether the webhook's pods are ready and its configuration selects the namespace");
    }
    if said.contains("memlock.dev\" denied the request") {
        let sentence = format!("the webhook answered, but refused {in_namespace}: {said}");
        return Finding::new(CHECK, Mark::Warning, sentence).remedy("name another namespace with --trial-namespace");
    }
    if said.contains("cannot create resource") {
        return Finding::new(CHECK, Mark::Unknown, format!("not allowed to try a pod in namespace {namespace}"))
            .remedy("name one where you may create pods with --trial-namespace");
    }
    let sentence =
        format!("{in_namespace} was refused by somebody else, so that nothing is known of the webhook: {said}");
    Finding::new(CHECK, Mark::Unknown, sentence).remedy("name another namespace with --trial-namespace")
}

fn has_capability(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut added = containers
        .filter_map(|container| container.security_context.as_ref()?.capabilities.as_ref()?.add.as_ref())
        .flatten();
    added.any(|capability| capability == names::IPC_LOCK)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{super::serving::tests::serving, *};

    fn refused(message: &str) -> Failure {
        let status = json!({ "status": "Failure", "code": 403, "reason": "Forbidden", "message": message });
        Failure::Server(serde_json::from_value(status).unwrap())
    }

    /// The texts are the API server's, as they were seen.
    #[rstest]
    #[case(
        "Internal error occurred: failed calling webhook \"inject-unlabelled.memlock.dev\": failed to call webhook: Post \"https://w\": no endpoints",
        Mark::Wrong,
        "cannot reach"
    )]
    #[case(
        "pods \"t\" is forbidden: ValidatingAdmissionPolicy 'memlock-operator-final-state' with binding 'memlock-operator-final-state' denied request: container trial would start without IPC_LOCK",
        Mark::Wrong,
        "no webhook gave it IPC_LOCK"
    )]
    #[case(
        "admission webhook \"inject.memlock.dev\" denied the request: namespace n enforces baseline",
        Mark::Warning,
        "the webhook answered"
    )]
    #[case(
        "pods is forbidden: User \"jane\" cannot create resource \"pods\" in API group \"\" in the namespace \"default\"",
        Mark::Unknown,
        "not allowed"
    )]
    #[case("pods \"t\" is forbidden: exceeded quota: q", Mark::Unknown, "somebody else")]
    #[case("admission webhook \"images.example\" denied the request: no such image", Mark::Unknown, "somebody else")]
    fn who_refused_matters(#[case] message: &str, #[case] mark: Mark, #[case] says: &str) {
        let finding = judge("default", &Err(refused(message)), false);
        assert_eq!(finding.mark, mark);
        assert!(finding.line(false).contains(says), "{}", finding.line(false));
    }

    #[test]
    fn only_the_capability_itself_is_proof() {
        let mut tried = pod(&Labels::new());
        assert_eq!(judge("default", &Ok(tried.clone()), false).mark, Mark::Wrong);
        assert_eq!(judge("default", &Ok(tried.clone()), true).mark, Mark::Unknown);
        let context = json!({ "capabilities": { "add": ["IPC_LOCK"] } });
        tried.spec.as_mut().unwrap().containers[0].security_context = Some(serde_json::from_value(context).unwrap());
        assert_eq!(judge("default", &Ok(tried), true).mark, Mark::Good);
    }

    #[test]
    fn the_trial_pod_is_one_that_the_webhook_is_asked_about() {
        let mut serving = serving();
        assert!(asked_labels(Some(&serving)).is_empty() && !narrows(&serving));
        for entry in &mut serving.entries {
            let selector = json!({ "matchLabels": { "team": "storage" } });
            entry.object_selector = Some(serde_json::from_value(selector).unwrap());
            let own = json!([{ "name": "memlock-annotation", "expression": "true" }]);
            entry.match_conditions = Some(serde_json::from_value(own).unwrap());
        }
        let labels = Labels::from([("team".to_owned(), "storage".to_owned())]);
        assert_eq!(pod(&asked_labels(Some(&serving))).metadata.labels, Some(labels));
        assert!(!narrows(&serving));
        let theirs = json!([{ "name": "not-gpu", "expression": "true" }]);
        serving.entries[0].match_conditions = Some(serde_json::from_value(theirs).unwrap());
        assert!(narrows(&serving));
    }

    #[test]
    fn the_namespace_is_one_that_may_hold_the_capability() {
        let namespace = |name: &str, label: Option<&str>| {
            let mut labels = Labels::from([("kubernetes.io/metadata.name".to_owned(), name.to_owned())]);
            labels.extend(label.map(|value| (names::POD_SECURITY_ENFORCE.to_owned(), value.to_owned())));
            (name.to_owned(), labels)
        };
        let all = [
            namespace("kube-system", None),
            namespace("a", Some("baseline")),
            namespace("b", None),
            namespace("default", None),
        ];
        assert_eq!(served(&serving(), &all), Some("default"));
        assert_eq!(served(&serving(), &all[..3]), Some("b"));
        assert_eq!(served(&serving(), &all[..2]), None);
    }
}
