//! The parts of a pod's text that a decision and a patch look at, as a value; the rest is passed over.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct Pod {
    #[serde(default)]
    metadata: Option<Metadata>,
    #[serde(default, deserialize_with = "present")]
    spec: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default, deserialize_with = "present")]
    name: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    namespace: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    generate_name: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    annotations: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    labels: Option<Value>,
}

/// Reads a pod.
pub(super) fn parse(json: &str) -> Result<Value, serde_json::Error> {
    let Pod { metadata, spec } = serde_json::from_str(json)?;
    let metadata = metadata.map(|of| {
        members([
            ("name", of.name),
            ("namespace", of.namespace),
            ("generateName", of.generate_name),
            ("annotations", of.annotations),
            ("labels", of.labels),
        ])
    });
    Ok(members([("metadata", metadata), ("spec", spec)]))
}

fn members<const N: usize>(all: [(&str, Option<Value>); N]) -> Value {
    let present = all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(present.collect::<Map<_, _>>())
}

/// `null` stands there, which is not the same as nothing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_nothing_looks_at_is_passed_over() {
        let pod = json!({
            "kind": "Pod", "status": {},
            "metadata": { "name": "a", "labels": null, "annotations": { "b": "c" }, "managedFields": [{}] },
            "spec": { "containers": [{ "name": "d" }], "volumes": null },
        });
        let kept = json!({
            "metadata": { "name": "a", "labels": null, "annotations": { "b": "c" } },
            "spec": { "containers": [{ "name": "d" }], "volumes": null },
        });
        assert_eq!(parse(&pod.to_string()).unwrap(), kept);
        assert_eq!(parse("{}").unwrap(), json!({}));
        assert_eq!(parse(r#"{"spec":null}"#).unwrap(), json!({ "spec": null }));
        assert!(parse(r#"{"metadata":7}"#).is_err() && parse("7").is_err());
    }
}
