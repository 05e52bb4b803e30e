//! The parts of a pod that a decision reads.
//!
//! Only ever read: the object itself is patched, never written back from here,
//! so that fields this product has not heard of survive.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::domain::intent::Annotations;

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
    /// Where it is created.
    pub namespace: Option<String>,
    /// The stem from which the API server makes a name.
    pub generate_name: Option<String>,
    /// Absent and `null` are the same to Kubernetes.
    #[serde(default, deserialize_with = "texts")]
    pub annotations: Option<Annotations>,
    /// As above.
    #[serde(default, deserialize_with = "texts")]
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
    /// `false`: no token is mounted by the API server; absent: the account says whether.
    pub automount_service_account_token: Option<bool>,
    /// The containers see each other's processes, and none of them is number 1.
    pub share_process_namespace: Option<bool>,
    /// They see those of the node.
    #[serde(rename = "hostPID")]
    pub host_pid: Option<bool>,
    /// `windows` has no capabilities.
    pub os: Option<Os>,
    /// Defaults for the containers.
    pub security_context: Option<PodSecurityContext>,
    /// Where files come from.
    pub volumes: Option<Vec<Volume>>,
    /// Conditions that Ready waits for.
    pub readiness_gates: Option<Vec<ReadinessGate>>,
}

/// `spec.volumes[]`, of which only ours is looked at.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Volume {
    /// Unique in the pod.
    #[serde(default)]
    pub name: String,
    /// An image as a volume (KEP-4639).
    pub image: Option<serde::de::IgnoredAny>,
}

/// `spec.readinessGates[]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadinessGate {
    /// Type of the pod condition.
    #[serde(default)]
    pub condition_type: String,
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
    /// The program; absent: the image's own.
    pub command: Option<Vec<String>>,
    /// Environment variables, in order; the last of a name wins.
    pub env: Option<Vec<EnvVar>>,
    /// Sources of whole sets of variables.
    pub env_from: Option<Vec<serde::de::IgnoredAny>>,
    /// Volumes of the pod.
    pub volume_mounts: Option<Vec<VolumeMount>>,
    /// Requests and limits.
    pub resources: Option<Resources>,
    /// File whose content becomes the message of a failure; default `/dev/termination-log`.
    pub termination_message_path: Option<String>,
    /// Run again and again while the container runs.
    pub liveness_probe: Option<Probe>,
    /// As above.
    pub readiness_probe: Option<Probe>,
    /// As above, until it passes.
    pub startup_probe: Option<Probe>,
    /// The container's own settings win over the pod's.
    pub security_context: Option<SecurityContext>,
}

/// `containers[].env[]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its literal value.
    pub value: Option<String>,
    /// Where its value is read from.
    pub value_from: Option<serde::de::IgnoredAny>,
}

/// `containers[].volumeMounts[]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeMount {
    /// The volume.
    #[serde(default)]
    pub name: String,
    /// Where it is seen in the container.
    #[serde(default)]
    pub mount_path: String,
}

/// `containers[].resources`; quantities are numbers or text.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Resources {
    /// By resource.
    pub requests: Option<BTreeMap<String, Value>>,
    /// By resource.
    pub limits: Option<BTreeMap<String, Value>>,
}

/// A probe, of which only the kind matters.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Probe {
    /// A program that the kubelet starts in the container.
    pub exec: Option<serde::de::IgnoredAny>,
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

/// A key without a value (`key:` in YAML) is an empty text, as for Go's decoder, with which the API server reads.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    let texts = Option::<BTreeMap<String, Option<String>>>::deserialize(deserializer)?;
    Ok(texts.map(|texts| texts.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect()))
}
