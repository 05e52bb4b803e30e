//! Where an object keeps its pods.

use serde_json::Value;

/// A pod or pod template inside an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// JSON pointer to `{metadata, spec}`.
    pub(crate) pointer: String,
    /// JSON pointer to the object that carries it; the same for a Pod.
    pub(crate) owner: String,
    /// `Deployment storage/ublk`, as people name it.
    pub(crate) title: String,
}

/// The places of all pods in an object, lists opened.
pub(crate) fn places(object: &Value) -> Vec<Place> {
    let mut found = Vec::new();
    collect(object, "", None, &mut found);
    found
}

fn collect(object: &Value, at: &str, implied: Option<(&str, &str)>, found: &mut Vec<Place>) {
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    // Items of a typed list may leave kind and version to it.
    let (version, kind) = match (text("apiVersion"), text("kind"), implied) {
        (Some(version), Some(kind), _) => (version, kind),
        (version, kind, Some((own_version, own_kind))) => (version.unwrap_or(own_version), kind.unwrap_or(own_kind)),
        _ => return,
    };
    if let (Some(items), Some(of)) = (object.get("items").and_then(Value::as_array), kind.strip_suffix("List")) {
        for (n, item) in items.iter().enumerate() {
            let implied = (!of.is_empty()).then_some((version, of));
            collect(item, &format!("{at}/items/{n}"), implied, found);
        }
        return;
    }
    let Some(path) = template(version, kind) else { return };
    if object.pointer(path).is_some_and(Value::is_object) {
        let pointer = format!("{at}{path}");
        found.push(Place { pointer, owner: at.to_owned(), title: title(object, kind) });
    }
}

/// The pod's place in objects of Kubernetes' own groups; other groups may mean something else by the same kind.
fn template(version: &str, kind: &str) -> Option<&'static str> {
    let group = version.split_once('/').map_or("", |(group, _)| group);
    match (group, kind) {
        ("", "Pod") => Some(""),
        ("", "PodTemplate") => Some("/template"),
        ("", "ReplicationController")
        | ("apps" | "extensions", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("batch", "Job") => Some("/spec/template"),
        ("batch", "CronJob") => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

fn title(object: &Value, kind: &str) -> String {
    let text = |key: &str| object.pointer(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let name = text("/metadata/name").or_else(|| text("/metadata/generateName")).unwrap_or("(no name)");
    match text("/metadata/namespace") {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case("v1", "Pod", &[""])]
    #[case("apps/v1", "Deployment", &["/spec/template"])]
    #[case("apps/v1", "StatefulSet", &["/spec/template"])]
    #[case("apps/v1", "DaemonSet", &["/spec/template"])]
    #[case("apps/v1", "ReplicaSet", &["/spec/template"])]
    #[case("v1", "ReplicationController", &["/spec/template"])]
    #[case("batch/v1", "Job", &["/spec/template"])]
    #[case("batch/v1", "CronJob", &["/spec/jobTemplate/spec/template"])]
    #[case("v1", "PodTemplate", &["/template"])]
    #[case("batch.volcano.sh/v1alpha1", "Job", &[])]
    #[case("v1", "ConfigMap", &[])]
    fn kinds(#[case] version: &str, #[case] kind: &str, #[case] expected: &[&str]) {
        let object = json!({ "apiVersion": version, "kind": kind, "template": {},
            "spec": { "template": {}, "jobTemplate": { "spec": { "template": {} } } } });
        let found: Vec<String> = places(&object).into_iter().map(|place| place.pointer).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn lists_are_opened_whatever_they_hold() {
        let object = json!({ "apiVersion": "v1", "kind": "List", "items": [
            { "apiVersion": "v1", "kind": "Service" },
            { "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "a", "namespace": "b" } },
            { "apiVersion": "apps/v1", "kind": "DeploymentList", "items": [{ "spec": { "template": {} } }] },
            { "kind": "Nameless" },
        ]});
        let found: Vec<(String, String)> = places(&object).into_iter().map(|p| (p.pointer, p.title)).collect();
        let expected = [("/items/1", "Pod b/a"), ("/items/2/items/0/spec/template", "Deployment (no name)")];
        assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
