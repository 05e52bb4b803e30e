//! The webhook configuration: which namespaces are served, and as what.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration},
    core::v1::Namespace,
};
use kube::{
    Api, ResourceExt,
    api::ListParams,
    core::{PartialObjectMeta, Selector, SelectorExt},
};

use super::{
    finding::{Finding, Mark},
    installation::{Installation, OURS},
    readable,
};
use crate::{
    cli::cluster::{connect::Cluster, failure::Failure},
    domain::inject::Level,
};

const CHECK: &str = "configuration";
/// The path that says the Pod Security level.
const PATH: &str = "/mutate/";

/// The webhook configuration.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) name: String,
    pub(super) entries: Vec<MutatingWebhook>,
}

/// `None`: unreadable, or not there.
pub(super) async fn read(
    cluster: &Cluster,
    installation: &Installation,
) -> Result<(Option<Serving>, Vec<Finding>), Failure> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let found = match readable(cluster.list(&api, ListParams::default().labels(OURS)).await)? {
        Ok(found) => found,
        Err(failure) => return Ok((None, vec![Finding::unreadable(CHECK, &failure)])),
    };
    let ours = |configuration: &MutatingWebhookConfiguration| {
        let mut services =
            configuration.webhooks.iter().flatten().filter_map(|entry| entry.client_config.service.as_ref());
        services.any(|service| service.namespace == installation.namespace)
    };
    let Some(configuration) = found.into_iter().find(ours) else {
        let sentence = "there is no webhook configuration, so that no pod is changed when it is created";
        let finding = Finding::new(CHECK, Mark::Wrong, sentence).remedy("put it back with helm upgrade");
        return Ok((None, vec![finding]));
    };
    let serving = Serving { name: configuration.name_any(), entries: configuration.webhooks.unwrap_or_default() };
    Ok((Some(serving), Vec::new()))
}

/// Names and labels of all namespaces; `None`: unreadable.
pub(super) async fn namespaces(cluster: &Cluster) -> Result<Option<Vec<(String, Labels)>>, Failure> {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(cluster.client.clone());
    let found = readable(cluster.list(&api, ListParams::default()).await)?;
    let with_labels = |namespace: PartialObjectMeta<Namespace>| (namespace.name_any(), namespace.labels().clone());
    Ok(found.ok().map(|namespaces| namespaces.into_iter().map(with_labels).collect()))
}

pub(super) type Labels = BTreeMap<String, String>;

impl Serving {
    /// The level that the webhook is told for a namespace; `None`: it is not called there.
    pub(super) fn level(&self, labels: &Labels) -> Option<Level> {
        let serves = |entry: &&MutatingWebhook| {
            let selector = entry.namespace_selector.clone().unwrap_or_default();
            Selector::try_from(selector).is_ok_and(|selector| selector.matches(labels))
        };
        let path = self.entries.iter().find(serves)?.client_config.service.as_ref()?.path.as_deref()?;
        path.strip_prefix(PATH)?.parse().ok()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    /// The chart's entries, as they are rendered for a cluster whose default is privileged.
    pub(in crate::cli::cluster::check) fn serving() -> Serving {
        let label = "pod-security.kubernetes.io/enforce";
        let entry = |path: &str, expression: Value| {
            let own = json!({ "key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["memlock-system", "kube-system"] });
            let service = json!({ "name": "w", "namespace": "memlock-system", "path": format!("/mutate/{path}") });
            let mut expressions = vec![own];
            expressions.extend(expression.as_array().cloned().unwrap_or_default());
            json!({ "name": "n", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "clientConfig": { "service": service }, "namespaceSelector": { "matchExpressions": expressions } })
        };
        let privileged = |operator: &str| json!({ "key": label, "operator": operator, "values": ["privileged"] });
        let entries = [
            entry("baseline", json!([{ "key": label, "operator": "Exists" }, privileged("NotIn")])),
            entry("privileged", json!([privileged("In")])),
            entry("privileged", json!([{ "key": label, "operator": "DoesNotExist" }])),
        ];
        let entries = entries.into_iter().map(|entry| serde_json::from_value(entry).unwrap()).collect();
        Serving { name: "memlock-operator".to_owned(), entries }
    }

    #[rstest]
    #[case("storage", None, Some(Level::Privileged))]
    #[case("storage", Some("privileged"), Some(Level::Privileged))]
    #[case("storage", Some("baseline"), Some(Level::Baseline))]
    #[case("storage", Some("nonsense"), Some(Level::Baseline))]
    #[case("kube-system", None, None)]
    fn a_namespace_is_served_by_the_entry_that_selects_it(
        #[case] name: &str,
        #[case] label: Option<&str>,
        #[case] expected: Option<Level>,
    ) {
        let mut labels = Labels::from([("kubernetes.io/metadata.name".to_owned(), name.to_owned())]);
        labels.extend(label.map(|value| ("pod-security.kubernetes.io/enforce".to_owned(), value.to_owned())));
        assert_eq!(serving().level(&labels), expected);
    }
}
