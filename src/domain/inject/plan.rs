//! Decision + pod → the changes, as a list that a person can read.

use super::{
    decide::{Decision, Verb},
    pod::Pod,
};
use crate::domain::names;

/// Where a container stands in the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerPath {
    /// `spec.containers[n]`.
    Main(usize),
    /// `spec.initContainers[n]`, a native sidecar.
    Sidecar(usize),
}

/// One intended change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Append `IPC_LOCK` to the container's `capabilities.add`.
    GrantIpcLock(ContainerPath),
    /// Write `memlock.dev/injected`.
    Record(String),
    /// Remove our status annotation, which came with a copied manifest.
    StripStatus,
    /// Remove our state label, which came with a copied manifest.
    StripState,
}

/// Lists the changes. Empty when the object already is as it should be.
#[must_use]
pub fn plan(decision: &Decision, pod: &Pod) -> Vec<Change> {
    if !decision.is_managed() {
        return Vec::new();
    }
    let mut changes: Vec<Change> =
        decision.grants.iter().filter_map(|name| locate(pod, name)).map(Change::GrantIpcLock).collect();
    if decision.verb == Verb::Inject {
        changes.push(Change::Record(record(&decision.grants)));
    }
    if pod.annotations().contains_key(names::STATUS) {
        changes.push(Change::StripStatus);
    }
    if pod.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(names::STATE)) {
        changes.push(Change::StripState);
    }
    changes
}

fn locate(pod: &Pod, name: &str) -> Option<ContainerPath> {
    let main = pod.containers().iter().position(|c| c.name == name).map(ContainerPath::Main);
    main.or_else(|| pod.sidecars().find(|(_, c)| c.name == name).map(|(n, _)| ContainerPath::Sidecar(n)))
}

/// The value of `memlock.dev/injected`: what was changed, for undoing it.
fn record(grants: &[String]) -> String {
    serde_json::json!({ "version": 1, "ipcLock": grants }).to_string()
}
