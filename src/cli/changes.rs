//! A patch in words: `adds IPC_LOCK to spec.containers[ublk].securityContext.capabilities.add`.

use std::fmt::Write as _;

use json_patch::{Patch, PatchOperation, jsonptr::PointerBuf};
use serde_json::Value;

/// One line an operation, with the containers named as they are when it is applied.
pub(super) fn in_words(raw: &Value, patch: &Patch) -> Vec<String> {
    let mut object = raw.clone();
    let mut lines = Vec::new();
    for operation in &patch.0 {
        lines.extend(line(&object, operation));
        // What does not apply is said by whoever applies it for good.
        if json_patch::patch(&mut object, std::slice::from_ref(operation)).is_err() {
            break;
        }
    }
    lines
}

fn line(object: &Value, operation: &PatchOperation) -> Option<String> {
    match operation {
        // A parent that only makes room for the next operation says nothing by itself.
        PatchOperation::Add(add) if is_empty(&add.value) => None,
        PatchOperation::Add(add) => match split(object, &add.path) {
            (list, true) => Some(format!("adds {} to {list}", short(&add.value))),
            (path, false) => Some(format!("adds {path}: {}", short(&add.value))),
        },
        PatchOperation::Replace(replace) => {
            Some(format!("sets {} to {}", split(object, &replace.path).0, short(&replace.value)))
        }
        PatchOperation::Remove(remove) => Some(format!("removes {}", split(object, &remove.path).0)),
        _ => None,
    }
}

/// The path with names for numbers, and whether it names a new place in a list, which is then left out.
fn split(object: &Value, path: &PointerBuf) -> (String, bool) {
    let mut text = String::new();
    let mut at = Some(object);
    let mut tokens = path.tokens().peekable();
    while let Some(token) = tokens.next() {
        let token = token.decoded().into_owned();
        if let Some(list) = at.and_then(Value::as_array) {
            let item = token.parse::<usize>().ok().and_then(|index| list.get(index));
            if tokens.peek().is_none() && (item.is_none() || token == "-" || text.ends_with("initContainers")) {
                return (text, true);
            }
            let name = item.and_then(|item| item.get("name")).and_then(Value::as_str).unwrap_or(&token);
            let _ = write!(text, "[{name}]");
            at = item;
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(&token);
            at = at.and_then(|object| object.get(&token));
        }
    }
    (text, false)
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

/// A name where there is one, else the value on one line.
fn short(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(map) if map.contains_key("image") => {
            format!("container {}", map.get("name").and_then(Value::as_str).unwrap_or_default())
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn containers_are_named_and_parents_left_out() {
        let raw = json!({ "spec": { "containers": [{ "name": "a" }, { "name": "ublk", "command": ["x"] }] } });
        let patch = serde_json::from_value(json!([
            { "op": "add", "path": "/spec/containers/1/securityContext", "value": {} },
            { "op": "add", "path": "/spec/containers/1/securityContext/capabilities", "value": { "add": ["IPC_LOCK"] } },
            { "op": "add", "path": "/spec/containers/1/env", "value": [] },
            { "op": "add", "path": "/spec/containers/1/env/-", "value": { "name": "A", "value": "b" } },
            { "op": "replace", "path": "/spec/containers/1/command", "value": ["/memlock/memlock", "x"] },
            { "op": "add", "path": "/spec/initContainers", "value": [{ "name": "init", "image": "i" }] },
            { "op": "add", "path": "/spec/initContainers/0", "value": { "name": "memlock-init", "image": "i" } },
            { "op": "remove", "path": "/spec/containers/0" },
        ])).unwrap();
        assert_eq!(
            in_words(&raw, &patch),
            [
                r#"adds spec.containers[ublk].securityContext.capabilities: {"add":["IPC_LOCK"]}"#,
                r#"adds {"name":"A","value":"b"} to spec.containers[ublk].env"#,
                r#"sets spec.containers[ublk].command to ["/memlock/memlock","x"]"#,
                r#"adds spec.initContainers: [{"image":"i","name":"init"}]"#,
                "adds container memlock-init to spec.initContainers",
                "removes spec.containers[a]",
            ]
        );
    }
}
