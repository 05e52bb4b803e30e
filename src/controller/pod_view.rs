//! The parts of a watched pod that the controller reads, out of some tens of kB.

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use serde::{Deserialize, Deserializer, Serialize};

use super::status::short_id;
use crate::domain::names;

/// A pod, slim. Watched under the name of the real kind.
#[derive(Debug, Clone, Resource, Serialize, Deserialize)]
#[resource(inherit = Pod)]
pub(super) struct PodView {
    #[serde(deserialize_with = "slim_metadata")]
    pub(super) metadata: ObjectMeta,
    #[serde(default)]
    pub(super) spec: Spec,
    #[serde(default)]
    pub(super) status: Status,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    /// Where it runs; `None`: not scheduled yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) node_name: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) containers: Vec<Container>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) init_containers: Vec<Container>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) runtime_class_name: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) readiness_gates: Vec<ReadinessGate>,
    /// For all containers together (Kubernetes 1.34 and later).
    #[serde(skip_serializing_if = "Resources::is_empty")]
    pub(super) resources: Resources,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ReadinessGate {
    pub(super) condition_type: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Container {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) restart_policy: Option<String>,
    #[serde(skip_serializing_if = "Resources::is_empty")]
    pub(super) resources: Resources,
    /// The first word; the rest, and `args`, are not kept.
    #[serde(deserialize_with = "first_word", skip_serializing_if = "Vec::is_empty")]
    pub(super) command: Vec<String>,
    /// The agent's alone.
    #[serde(deserialize_with = "agent_mounts", skip_serializing_if = "Vec::is_empty")]
    pub(super) volume_mounts: Vec<VolumeMount>,
    #[serde(skip_serializing_if = "SecurityContext::is_plain")]
    pub(super) security_context: SecurityContext,
}

/// One bit of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "RawSecurityContext")]
pub(super) struct SecurityContext {
    /// Asks for the capability, in a spelling that works on every runtime.
    pub(super) may_lock: bool,
}

impl SecurityContext {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    fn is_plain(&self) -> bool {
        !self.may_lock
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawSecurityContext {
    /// As we write it ourselves; Kubernetes has no such field.
    may_lock: bool,
    privileged: Option<bool>,
    capabilities: Option<Capabilities>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Capabilities {
    add: Option<Vec<String>>,
    drop: Option<Vec<String>>,
}

impl From<RawSecurityContext> for SecurityContext {
    fn from(raw: RawSecurityContext) -> Self {
        let Capabilities { add, drop } = raw.capabilities.unwrap_or_default();
        let adds = |name: &str| add.iter().flatten().any(|entry| entry.eq_ignore_ascii_case(name));
        let dropped = drop.iter().flatten().any(|entry| names::bare_capability(entry) == names::IPC_LOCK);
        Self {
            may_lock: raw.may_lock
                || raw.privileged == Some(true)
                || !dropped && (adds(names::IPC_LOCK) || adds("ALL")),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct VolumeMount {
    pub(super) name: String,
    pub(super) mount_path: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Resources {
    pub(super) limits: Limits,
}

impl Resources {
    fn is_empty(&self) -> bool {
        self.limits.memory.is_none()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) phase: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) qos_class: Option<String>,
    /// Ours alone.
    #[serde(deserialize_with = "our_conditions", skip_serializing_if = "Vec::is_empty")]
    pub(super) conditions: Vec<Condition>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) container_statuses: Vec<ContainerStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) type_: String,
    pub(super) status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_transition_time: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "RawContainerStatus")]
pub(super) struct ContainerStatus {
    pub(super) name: String,
    #[serde(rename = "containerID", skip_serializing_if = "Option::is_none")]
    pub(super) container_id: Option<String>,
    pub(super) state: ContainerState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) killed: Option<Killed>,
}

/// The last run of a container that was ended by SIGKILL, for want of memory perhaps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Killed {
    /// Beginning of its id.
    pub(super) id: String,
    /// The kubelet says that memory was the reason. It may learn that too late, and then says no more than the signal.
    pub(super) oom: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawContainerStatus {
    name: String,
    #[serde(rename = "containerID")]
    container_id: Option<String>,
    state: RawState,
    last_state: RawState,
    /// As we write it ourselves; Kubernetes has no such field.
    killed: Option<Killed>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawState {
    running: Option<Running>,
    terminated: Option<Terminated>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Terminated {
    #[serde(rename = "containerID")]
    container_id: Option<String>,
    exit_code: i32,
    reason: Option<String>,
}

impl Terminated {
    fn killed(self) -> Option<Killed> {
        /// 128 and SIGKILL.
        const KILLED: i32 = 137;
        let oom = self.reason.as_deref() == Some("OOMKilled");
        let id = self.container_id.filter(|_| oom || self.exit_code == KILLED)?;
        Some(Killed { id: short_id(&id), oom })
    }
}

impl From<RawContainerStatus> for ContainerStatus {
    fn from(raw: RawContainerStatus) -> Self {
        let [now, before] = [raw.state.terminated, raw.last_state.terminated];
        Self {
            name: raw.name,
            container_id: raw.container_id,
            state: ContainerState { running: raw.state.running },
            killed: raw.killed.or_else(|| now.or(before)?.killed()),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ContainerState {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) running: Option<Running>,
}

/// Only that it is there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Running {}

/// `namespace/name`: what the schedule and the log know a pod by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PodKey {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl PodView {
    pub(super) fn key(&self) -> PodKey {
        PodKey {
            namespace: self.metadata.namespace.clone().unwrap_or_default(),
            name: self.metadata.name.clone().unwrap_or_default(),
        }
    }

    pub(super) fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(super) fn label(&self) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(names::STATE).map(String::as_str)
    }

    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    pub(super) fn condition(&self) -> Option<&Condition> {
        self.condition_of_type(names::LOCKED_CONDITION)
    }

    pub(super) fn condition_of_type(&self, type_: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| c.type_ == type_)
    }

    /// Its Ready waits for us; a gate cannot be taken off a running pod.
    pub(super) fn waits_for_us(&self) -> bool {
        self.spec.readiness_gates.iter().any(|gate| gate.condition_type == names::LOCK_VERIFIED_CONDITION)
    }

    /// Opted in, waiting for us or marked by us: the only pods that are kept in memory.
    pub(super) fn is_of_interest(&self) -> bool {
        let opted_in = self.annotation(names::SWAP_DEVICE).is_some_and(|v| v != "false");
        opted_in || self.waits_for_us() || self.carries_our_marks()
    }

    /// Has anything that the controller once wrote.
    pub(super) fn carries_our_marks(&self) -> bool {
        self.label().is_some() || self.annotation(names::STATUS).is_some() || self.condition().is_some()
    }
}

fn first_word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let mut command = Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default();
    command.truncate(1);
    command.shrink_to_fit();
    Ok(command)
}

fn agent_mounts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<VolumeMount>, D::Error> {
    let mut mounts = Option::<Vec<VolumeMount>>::deserialize(deserializer)?.unwrap_or_default();
    mounts.retain(|mount| mount.name == names::AGENT_VOLUME && mount.mount_path == names::AGENT_MOUNT);
    mounts.shrink_to_fit();
    Ok(mounts)
}

fn our_conditions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Condition>, D::Error> {
    let mut conditions = Option::<Vec<Condition>>::deserialize(deserializer)?.unwrap_or_default();
    conditions.retain(|condition| condition.type_.starts_with(names::PREFIX));
    conditions.shrink_to_fit();
    Ok(conditions)
}

/// `metadata` without managedFields, which is a third of a pod on the wire.
fn slim_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Slim {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        labels: Option<std::collections::BTreeMap<String, String>>,
        annotations: Option<std::collections::BTreeMap<String, String>>,
    }
    let mut slim = Slim::deserialize(deserializer)?;
    // All but the webhook's record of what it changed, the longest of them, which is for people and `uninject`.
    let ours = |key: &String| {
        key.starts_with(names::PREFIX) && key != names::INJECTED
            || key == names::DEFAULT_CONTAINER
            || key == names::MIRROR_POD
    };
    for keys in [&mut slim.labels, &mut slim.annotations].into_iter().flatten() {
        keys.retain(|key, _| ours(key));
    }
    Ok(ObjectMeta {
        name: slim.name,
        namespace: slim.namespace,
        uid: slim.uid,
        resource_version: slim.resource_version,
        labels: slim.labels.filter(|keys| !keys.is_empty()),
        annotations: slim.annotations.filter(|keys| !keys.is_empty()),
        ..ObjectMeta::default()
    })
}
