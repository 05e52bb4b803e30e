//! The chart's definition of `SwapDevice` is what the type says.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use kube::CustomResourceExt;
use memlock_operator::api::SwapDevice;
use serde_json::Value;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/memlock-operator/files/swapdevices.json");

/// `UPDATE=1` writes the file anew.
#[test]
fn the_chart_defines_what_the_type_says() {
    let text = format!("{:#}\n", serde_json::to_value(SwapDevice::crd()).unwrap());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(FILE, &text).unwrap();
    }
    let file = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        file == text,
        "charts/memlock-operator/files/swapdevices.json is not what the type says: UPDATE=1 cargo test --test crd"
    );
}

fn schema() -> Value {
    let crd = serde_json::to_value(SwapDevice::crd()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Every field below `node`, with its path.
fn fields<'a>(node: &'a Value, path: &str, found: &mut Vec<(String, &'a Value)>) {
    for (name, field) in node["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        fields(field, &path, found);
        fields(&field["items"], &path, found);
        found.push((path, field));
    }
}

/// `kubectl explain` has an answer for each, and nothing that is written can be without bound.
#[test]
fn every_field_is_described_and_bounded() {
    let schema = schema();
    let mut all = Vec::new();
    fields(&schema, "", &mut all);
    assert!(all.iter().any(|(path, _)| path == ".status.conditions.message"), "{all:?}");
    for (path, field) in all {
        assert!(field["description"].as_str().is_some_and(|text| text.len() > 5), "{path} is not described");
        let bounded = match field["type"].as_str() {
            Some("string") => ["maxLength", "enum", "format"].iter().any(|bound| field.get(bound).is_some()),
            Some("array") => field.get("maxItems").is_some(),
            _ => true,
        };
        assert!(bounded, "{path} has no bound: {field}");
    }
}
