//! Annotations → [`Intent`], or a sentence that says what is wrong.

mod error;

use std::collections::BTreeMap;

pub use error::IntentError;

use super::{names, quantity};

/// Annotations as Kubernetes keeps them.
pub type Annotations = BTreeMap<String, String>;

/// What the author of an opted-in pod asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is one annotation of the author's")]
pub struct Intent {
    /// Containers named by `memlock.dev/containers`; empty: the default one.
    containers: Vec<String>,
    /// What cannot work is denied (`true`) or only warned of.
    pub required: bool,
    /// Change nothing, only check.
    pub verify_only: bool,
    /// Who calls `mlockall`.
    pub lock_by: LockBy,
    /// Flags of the agent's `mlockall`.
    pub lock_flags: LockFlags,
    /// Where an effective capability comes from.
    pub capability: CapabilitySource,
    /// Whether files of ours may be brought into the pod.
    pub agent: bool,
    /// The swap device served.
    pub device: Option<String>,
    /// `RLIMIT_MEMLOCK` wished for.
    pub limit: Option<Limit>,
    /// Whether the launcher sets `PR_SET_IO_FLUSHER`.
    pub io_flusher: bool,
    /// `comm` of the process that must be locked; `None`: every process.
    pub process: Option<String>,
    /// Whether the pod waits with Ready until it was seen to be locked.
    pub readiness_gate: bool,
}

/// Who calls `mlockall`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockBy {
    /// The daemon itself.
    Daemon,
    /// Our agent, for a program that does not.
    Agent,
}

/// Flags of `mlockall(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockFlags {
    /// `MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT`: what is touched stays.
    OnFault,
    /// `MCL_CURRENT | MCL_FUTURE`: everything is brought in at once.
    All,
}

impl LockFlags {
    /// As in the annotation and on the agent's command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnFault => "current,future,onfault",
            Self::All => "current,future",
        }
    }
}

/// Where an effective `CAP_IPC_LOCK` comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapabilitySource {
    /// From the pod, with a launcher where the kernel needs one.
    Grant,
    /// From the daemon's file in the image.
    Image,
}

/// A wish for `RLIMIT_MEMLOCK`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// In bytes.
    Bytes(u64),
    /// `RLIM_INFINITY`.
    Unlimited,
}

const BOOLEANS: &str = "\"true\" and \"false\"";

/// Reads the annotations of a pod. `Ok(None)`: the pod did not opt in.
pub fn parse(annotations: &Annotations) -> Result<Option<Intent>, IntentError> {
    if !boolean(annotations, names::SWAP_DEVICE, false)? {
        return Ok(None);
    }
    Ok(Some(Intent {
        containers: container_list(annotations)?,
        required: boolean(annotations, names::REQUIRED, true)?,
        verify_only: boolean(annotations, names::VERIFY_ONLY, false)?,
        lock_by: choice(
            annotations,
            names::LOCK_BY,
            "\"daemon\" and \"agent\"",
            [("daemon", LockBy::Daemon), ("agent", LockBy::Agent)],
        )?
        .unwrap_or(LockBy::Daemon),
        lock_flags: read(annotations, names::LOCK_FLAGS, "\"current,future,onfault\" and \"current,future\"", flags)?
            .unwrap_or(LockFlags::OnFault),
        capability: choice(
            annotations,
            names::CAPABILITY,
            "\"grant\" and \"image\"",
            [("grant", CapabilitySource::Grant), ("image", CapabilitySource::Image)],
        )?
        .unwrap_or(CapabilitySource::Grant),
        agent: boolean(annotations, names::AGENT, true)?,
        device: read(annotations, names::DEVICE, "paths below /dev/, such as \"/dev/ublkb0\"", device)?,
        limit: read(annotations, names::LIMIT, "\"unlimited\" and quantities of bytes, such as \"512Mi\"", limit)?,
        io_flusher: boolean(annotations, names::IO_FLUSHER, false)?,
        process: read(
            annotations,
            names::PROCESS,
            "names of a process as ps -o comm shows them, 1 to 15 bytes",
            process,
        )?,
        readiness_gate: boolean(annotations, names::READINESS_GATE, false)?,
    }))
}

impl Intent {
    /// The containers that serve the device: those named, else kubectl's default, else the first.
    ///
    /// `known` are the pod's containers followed by its native sidecars.
    pub fn targets<'a>(&self, annotations: &Annotations, known: &[&'a str]) -> Result<Vec<&'a str>, IntentError> {
        let first = known.first().ok_or(IntentError::NoContainers)?;
        let find = |key: &'static str, name: &str| {
            known.iter().copied().find(|n| *n == name).ok_or_else(|| IntentError::UnknownContainer {
                key,
                name: name.to_owned(),
                known: known.join(", "),
            })
        };
        if self.containers.is_empty() {
            // kubectl ignores a default container that does not exist, and so do we.
            let default = annotations.get(names::DEFAULT_CONTAINER).and_then(|d| known.iter().find(|n| *n == d));
            return Ok(vec![default.unwrap_or(first)]);
        }
        self.containers.iter().map(|name| find(names::CONTAINERS, name)).collect()
    }
}

fn read<T>(
    annotations: &Annotations,
    key: &'static str,
    allowed: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, IntentError> {
    let Some(value) = annotations.get(key) else { return Ok(None) };
    match parse(value) {
        Some(parsed) => Ok(Some(parsed)),
        None => Err(IntentError::BadValue { key, value: value.clone(), allowed }),
    }
}

/// One of two words.
fn choice<T>(
    annotations: &Annotations,
    key: &'static str,
    allowed: &'static str,
    words: [(&str, T); 2],
) -> Result<Option<T>, IntentError> {
    read(annotations, key, allowed, |value| {
        words.into_iter().find(|(word, _)| *word == value).map(|(_, meaning)| meaning)
    })
}

fn boolean(annotations: &Annotations, key: &'static str, default: bool) -> Result<bool, IntentError> {
    Ok(choice(annotations, key, BOOLEANS, [("true", true), ("false", false)])?.unwrap_or(default))
}

/// In any order, as sets are written.
fn flags(value: &str) -> Option<LockFlags> {
    let mut flags: Vec<&str> = value.split(',').map(str::trim).collect();
    flags.sort_unstable();
    match flags.as_slice() {
        ["current", "future", "onfault"] => Some(LockFlags::OnFault),
        ["current", "future"] => Some(LockFlags::All),
        _ => None,
    }
}

fn device(value: &str) -> Option<String> {
    let name = value.strip_prefix("/dev/")?;
    let plain = !name.is_empty() && !name.chars().any(|c| c.is_control() || c.is_whitespace());
    (plain && !name.split('/').any(|part| part.is_empty() || part == "..")).then(|| value.to_owned())
}

fn limit(value: &str) -> Option<Limit> {
    match value {
        "unlimited" => Some(Limit::Unlimited),
        bytes => quantity::parse(bytes).filter(|bytes| *bytes > 0).map(Limit::Bytes),
    }
}

/// The kernel keeps 15 bytes of a name (`TASK_COMM_LEN` in `include/linux/sched.h`).
fn process(name: &str) -> Option<String> {
    ((1..=15).contains(&name.len()) && !name.chars().any(char::is_control)).then(|| name.to_owned())
}

fn container_list(annotations: &Annotations) -> Result<Vec<String>, IntentError> {
    let list = read(annotations, names::CONTAINERS, "comma-separated names of containers", |value| {
        let mut names: Vec<String> = Vec::new();
        for name in value.split(',').map(str::trim) {
            if name.is_empty() {
                return None;
            }
            if !names.iter().any(|n| n == name) {
                names.push(name.to_owned());
            }
        }
        Some(names)
    })?;
    Ok(list.unwrap_or_default())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
