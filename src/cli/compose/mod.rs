//! Compose files: a service opts in by a label or annotation, and gets what a pod would.
//!
//! Compose can raise the memory-lock limit, which Kubernetes cannot: so a service that does not run as root is helped too.

mod record;
mod service;

use serde_json::Value;

use super::manifest::node::{Kind, Node};

/// What was done for one service; the sentences are warnings, or refusals.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) name: String,
    /// JSON pointer to it.
    pub(super) pointer: String,
    pub(super) refused: bool,
    pub(super) sentences: Vec<String>,
    /// What changes, in words.
    pub(super) changes: Vec<String>,
}

/// A mapping with `services`, which no Kubernetes object has at the top.
pub(super) fn is_compose(node: &Node) -> bool {
    let services = node.get("services").is_some_and(|services| matches!(services.content().kind, Kind::Mapping { .. }));
    services && node.get("apiVersion").is_none() && node.get("kind").is_none()
}

/// Gives every service that opted in what it needs.
pub(super) fn inject(file: &mut Value) -> Vec<Service> {
    each(file, service::inject)
}

/// Takes back what [`inject`] did.
pub(super) fn uninject(file: &mut Value) -> Vec<Service> {
    each(file, service::uninject)
}

fn each(file: &mut Value, act: fn(&str, &mut serde_json::Map<String, Value>) -> service::Outcome) -> Vec<Service> {
    let Some(services) = file.get_mut("services").and_then(Value::as_object_mut) else { return Vec::new() };
    let mut done = Vec::new();
    for (name, value) in services {
        let Some(value) = value.as_object_mut() else { continue };
        let outcome = act(name, value);
        if outcome.is_nothing() {
            continue;
        }
        let pointer = format!("/services/{}", name.replace('~', "~0").replace('/', "~1"));
        let service::Outcome { refused, sentences, changes, .. } = outcome;
        done.push(Service { name: name.clone(), pointer, refused, sentences, changes });
    }
    done
}

#[cfg(test)]
mod tests;
