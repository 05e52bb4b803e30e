//! The parts of a pod that a decision reads.
//!
//! Only ever read: the object itself is patched, never written back from here,
//! so that fields this product has not heard of survive.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::domain::{intent::Annotations, names};

/// A pod as `AdmissionReview.request.object` or a manifest carries it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Pod {
    /// Names and keys.
    #[serde(default)]
    pub metadata: Metadata,
    /// Containers and security.
    #[serde(default)]
    pub spec: PodSpec,
}

/// `metadata`, without what no decision reads.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Empty for a pod that a controller creates.
    pub name: Option<String>,
    /// The stem from which the API server makes a name.
    pub generate_name: Option<String>,
    /// Absent and `null` are the same to Kubernetes.
    pub annotations: Option<Annotations>,
    /// As above.
    pub labels: Option<BTreeMap<String, String>>,
}

/// `spec`, without what no decision reads.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// The ordinary containers.
    pub containers: Option<Vec<Container>>,
    /// Among them the native sidecars.
    pub init_containers: Option<Vec<Container>>,
    /// `false`: the pod lives in a user namespace, where `IPC_LOCK` is inert.
    #[serde(rename = "hostUsers")]
    pub host_users: Option<bool>,
    /// `windows` has no capabilities.
    pub os: Option<Os>,
    /// Defaults for the containers.
    pub security_context: Option<PodSecurityContext>,
}

/// `spec.os`.
#[derive(Debug, Clone, Deserialize)]
pub struct Os {
    /// `linux` or `windows`.
    pub name: String,
}

/// `spec.securityContext`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSecurityContext {
    /// Uid of every container that does not say its own.
    pub run_as_user: Option<i64>,
    /// The kubelet refuses uid 0.
    pub run_as_non_root: Option<bool>,
}

/// One container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Unique within the pod.
    #[serde(default)]
    pub name: String,
    /// `Always` makes an init container a native sidecar (KEP-753).
    pub restart_policy: Option<String>,
    /// The container's own settings win over the pod's.
    pub security_context: Option<SecurityContext>,
}

/// `containers[].securityContext`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityContext {
    /// Every capability.
    pub privileged: Option<bool>,
    /// Uid of the first process.
    pub run_as_user: Option<i64>,
    /// The kubelet refuses uid 0.
    pub run_as_non_root: Option<bool>,
    /// Changes to the runtime's default set.
    pub capabilities: Option<Capabilities>,
}

/// `containers[].securityContext.capabilities`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Capabilities {
    /// Added to the runtime's defaults.
    pub add: Option<Vec<String>>,
    /// Taken away; a name here wins over `add` in containerd and CRI-O.
    pub drop: Option<Vec<String>>,
}

impl Pod {
    /// Annotations, empty when there are none.
    #[must_use]
    pub fn annotations(&self) -> &Annotations {
        const NONE: &Annotations = &Annotations::new();
        self.metadata.annotations.as_ref().unwrap_or(NONE)
    }

    /// `name`, else the stem of the name to come.
    #[must_use]
    pub fn display_name(&self) -> &str {
        let given = |name: &'_ Option<String>| name.as_deref().is_some_and(|n| !n.is_empty());
        let chosen = if given(&self.metadata.name) { &self.metadata.name } else { &self.metadata.generate_name };
        chosen.as_deref().unwrap_or_default()
    }

    /// The API server's reflection of a static pod.
    #[must_use]
    pub fn is_mirror(&self) -> bool {
        self.annotations().contains_key(names::MIRROR_POD)
    }

    pub(super) fn containers(&self) -> &[Container] {
        self.spec.containers.as_deref().unwrap_or_default()
    }

    pub(super) fn sidecars(&self) -> impl Iterator<Item = (usize, &Container)> {
        let all = self.spec.init_containers.as_deref().unwrap_or_default();
        all.iter().enumerate().filter(|(_, c)| c.restart_policy.as_deref() == Some("Always"))
    }
}

impl Container {
    pub(super) fn capabilities(&self) -> Option<&Capabilities> {
        self.security_context.as_ref()?.capabilities.as_ref()
    }

    /// Only a spelling that works on every runtime: containerd upper-cases and
    /// prefixes, so that its `CAP_IPC_LOCK` becomes `CAP_CAP_IPC_LOCK` and is lost.
    pub(super) fn adds(&self, capability: &str) -> bool {
        let added = self.capabilities().and_then(|c| c.add.as_deref()).unwrap_or_default();
        added.iter().any(|entry| entry.eq_ignore_ascii_case(capability))
    }

    /// Any spelling: CRI-O honours the prefix, and a dropped capability cannot be had back.
    pub(super) fn drops(&self, capability: &str) -> bool {
        let dropped = self.capabilities().and_then(|c| c.drop.as_deref()).unwrap_or_default();
        dropped.iter().any(|entry| {
            let upper = entry.to_ascii_uppercase();
            upper.strip_prefix("CAP_").unwrap_or(&upper) == capability
        })
    }

    pub(super) fn is_privileged(&self) -> bool {
        self.security_context.as_ref().and_then(|s| s.privileged) == Some(true)
    }

    /// The image's own USER cannot be seen here: `false` also means "not known".
    pub(super) fn is_known_non_root(&self, pod: &Pod) -> bool {
        let own = self.security_context.as_ref();
        let defaults = pod.spec.security_context.as_ref();
        let uid = own.and_then(|s| s.run_as_user).or_else(|| defaults.and_then(|s| s.run_as_user));
        let non_root = own.and_then(|s| s.run_as_non_root).or_else(|| defaults.and_then(|s| s.run_as_non_root));
        uid.map_or(non_root == Some(true), |uid| uid != 0)
    }
}
