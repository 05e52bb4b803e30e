//! What is to stand in a `SwapDevice`, and whether it already does.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::ResourceExt;
use serde_json::json;

use super::{DeviceName, size};
use crate::{
    api::{Condition, MAX_BYTES, SwapDevice, SwapDeviceSpec, SwapDeviceState, SwapDeviceStatus},
    controller::{report::truncate, status::within_a_tenth},
    domain::{probe::SwapLimit, verdict::Verdict},
};

/// Type of the one condition.
const LOCKED: &str = "Locked";
/// Most bytes of a path below /dev/ that is shown; the definition refuses longer ones.
const MAX_DEVICE: usize = 64;

/// A container that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) pod_uid: Box<str>,
    pub(super) pod: Box<str>,
    pub(super) container: Box<str>,
    pub(super) node: Option<Box<str>>,
    pub(super) device: Option<Box<str>>,
    pub(super) qos: Option<Qos>,
    /// Beginning of its id; `None`: it does not run.
    pub(super) id: Option<Box<str>>,
}

/// `status.qosClass` of a pod, in one byte, for thousands are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Qos {
    /// `None`: a class of a later Kubernetes, which is not shown.
    pub(super) fn parse(class: &str) -> Option<Self> {
        [Self::Guaranteed, Self::Burstable, Self::BestEffort].into_iter().find(|known| known.as_str() == class)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// What is said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::controller) struct Said {
    /// Of which run of it; `None`: of none.
    pub(super) id: Option<Box<str>>,
    pub(super) verdict: Verdict,
}

impl Said {
    pub(super) fn new(id: Option<Box<str>>, mut verdict: Verdict) -> Self {
        truncate(&mut verdict.message, MAX_BYTES / 2);
        verdict.message.shrink_to_fit();
        Self { id, verdict }
    }
}

/// The object that says it. The time since the condition has its status is kept from what stands.
pub(super) fn render(
    name: &DeviceName,
    chosen: &Chosen,
    said: &Said,
    standing: Option<&Standing>,
    now: Timestamp,
) -> SwapDevice {
    let mut spec = SwapDeviceSpec {
        pod: chosen.pod.to_string(),
        container: chosen.container.to_string(),
        node: chosen.node.as_deref().map(str::to_owned),
        device: chosen.device.as_deref().map(|device| device.chars().take(MAX_DEVICE).collect()),
    };
    let verdict = &said.verdict;
    let status = verdict.state.condition_status();
    let since = standing.filter(|standing| standing.status == Truth::parse(status)).and_then(|s| s.since);
    // Whole seconds are all that the API keeps.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let figures = verdict.figures.as_ref();
    let memory = figures.and_then(|f| f.memory);
    let mut shown = SwapDeviceStatus {
        state: SwapDeviceState::from(verdict),
        container_id: said.id.as_deref().map(str::to_owned),
        locked: figures.map(|f| size::of(f.locked_kb)),
        unlocked: figures.map(|f| size::of(f.unlocked_kb)),
        swapped: figures.map(|f| size::of(f.swapped_kb)),
        device_use: figures.and_then(|f| f.device).map(|device| format!("{}%", device.percent())),
        node_swap: figures.and_then(|f| f.node_swap).map(|swap| size::share(swap.used_kb, swap.size_kb)),
        memory_left: memory.and_then(|memory| Some(size::share(memory.headroom()? >> 10, memory.limit? >> 10))),
        swap_max: memory.and_then(|memory| memory.swap).map(|limit| match limit {
            SwapLimit::Bytes(bytes) => size::of(bytes >> 10),
            SwapLimit::Unlimited => "max".to_owned(),
        }),
        qos: chosen.qos.map(|qos| qos.as_str().to_owned()),
        conditions: vec![Condition {
            type_: LOCKED.to_owned(),
            status: status.to_owned(),
            reason: verdict.reason.as_str().to_owned(),
            message: String::new(),
            last_transition_time: Time(since.unwrap_or(now)),
        }],
    };
    if MAX_BYTES < bytes(&spec, &shown) {
        spec.node = None;
    }
    let room = MAX_BYTES.saturating_sub(bytes(&spec, &shown));
    if let Some(condition) = shown.conditions.first_mut() {
        condition.message = fitting(&verdict.message, room);
    }
    let mut device = SwapDevice { metadata: kube::api::ObjectMeta::default(), spec, status: Some(shown) };
    device.metadata.name = Some(name.name.to_string());
    device.metadata.namespace = Some(name.namespace.to_string());
    device.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: chosen.pod.to_string(),
        uid: chosen.pod_uid.to_string(),
        // The controller of nothing, and nothing waits for it.
        controller: Some(false),
        block_owner_deletion: None,
    }]);
    device
}

fn bytes(spec: &SwapDeviceSpec, status: &SwapDeviceStatus) -> usize {
    json!({ "spec": spec, "status": status }).to_string().len()
}

/// As much of the text as fits into so many bytes of JSON.
fn fitting(text: &str, room: usize) -> String {
    let mut text = text.to_owned();
    loop {
        // Without the quotes, which are counted already.
        let over = json!(text).to_string().len().saturating_sub(2).saturating_sub(room);
        if over == 0 {
            return text;
        }
        // An escape takes up to six bytes of JSON for one of text.
        let shorter = text.len().saturating_sub(over.div_ceil(6) + 1);
        if shorter < 8 {
            return String::new();
        }
        truncate(&mut text, shorter);
    }
}

/// The status of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    True,
    False,
    Unknown,
}

impl Truth {
    /// `None`: none that the API knows.
    fn parse(status: &str) -> Option<Self> {
        match status {
            "True" => Some(Self::True),
            "False" => Some(Self::False),
            "Unknown" => Some(Self::Unknown),
            _ => None,
        }
    }
}

/// What is kept of an object that stands in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) uid: Box<str>,
    /// The pod that owns it.
    pub(super) owner: Option<Box<str>>,
    /// The later of two is the newer (Kubernetes compares its own as numbers); 0 where it is no number.
    pub(super) version: u64,
    /// The run of the container that it speaks of.
    pub(super) id: Option<Box<str>>,
    status: Option<Truth>,
    since: Option<Timestamp>,
    digest: Digest,
}

impl Standing {
    pub(super) fn of(device: &SwapDevice) -> Self {
        let condition = device.status.as_ref().and_then(|status| status.conditions.iter().find(|c| c.type_ == LOCKED));
        let version = device.metadata.resource_version.as_deref().and_then(|version| version.parse().ok());
        Self {
            uid: device.metadata.uid.as_deref().unwrap_or_default().into(),
            owner: device
                .owner_references()
                .iter()
                .find(|owner| owner.kind == "Pod")
                .map(|owner| owner.uid.as_str().into()),
            version: version.unwrap_or_default(),
            id: device.status.as_ref().and_then(|status| status.container_id.as_deref()).map(Into::into),
            status: condition.and_then(|condition| Truth::parse(&condition.status)),
            since: condition.map(|condition| condition.last_transition_time.0),
            digest: Digest::of(device),
        }
    }

    /// The whole content, to the letter.
    pub(super) fn content(&self) -> u64 {
        self.digest.whole
    }

    /// Whether owner and spec are the same, so that only the status is to be written.
    pub(super) fn is_headed_like(&self, wanted: &SwapDevice) -> bool {
        self.digest.head == Digest::of(wanted).head
    }

    /// Whether it says the same, with figures that have not moved by more than a tenth.
    pub(super) fn is_close_to(&self, wanted: &SwapDevice) -> bool {
        self.digest.is_close_to(&Digest::of(wanted))
    }
}

/// Hash of the whole content, as [`Standing::content`] gives it.
pub(super) fn content(device: &SwapDevice) -> u64 {
    Digest::of(device).whole
}

/// A content, short enough to be kept for every object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Digest {
    whole: u64,
    /// Owner and spec.
    head: u64,
    /// All but the figures and, beside figures, the sentence, which has them too.
    words: u64,
    /// In bytes, or [`NOT_SHOWN`].
    sizes: [u64; 3],
    /// In percent.
    device_use: Option<u8>,
    /// Of how much, in bytes, or [`NOT_SHOWN`].
    node_swap: (u64, u64),
    memory_left: (u64, u64),
}

/// A size of which an object says nothing.
const NOT_SHOWN: u64 = u64::MAX;

impl Digest {
    fn of(device: &SwapDevice) -> Self {
        let none = SwapDeviceStatus::default();
        let status = device.status.as_ref().unwrap_or(&none);
        let mut words = status.clone();
        (words.locked, words.unlocked, words.swapped) = (None, None, None);
        (words.device_use, words.node_swap, words.memory_left) = (None, None, None);
        for condition in &mut words.conditions {
            condition.last_transition_time = Time(Timestamp::UNIX_EPOCH);
            if status.locked.is_some() {
                condition.message.clear();
            }
        }
        let size = |text: &Option<String>| text.as_deref().and_then(size::parse).unwrap_or(NOT_SHOWN);
        let share =
            |text: &Option<String>| text.as_deref().and_then(size::parse_share).unwrap_or((NOT_SHOWN, NOT_SHOWN));
        Self {
            whole: hash(device, status),
            head: hash(device, &none),
            words: hash(device, &words),
            sizes: [size(&status.locked), size(&status.unlocked), size(&status.swapped)],
            device_use: status.device_use.as_deref().and_then(|text| text.strip_suffix('%')?.parse().ok()),
            node_swap: share(&status.node_swap),
            memory_left: share(&status.memory_left),
        }
    }

    fn is_close_to(&self, other: &Self) -> bool {
        let near = |a: u64, b: u64| a == b || ![a, b].contains(&NOT_SHOWN) && within_a_tenth(a, b);
        let sizes = self.sizes.iter().zip(&other.sizes).all(|(a, b)| near(*a, *b));
        // Of the whole, and not of the figure: 1 % in use that becomes 2 % is no news.
        let device = match (self.device_use, other.device_use) {
            (Some(a), Some(b)) => a.abs_diff(b) < 10,
            (a, b) => a == b,
        };
        let share = |(a, all), (b, of)| all == of && u64::abs_diff(a, b).saturating_mul(10) <= all;
        let shares = share(self.node_swap, other.node_swap) && share(self.memory_left, other.memory_left);
        self.words == other.words && sizes && device && shares
    }
}

fn hash(device: &SwapDevice, status: &SwapDeviceStatus) -> u64 {
    let mut hasher = DefaultHasher::new();
    json!([device.metadata.owner_references, device.spec, status]).to_string().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
