//! `SwapDevice`: what is said of one container that serves a swap device, for `kubectl get swapdevices`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::verdict::{Reason, State, Verdict};

/// Most bytes of `spec` and `status` together, as JSON.
pub const MAX_BYTES: usize = 1_024;

/// Which container it speaks of. Written once; the pod of the owner reference is the one that was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "memlock.dev",
    version = "v1alpha1",
    kind = "SwapDevice",
    plural = "swapdevices",
    singular = "swapdevice",
    shortname = "swapdev",
    namespaced,
    status = "SwapDeviceStatus",
    doc = "A container that serves a swap device, and whether its memory is locked. Written by memlock-operator; it goes with its pod.",
    printcolumn = r#"{"name":"Pod","type":"string","jsonPath":".spec.pod"}"#,
    printcolumn = r#"{"name":"Container","type":"string","jsonPath":".spec.container"}"#,
    printcolumn = r#"{"name":"State","type":"string","jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"Locked","type":"string","jsonPath":".status.locked"}"#,
    printcolumn = r#"{"name":"Unlocked","type":"string","jsonPath":".status.unlocked"}"#,
    printcolumn = r#"{"name":"Swapped","type":"string","jsonPath":".status.swapped"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Locked\")].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Node","type":"string","priority":1,"jsonPath":".spec.node"}"#,
    printcolumn = r#"{"name":"Device","type":"string","priority":1,"jsonPath":".spec.device"}"#,
    printcolumn = r#"{"name":"Device-Use","type":"string","priority":1,"jsonPath":".status.deviceUse"}"#,
    printcolumn = r#"{"name":"Node-Swap","type":"string","priority":1,"jsonPath":".status.nodeSwap"}"#,
    printcolumn = r#"{"name":"Message","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Locked\")].message"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct SwapDeviceSpec {
    /// Name of the pod.
    #[schemars(length(max = 253))]
    pub pod: String,
    /// Name of the container.
    #[schemars(length(max = 63))]
    pub container: String,
    /// The node that swaps to the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub node: Option<String>,
    /// The device, as the pod's annotation memlock.dev/device names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub device: Option<String>,
}

/// What the checks showed. Figures are quantities, and written only when one has moved by more than a tenth.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SwapDeviceStatus {
    /// What is known of the container's memory.
    pub state: SwapDeviceState,
    /// Beginning of the id of the container it was said of: a restarted one has another.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "containerID")]
    #[schemars(length(max = 64))]
    pub container_id: Option<String>,
    /// Locked memory of its processes, such as 202Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub locked: Option<String>,
    /// Lockable memory that is not locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub unlocked: Option<String>,
    /// Memory that is in swap now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub swapped: Option<String>,
    /// How much of the device is in use as swap, such as 40%; none where the node does not swap to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub device_use: Option<String>,
    /// Swap of the whole node, in use and in all, such as 1Gi/8Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub node_swap: Option<String>,
    /// What may still be charged to the container's memory limit, and that limit, such as 310Mi/512Mi; none without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub memory_left: Option<String>,
    /// How much of the container may be swapped (memory.swap.max), such as 0 or max; none where it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub swap_max: Option<String>,
    /// Class of service of the pod, such as Guaranteed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub qos: Option<String>,
    /// One of type Locked: True, False or Unknown, with the reason and one sentence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A condition as Kubernetes has them; `kubectl wait --for=condition=Locked swapdevice/NAME` reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it speaks of: Locked.
    #[serde(rename = "type")]
    #[schemars(length(max = 64))]
    pub type_: String,
    /// True, False or Unknown.
    #[schemars(length(max = 7))]
    pub status: String,
    /// Why, in one word.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// What, why and what to do, in one sentence.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// Since when the status is this.
    pub last_transition_time: Time,
}

/// The words of the column State.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SwapDeviceState {
    /// Pages are in swap now.
    Swapped,
    /// Nothing is locked.
    Unlocked,
    /// Something is locked, not all.
    Partial,
    /// It could not be checked.
    #[default]
    Unknown,
    /// Not running, or not checked since it started.
    Pending,
    /// The same, and the webhook did not do its part.
    NotInjected,
    /// Everything that can be locked is, and none of it is in swap.
    Locked,
}

impl From<&Verdict> for SwapDeviceState {
    fn from(verdict: &Verdict) -> Self {
        match verdict.state {
            _ if verdict.reason == Reason::NotInjected => Self::NotInjected,
            State::Swapped => Self::Swapped,
            State::Unlocked => Self::Unlocked,
            State::Partial => Self::Partial,
            State::Unknown => Self::Unknown,
            State::Pending => Self::Pending,
            State::Locked => Self::Locked,
        }
    }
}
