//! `memlock.dev/injected`: what cannot be seen in the object and is needed to undo.
//!
//! What can be seen there (init containers, volume, launcher, library) is recognised, not recorded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    patch::locate,
    pod::{Container, Pod},
};
use crate::domain::names;

/// What stood where a parent had to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Was {
    Absent,
    Null,
}

/// Parents that were made, by their path below the pod or container, parts joined by `/`.
pub(super) type Made = BTreeMap<String, Was>;

/// The annotation's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    /// Of this form; another one is not read.
    pub(super) version: u8,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) containers: BTreeMap<String, ContainerRecord>,
    #[serde(default, skip_serializing_if = "Made::is_empty")]
    pub(super) made: Made,
    /// The readiness gate is ours.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) gate: bool,
    /// Annotations of ours besides this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) annotations: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContainerRecord {
    /// Added to `capabilities.add`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) capabilities: Vec<String>,
    #[serde(default, skip_serializing_if = "Made::is_empty")]
    pub(super) made: Made,
}

impl ContainerRecord {
    fn keep_borne_out(&mut self, container: &Container) {
        let granted = [names::IPC_LOCK, names::SYS_RESOURCE];
        self.capabilities.retain(|capability| granted.contains(&capability.as_str()) && container.adds(capability));
        self.made.retain(|path, _| match path.split('/').next() {
            Some("securityContext") => !self.capabilities.is_empty(),
            Some("volumeMounts") => container.has_mount(),
            Some("env") => container.has_preload(),
            _ => false,
        });
    }
}

const VERSION: u8 = 1;

impl Record {
    pub(super) fn empty() -> Self {
        Self { version: VERSION, containers: BTreeMap::new(), made: Made::new(), gate: false, annotations: Vec::new() }
    }

    /// What an earlier run wrote; `None` where nothing of this form stands.
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().filter(|record: &Self| record.version == VERSION)
    }

    /// What of it the object bears out. The rest is no injection's: anybody can write a record, and what others have
    /// taken away since is not there to be taken back.
    pub(super) fn borne_out(mut self, pod: &Pod) -> Self {
        self.containers.retain(|name, claim| {
            let Some((_, _, container)) = locate(pod, name) else { return false };
            claim.keep_borne_out(container);
            *claim != ContainerRecord::default()
        });
        self.gate &= pod.has_gate();
        let ours = |key: &str| key == names::CONTAINERS || key.starts_with(names::NRI_ULIMITS);
        self.annotations.retain(|key| ours(key) && pod.annotations().contains_key(key));
        self.made.retain(|path, _| match path.as_str() {
            "spec/volumes" => pod.has_own_volume(),
            "spec/initContainers" => pod.init_containers().iter().any(Container::is_ours),
            "spec/readinessGates" => self.gate,
            _ => false,
        });
        self
    }

    /// Adds what an earlier run wrote and this one did not do again.
    pub(super) fn after(mut self, earlier: Self) -> Self {
        for (name, container) in earlier.containers {
            let mine = self.containers.entry(name).or_default();
            mine.capabilities.splice(0..0, container.capabilities);
            mine.made.extend(container.made);
        }
        self.made.extend(earlier.made);
        self.gate |= earlier.gate;
        self.annotations.splice(0..0, earlier.annotations);
        self
    }

    pub(super) fn to_text(&self) -> String {
        serde_json::json!(self).to_string()
    }
}
