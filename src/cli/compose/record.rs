//! Labels and annotations of a service, in either of their two forms, and the record of what was changed.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::domain::{intent::Annotations, names};

/// What stood there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) version: u8,
    /// `IPC_LOCK` was added to `cap_add`; `true`: the list was made for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cap_add_made: Option<bool>,
    /// `ulimits.memlock` was written over this; `null`: there was none.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "nested")]
    pub(super) memlock: Option<Value>,
    /// `ulimits` was made for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) ulimits_made: bool,
}

/// `Some(Null)` is not `None`.
mod nested {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    #[allow(clippy::ref_option, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(value: &Option<Value>, serializer: S) -> Result<S::Ok, S::Error> {
        value.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
        Value::deserialize(deserializer).map(Some)
    }
}

impl Record {
    pub(super) const VERSION: u8 = 1;
}

/// Everything of ours that the service says, labels before annotations.
pub(super) fn keys(service: &Map<String, Value>) -> Annotations {
    let mut found = Annotations::new();
    for list in ["annotations", "labels"] {
        match service.get(list) {
            Some(Value::Object(map)) => {
                found.extend(map.iter().filter_map(|(key, value)| Some((key.clone(), text(value)?))));
            }
            Some(Value::Array(items)) => {
                let pairs = items.iter().filter_map(Value::as_str);
                found.extend(
                    pairs
                        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                        .map(|(k, v)| (k.to_owned(), v.to_owned())),
                );
            }
            _ => {}
        }
    }
    found.retain(|key, _| key.starts_with(names::PREFIX));
    found
}

/// Compose makes text of the scalars in labels.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null => Some(String::new()),
        _ => None,
    }
}

/// Writes the record where the service keeps the key by which it opted in.
pub(super) fn write(service: &mut Map<String, Value>, record: &Record) {
    let text = json!(record).to_string();
    let holds = |list: &str| match service.get(list) {
        Some(Value::Object(map)) => map.contains_key(names::SWAP_DEVICE),
        Some(Value::Array(items)) => {
            items.iter().filter_map(Value::as_str).any(|item| item.split('=').next() == Some(names::SWAP_DEVICE))
        }
        _ => false,
    };
    let list = if holds("annotations") && !holds("labels") { "annotations" } else { "labels" };
    match service.get_mut(list) {
        Some(Value::Object(map)) => {
            map.insert(names::INJECTED.to_owned(), Value::String(text));
        }
        Some(Value::Array(items)) => items.push(Value::String(format!("{}={text}", names::INJECTED))),
        _ => {}
    }
}

/// Takes the record away wherever it stands.
pub(super) fn erase(service: &mut Map<String, Value>) {
    for list in ["annotations", "labels"] {
        match service.get_mut(list) {
            Some(Value::Object(map)) => {
                map.remove(names::INJECTED);
            }
            Some(Value::Array(items)) => {
                items.retain(|item| item.as_str().and_then(|item| item.split('=').next()) != Some(names::INJECTED));
            }
            _ => {}
        }
    }
}
