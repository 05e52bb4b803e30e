//! Whether the controller's account may do what the controller does.

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::{Api, ResourceExt, api::PostParams};

use super::{
    finding::{Finding, Mark},
    installation::Installation,
    readable,
};
use crate::cli::cluster::{connect::Cluster, failure::Failure};

const CHECK: &str = "rights";
/// Questions at the same time.
const AT_ONCE: usize = 8;

/// Where a right is needed.
#[derive(Debug, Clone, Copy)]
enum Reach {
    /// In every namespace, or in those that the installation serves.
    Served,
    /// On the webhook configuration.
    Configuration,
    /// In the namespace of the installation.
    Own,
    /// There, on the certificate's Secret.
    Secret,
    /// There, on the lease.
    Lease,
}

/// Group, resource, subresource, verbs, reach: as in the chart's `rbac.yaml`.
const NEEDED: [(&str, &str, &str, &[&str], Reach); 10] = [
    ("", "pods", "", &["list", "watch"], Reach::Served),
    ("", "pods", "status", &["patch"], Reach::Served),
    ("", "pods", "exec", &["get", "create"], Reach::Served),
    ("memlock.dev", "swapdevices", "", &["get", "list", "watch", "create", "patch", "delete"], Reach::Served),
    ("memlock.dev", "swapdevices", "status", &["patch"], Reach::Served),
    ("events.k8s.io", "events", "", &["create", "patch"], Reach::Served),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", "", &["get", "patch"], Reach::Configuration),
    ("", "secrets", "", &["get", "patch"], Reach::Secret),
    ("coordination.k8s.io", "leases", "", &["create"], Reach::Own),
    ("coordination.k8s.io", "leases", "", &["get", "update"], Reach::Lease),
];

pub(super) async fn check(cluster: &Cluster, installation: &Installation) -> Result<Finding, Failure> {
    let Some(account) = installation.service_account() else {
        let sentence = "the controller's account is not known, because its Deployment could not be read";
        return Ok(Finding::new(CHECK, Mark::Unknown, sentence).remedy("see the lines above"));
    };
    let user = format!("system:serviceaccount:{}:{account}", installation.namespace);
    let api: Api<SubjectAccessReview> = Api::all(cluster.client.clone());
    let asked = stream::iter(questions(installation)).map(|question| {
        let review = review(&user, &installation.namespace, question.clone());
        let api = &api;
        async move {
            let answer = readable(cluster.ask(api.create(&PostParams::default(), &review)).await)?;
            Ok::<_, Failure>((question, answer.map(|review| review.status.is_some_and(|status| status.allowed))))
        }
    });
    let answers: Vec<_> = asked.buffered(AT_ONCE).try_collect().await?;
    let (all, mut lacking) = (answers.len(), Vec::new());
    for (question, answer) in answers {
        match answer {
            Ok(true) => {}
            Ok(false) => lacking.push(in_words(&question)),
            Err(failure) => return Ok(Finding::unreadable(CHECK, &failure)),
        }
    }
    if lacking.is_empty() {
        return Ok(Finding::new(
            CHECK,
            Mark::Good,
            format!("the controller's account {account} has the {all} rights that it needs"),
        ));
    }
    let sentence = format!("the controller's account {account} may not: {}", lacking.join(", "));
    Ok(Finding::new(CHECK, Mark::Wrong, sentence).remedy("put the rights back with helm upgrade"))
}

fn questions(installation: &Installation) -> Vec<ResourceAttributes> {
    let own = || Some(installation.namespace.clone());
    let mut served: Vec<Option<String>> = installation.served().map(|name| Some(name.to_owned())).collect();
    if served.is_empty() {
        served.push(None);
    }
    let flag = |name: &str| installation.flag("controller", name).map(str::to_owned);
    // Where somebody else writes these two, the chart gives no right to.
    let only_read = |reach: Reach| match reach {
        Reach::Secret => !installation.issues_certificates(),
        Reach::Configuration => !installation.manages_ca_bundle(),
        Reach::Served | Reach::Own | Reach::Lease => false,
    };
    let mut questions = Vec::new();
    for (group, resource, subresource, verbs, reach) in NEEDED {
        let (namespaces, name) = match reach {
            Reach::Served => (served.clone(), None),
            Reach::Configuration => (vec![None], flag("webhook-configuration")),
            Reach::Own => (vec![own()], None),
            Reach::Secret => (vec![own()], flag("certificate-secret")),
            Reach::Lease => (vec![own()], installation.part("controller").map(ResourceExt::name_any)),
        };
        for namespace in namespaces {
            let attributes = |verb: &&str| ResourceAttributes {
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource: (!subresource.is_empty()).then(|| subresource.to_owned()),
                verb: Some((*verb).to_owned()),
                namespace: namespace.clone(),
                name: name.clone(),
                ..ResourceAttributes::default()
            };
            let verbs = verbs.iter().filter(|verb| **verb == "get" || !only_read(reach));
            questions.extend(verbs.map(attributes));
        }
    }
    questions
}

fn review(user: &str, namespace: &str, question: ResourceAttributes) -> SubjectAccessReview {
    let groups = [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
        "system:authenticated".to_owned(),
    ];
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.to_owned()),
            groups: Some(groups.to_vec()),
            resource_attributes: Some(question),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}

fn in_words(question: &ResourceAttributes) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let below = question.subresource.as_ref().map(|below| format!("/{below}")).unwrap_or_default();
    let place = question.namespace.as_ref().map(|namespace| format!(" in {namespace}")).unwrap_or_default();
    format!("{} {}{below}{place}", part(&question.verb), part(&question.resource))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::{super::installation::tests::installation, *};
    use crate::cli::offline;

    fn words(list: &Value) -> Vec<&str> {
        list.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
    }

    #[test]
    fn they_are_those_that_the_chart_grants() {
        let manifests = include_str!("../../../../manifests/memlock-operator.yaml");
        let mut granted = BTreeSet::new();
        for object in offline::objects(manifests).unwrap() {
            let kind = object.value["kind"].as_str().unwrap_or_default();
            let own = object.value["metadata"]["name"] == "memlock-operator-controller";
            for rule in object.value["rules"].as_array().into_iter().flatten().filter(|_| own && kind.ends_with("Role"))
            {
                for (group, resource) in words(&rule["apiGroups"]).into_iter().zip(words(&rule["resources"])) {
                    granted.extend(words(&rule["verbs"]).iter().map(|verb| format!("{verb} {group}/{resource}")));
                }
            }
        }
        let needed = NEEDED.iter().flat_map(|(group, resource, below, verbs, _)| {
            let below = if below.is_empty() { String::new() } else { format!("/{below}") };
            verbs.iter().map(move |verb| format!("{verb} {group}/{resource}{below}"))
        });
        assert_eq!(granted, needed.collect());
    }

    #[test]
    fn rights_are_asked_for_where_they_are_needed() {
        let mut found = installation("0.1.0", 1, 1);
        let pods = |found: &Installation| -> Vec<String> {
            let questions = questions(found);
            questions.iter().map(in_words).filter(|words| words.starts_with("list pods")).collect()
        };
        assert_eq!(pods(&found), ["list pods"]);
        let words: Vec<String> = questions(&found).iter().map(in_words).collect();
        assert!(words.contains(&"create pods/exec".to_owned()), "{words:?}");
        assert!(words.contains(&"update leases in memlock-system".to_owned()), "{words:?}");
        let patched = |found: &Installation| -> Vec<String> {
            let questions = questions(found);
            let all = questions.iter().map(in_words).filter(|words| words.starts_with("patch "));
            all.filter(|words| words.contains("secrets") || words.contains("configurations")).collect()
        };
        assert_eq!(patched(&found), ["patch mutatingwebhookconfigurations", "patch secrets in memlock-system"]);
        found.add_flag("controller", "--certificates=secret");
        assert_eq!(patched(&found), ["patch mutatingwebhookconfigurations"]);
        found.add_flag("controller", "--manage-ca-bundle=false");
        assert_eq!(patched(&found), [""; 0]);
        found.add_flag("controller", "--namespaces=a,b");
        assert_eq!(pods(&found), ["list pods in a", "list pods in b"]);
    }
}
