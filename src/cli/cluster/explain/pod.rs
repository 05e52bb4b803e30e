//! One pod: what was done to it and why, and what is known of its memory.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use kube::ResourceExt;
use serde_json::Value;

use super::raw;
use crate::{
    api::{SwapDevice, SwapDeviceStatus},
    cli::{
        cluster::{status::rows_of_pod, table::age},
        explain::in_words,
    },
    domain::{
        inject::{self, Agent, Delivery, Level, Settings, Verb},
        names,
    },
};

type Line = (&'static str, String);

pub(super) fn title(pod: &Pod) -> String {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let node = node.map(|node| format!(" on node {node}")).unwrap_or_default();
    format!("Pod {}/{}{node}", pod.namespace().unwrap_or_default(), pod.name_any())
}

/// What the installation says, as far as the pod shows it; without a pod, an installation with an agent.
pub(super) fn settings(injected: Option<&Pod>, level: Level) -> Settings {
    let delivered = match injected {
        None => Some(("memlock-operator".to_owned(), Delivery::InitContainer)),
        Some(pod) => copied(pod).or_else(|| mounted(pod)),
    };
    let agent = |(image, delivery)| Agent { image, pull_policy: None, delivery };
    Settings { level, agent: delivered.map(agent) }
}

fn copied(pod: &Pod) -> Option<(String, Delivery)> {
    let mut containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let ours = containers.find(|container| container.name == names::INSTALL_CONTAINER)?;
    Some((ours.image.clone()?, Delivery::InitContainer))
}

fn mounted(pod: &Pod) -> Option<(String, Delivery)> {
    let mut volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let ours = volumes.find(|volume| volume.name == names::AGENT_VOLUME)?;
    Some((ours.image.as_ref()?.reference.clone()?, Delivery::ImageVolume))
}

/// The decision on the pod as its author wrote it, and whether it was carried out.
pub(super) fn injected(pod: &Pod, level: Level) -> Vec<Line> {
    let live = raw(pod);
    let record = pod.annotations().contains_key(names::INJECTED);
    let settings = settings(record.then_some(pod), level);
    let original = match original(&live) {
        Ok(original) => original,
        Err(sentence) => return vec![("warning", sentence)],
    };
    let injection = match inject::inject(&original, &settings) {
        Ok(injection) => injection,
        Err(error) => return vec![("warning", format!("the pod cannot be read: {error}"))],
    };
    let mut lines = in_words(&original, &injection, None);
    // Our own notes of what was done, which only repeat it.
    lines.retain(|(label, text)| *label != "change" || !text.contains(names::INJECTED));
    let verb = injection.decision.verb;
    let outcome = match (record, verb) {
        (true, _) => "yes: the changes above stand in the pod",
        (false, Verb::Inject) if pod.annotations().contains_key(names::MIRROR_POD) => {
            "no: a static pod is started by the kubelet without asking; write the changes above into its manifest on the node"
        }
        (false, Verb::Inject) => {
            "no: the pod was created before the webhook was there, or while it was away; delete the pod, so that its owner creates it anew"
        }
        (false, Verb::Deny) => "no: it would be refused if it were created now",
        (false, Verb::Untouched) => "no: nothing was to be changed",
    };
    lines.push(("injected", outcome.to_owned()));
    lines
}

/// The pod without what the webhook and the controller did to it.
fn original(live: &Value) -> Result<Value, String> {
    let undo = inject::uninject(live).map_err(|error| error.to_string())?;
    let mut original = live.clone();
    json_patch::patch(&mut original, &undo)
        .map_err(|error| format!("what was injected cannot be taken back to explain it: {error}"))?;
    for (keys, written) in [("/metadata/annotations", names::STATUS), ("/metadata/labels", names::STATE)] {
        if let Some(keys) = original.pointer_mut(keys).and_then(Value::as_object_mut) {
            keys.remove(written);
        }
    }
    Ok(original)
}

/// A few lines for each container that serves the device.
pub(super) fn verdicts(pod: &Pod, devices: &[SwapDevice], only: Option<&str>, now: Timestamp) -> Vec<Line> {
    let rows = rows_of_pod(pod, devices);
    let rows = rows.iter().filter(|row| only.is_none_or(|name| row.device.spec.container == name));
    let mut lines = Vec::new();
    for row in rows {
        let condition = row.condition();
        let since = condition.map(|condition| age(now.duration_since(condition.last_transition_time.0).as_secs()));
        let container = &row.device.spec.container;
        let reason = condition.map_or("", |condition| &condition.reason);
        let since = since.map(|age| format!(", since {age}")).unwrap_or_default();
        lines.push(("verdict", format!("{container}: {:?} ({reason}){since}", row.state())));
        lines.extend(condition.map(|condition| ("because", condition.message.clone())));
        lines.extend(row.device.status.as_ref().and_then(figures));
        lines.push(("memory", memory(pod, container, row.device.status.as_ref())));
    }
    lines
}

fn figures(status: &SwapDeviceStatus) -> Option<Line> {
    let figures = [
        ("locked", &status.locked),
        ("unlocked", &status.unlocked),
        ("swapped", &status.swapped),
        ("device in use", &status.device_use),
        ("swap of the node", &status.node_swap),
    ];
    let said = figures.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?)));
    let said: Vec<String> = said.collect();
    (!said.is_empty()).then(|| ("figures", said.join(", ")))
}

/// What keeps the container's memory out of swap beside a lock, and what keeps a lock from growing.
fn memory(pod: &Pod, container: &str, status: Option<&SwapDeviceStatus>) -> String {
    let qos = pod.status.as_ref().and_then(|status| status.qos_class.as_deref()).unwrap_or("not known");
    let spec = pod.spec.as_ref();
    let containers = spec.iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    let own = containers.filter(|c| c.name == container).find_map(|c| c.resources.as_ref());
    let limit = |resources: Option<&ResourceRequirements>| resources?.limits.as_ref()?.get("memory").cloned();
    let limit = match (limit(own), limit(spec.and_then(|spec| spec.resources.as_ref()))) {
        (Some(own), Some(whole)) => format!("limit {} and {} for the whole pod", own.0, whole.0),
        (Some(own), None) => format!("limit {}", own.0),
        (None, Some(whole)) => format!("limit {} for the whole pod", whole.0),
        (None, None) => "no limit".to_owned(),
    };
    let known = |pick: fn(&SwapDeviceStatus) -> &Option<String>| status.and_then(|status| pick(status).as_deref());
    let left = known(|status| &status.memory_left).map(|left| format!(", left {left}")).unwrap_or_default();
    let swap = known(|status| &status.swap_max).unwrap_or("not known");
    format!("QoS {qos}, {limit}{left}, memory.swap.max {swap}")
}

#[cfg(test)]
#[path = "pod_tests.rs"]
mod tests;
