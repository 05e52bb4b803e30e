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
    /// In every namespace.
    Cluster,
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
    ("", "pods", "", &["get", "list", "watch"], Reach::Cluster),
    ("", "pods", "status", &["patch"], Reach::Cluster),
    ("", "pods", "exec", &["get", "create"], Reach::Cluster),
    ("memlock.dev", "swapdevices", "", &["get", "list", "watch", "create", "patch", "delete"], Reach::Cluster),
    ("memlock.dev", "swapdevices", "status", &["patch"], Reach::Cluster),
    ("events.k8s.io", "events", "", &["create", "patch"], Reach::Cluster),
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
    let flag = |name: &str| installation.flag("controller", name).map(str::to_owned);
    let mut questions = Vec::new();
    for (group, resource, subresource, verbs, reach) in NEEDED {
        let (namespace, name) = match reach {
            Reach::Cluster => (None, None),
            Reach::Configuration => (None, flag("webhook-configuration")),
            Reach::Own => (own(), None),
            Reach::Secret => (own(), flag("certificate-secret")),
            Reach::Lease => (own(), installation.part("controller").map(ResourceExt::name_any)),
        };
        let attributes = |verb: &&str| ResourceAttributes {
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource: (!subresource.is_empty()).then(|| subresource.to_owned()),
            verb: Some((*verb).to_owned()),
            namespace: namespace.clone(),
            name: name.clone(),
            ..ResourceAttributes::default()
        };
        questions.extend(verbs.iter().map(attributes));
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
    format!("{} {}{below}", part(&question.verb), part(&question.resource))
}
