//! Pods and the `SwapDevices` that speak of them → what is shown.
//!
//! A verdict of another pod of the name, or of a container that was restarted since, is not shown as one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{ContainerStatus, Pod},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::ResourceExt;
use serde::Deserialize;

use crate::{
    api::{Condition, SwapDevice, SwapDeviceSpec, SwapDeviceState, SwapDeviceStatus},
    domain::{
        intent::{self, Annotations},
        names,
    },
};

/// One line of the table.
#[derive(Debug, Clone)]
pub(in crate::cli::cluster) struct Row {
    /// As the cluster holds it, or what would be true to say.
    pub(in crate::cli::cluster) device: SwapDevice,
    /// Whether the cluster holds an object of the name.
    pub(in crate::cli::cluster) exists: bool,
}

impl Row {
    pub(in crate::cli::cluster) fn namespace(&self) -> &str {
        self.device.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub(in crate::cli::cluster) fn state(&self) -> SwapDeviceState {
        self.device.status.as_ref().map(|status| status.state).unwrap_or_default()
    }

    pub(in crate::cli::cluster) fn condition(&self) -> Option<&Condition> {
        self.device.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == LOCKED)
    }
}

/// Type of the condition in a `SwapDevice`.
const LOCKED: &str = "Locked";

/// What the controller wrote into the pod's annotation.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OnPod {
    containers: BTreeMap<String, OnPodContainer>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OnPodContainer {
    state: String,
    id: String,
    #[serde(rename = "lockedKiB")]
    locked: Option<u64>,
    #[serde(rename = "unlockedKiB")]
    unlocked: Option<u64>,
    #[serde(rename = "swappedKiB")]
    swapped: Option<u64>,
}

/// Whether the controller takes care of the pod: it opted in, or its Ready waits for us.
pub(in crate::cli::cluster) fn is_managed(metadata: &ObjectMeta) -> bool {
    let annotation = metadata.annotations.as_ref().and_then(|annotations| annotations.get(names::SWAP_DEVICE));
    annotation.is_some_and(|value| value != "false")
}

/// The rows of one pod, one a container that serves a device; none where it did not opt in.
pub(in crate::cli::cluster) fn rows_of_pod(pod: &Pod, devices: &[SwapDevice]) -> Vec<Row> {
    if !is_managed(&pod.metadata) {
        return Vec::new();
    }
    let own: Vec<&SwapDevice> = devices.iter().filter(|device| speaks_of(device, pod)).collect();
    let containers = match chosen(pod) {
        Ok(containers) => containers,
        Err(sentence) => return vec![told(pod, None, SwapDeviceState::Unknown, "CannotCheck", &sentence)],
    };
    let row = |container: String| {
        let device = own.iter().find(|device| device.spec.container == container);
        match device {
            Some(device) => checked(pod, device),
            None => unreported(pod, &container),
        }
    };
    containers.into_iter().map(row).collect()
}

/// Where the pods may not be read: what the cluster holds.
pub(super) fn rows_of_devices(devices: Vec<SwapDevice>) -> Vec<Row> {
    devices.into_iter().map(|device| Row { device, exists: true }).collect()
}

fn speaks_of(device: &SwapDevice, pod: &Pod) -> bool {
    let owners = device.metadata.owner_references.as_deref().unwrap_or_default();
    let same_name = device.namespace() == pod.namespace() && device.spec.pod == pod.name_any();
    same_name && owners.iter().all(|owner| Some(&owner.uid) == pod.metadata.uid.as_ref())
}

fn chosen(pod: &Pod) -> Result<Vec<String>, String> {
    let annotations: &Annotations = pod.annotations();
    let Some(spec) = &pod.spec else { return Ok(Vec::new()) };
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let known: Vec<&str> = spec.containers.iter().chain(sidecars).map(|container| container.name.as_str()).collect();
    let intent = match intent::parse(annotations) {
        Ok(Some(intent)) => intent,
        Ok(None) => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let targets = intent.targets(annotations, &known).map_err(|error| error.to_string())?;
    Ok(targets.into_iter().map(str::to_owned).collect())
}

fn status_of<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    all.into_iter().find(|status| status.name == container)
}

/// The id of the container as it runs now, without its scheme.
fn running_id<'a>(pod: &'a Pod, container: &str) -> Option<&'a str> {
    let status = status_of(pod, container)?;
    status.state.as_ref()?.running.as_ref()?;
    Some(bare(status.container_id.as_deref()?))
}

fn bare(id: &str) -> &str {
    id.rsplit("://").next().unwrap_or(id)
}

/// What keeps the container from running, or nothing.
fn stopped(pod: &Pod, container: &str) -> Option<(SwapDeviceState, &'static str, String)> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        let sentence = "the pod has finished; its memory is no longer checked".to_owned();
        return Some((SwapDeviceState::Unknown, "Terminated", sentence));
    }
    if running_id(pod, container).is_some() {
        return None;
    }
    let waiting =
        status_of(pod, container).and_then(|status| status.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
    let why = waiting.map(|reason| format!(" ({reason})")).unwrap_or_default();
    Some((
        SwapDeviceState::Pending,
        "Pending",
        format!("container {container} is not running{why}; it is checked as soon as it runs"),
    ))
}

fn checked(pod: &Pod, device: &SwapDevice) -> Row {
    let container = &device.spec.container;
    let status = device.status.as_ref();
    let is_verdict = status.is_some_and(|status| condition_status(status.state) != "Unknown");
    let outdated = || {
        let id = status.and_then(|status| status.container_id.as_deref()).map(bare);
        let running = running_id(pod, container);
        !id.zip(running).is_some_and(|(id, running)| !id.is_empty() && running.starts_with(id))
    };
    match stopped(pod, container) {
        Some((state, reason, sentence)) if is_verdict => told(pod, Some(device), state, reason, &sentence),
        None if is_verdict && outdated() => told(pod, Some(device), SwapDeviceState::Unknown, "Outdated", OUTDATED),
        None if status.is_none() => told(pod, Some(device), SwapDeviceState::Unknown, "NotChecked", NOT_CHECKED),
        _ => Row { device: device.clone(), exists: true },
    }
}

const OUTDATED: &str = "the last verdict is of a container that was restarted since; the controller looks within seconds, and if this stays see whether it runs with kubectl memlock check";
const NOT_CHECKED: &str =
    "the controller has not looked yet; if this stays see whether it runs with kubectl memlock check";

/// No `SwapDevice` speaks of it: what stands on the pod itself, where that is of the container that runs now.
fn unreported(pod: &Pod, container: &str) -> Row {
    let fresh = |state, reason: &str, sentence: &str| {
        let mut row = told(pod, None, state, reason, sentence);
        container.clone_into(&mut row.device.spec.container);
        row.device.metadata.name = Some(format!("{}.{container}", pod.name_any()));
        row
    };
    if let Some((state, reason, sentence)) = stopped(pod, container) {
        return fresh(state, reason, &sentence);
    }
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let condition = conditions.iter().find(|condition| condition.type_ == names::LOCKED_CONDITION);
    let Some(condition) = condition else { return fresh(SwapDeviceState::Unknown, "NotChecked", NOT_CHECKED) };
    let reason = condition.reason.as_deref().unwrap_or("CannotCheck");
    let message = condition.message.as_deref().unwrap_or_default();
    let text = pod.annotations().get(names::STATUS).map(String::as_str).unwrap_or_default();
    let on_pod: OnPod = serde_json::from_str(text).unwrap_or_default();
    match on_pod.containers.get(container) {
        Some(said) if running_id(pod, container).is_some_and(|id| !said.id.is_empty() && id.starts_with(&said.id)) => {
            let mut row = fresh(state(&said.state), reason, message);
            if let Some(status) = &mut row.device.status {
                status.locked = said.locked.map(quantity);
                status.unlocked = said.unlocked.map(quantity);
                status.swapped = said.swapped.map(quantity);
                for (ours, since) in status.conditions.iter_mut().zip(&condition.last_transition_time) {
                    ours.last_transition_time = since.clone();
                }
            }
            row
        }
        Some(_) => fresh(SwapDeviceState::Unknown, "Outdated", OUTDATED),
        // Without figures only what claims nothing can be taken over.
        None if condition.status == "Unknown" => fresh(SwapDeviceState::Unknown, reason, message),
        None => fresh(SwapDeviceState::Unknown, "NotChecked", NOT_CHECKED),
    }
}

/// By the words of the label `memlock.dev/state`.
fn state(label: &str) -> SwapDeviceState {
    match label {
        "swapped" => SwapDeviceState::Swapped,
        "unlocked" => SwapDeviceState::Unlocked,
        "partial" => SwapDeviceState::Partial,
        "pending" => SwapDeviceState::Pending,
        "locked" => SwapDeviceState::Locked,
        _ => SwapDeviceState::Unknown,
    }
}

/// kB as a quantity, rounded as little as three digits allow.
fn quantity(kb: u64) -> String {
    match kb {
        0 => "0".to_owned(),
        1..10_240 => format!("{kb}Ki"),
        _ => format!("{}Mi", kb.saturating_add(512) / 1024),
    }
}

/// What we say ourselves, in place of the object if there is one.
fn told(pod: &Pod, device: Option<&SwapDevice>, state: SwapDeviceState, reason: &str, message: &str) -> Row {
    let metadata = ObjectMeta {
        name: Some(pod.name_any()),
        namespace: pod.namespace(),
        creation_timestamp: pod.metadata.creation_timestamp.clone(),
        ..ObjectMeta::default()
    };
    let spec = SwapDeviceSpec {
        pod: pod.name_any(),
        container: String::new(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        device: pod.annotations().get(names::DEVICE).cloned(),
    };
    let fresh = || SwapDevice { metadata, spec, status: None };
    let mut row = Row { device: device.cloned().unwrap_or_else(fresh), exists: device.is_some() };
    let condition = Condition {
        type_: LOCKED.to_owned(),
        status: condition_status(state).to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: pod.metadata.creation_timestamp.clone().unwrap_or(Time(Timestamp::UNIX_EPOCH)),
    };
    row.device.status = Some(SwapDeviceStatus { state, conditions: vec![condition], ..SwapDeviceStatus::default() });
    row
}

fn condition_status(state: SwapDeviceState) -> &'static str {
    match state {
        SwapDeviceState::Locked => "True",
        SwapDeviceState::Swapped | SwapDeviceState::Unlocked | SwapDeviceState::Partial => "False",
        _ => "Unknown",
    }
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
