//! The decision table: what is done for one container, by the first row that fits.

use crate::domain::intent::{CapabilitySource, LockBy};

/// What is known of the uid of the container's first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum User {
    Root,
    NonRoot,
    /// Neither pod nor container names it: the image does.
    Unknown,
}

/// What the container says of `LD_PRELOAD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preload {
    /// Nothing, or a value that can be prefixed.
    Free,
    /// A reference, whose value a webhook cannot see.
    Referenced,
}

/// The inputs of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is one column of the table")]
pub(super) struct Situation {
    /// The namespace refuses `IPC_LOCK`.
    pub(super) refused: bool,
    /// A capability we need is dropped by name.
    pub(super) dropped: bool,
    /// Privileged, or `ALL` added.
    pub(super) all: bool,
    pub(super) user: User,
    /// The container names its program.
    pub(super) command: bool,
    pub(super) lock_by: LockBy,
    pub(super) capability: CapabilitySource,
    /// Files of ours may be brought into the pod.
    pub(super) agent: bool,
    pub(super) preload: Preload,
    /// The launcher is wanted whoever locks.
    pub(super) flush: bool,
    /// A name or path of ours is used for something else.
    pub(super) taken: bool,
}

/// What is done for one container, and why. Named in audit annotations, logs and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Row {
    /// The namespace enforces a level that refuses `IPC_LOCK`.
    PodSecurity,
    /// `drop` names the capability, which wins over any `add`.
    CapabilityDropped,
    /// The container is privileged or adds `ALL`, as root: nothing to add.
    AlreadyCapable,
    /// `lock-by: agent` without an agent.
    AgentMissing,
    /// A volume, path, container or variable that the agent needs is used for something else.
    NameTaken,
    /// `LD_PRELOAD` is needed and comes from a `ConfigMap` or `Secret`.
    PreloadReferenced,
    /// The launcher locks the daemon when it is started.
    LauncherLocks,
    /// A preloaded library locks the daemon when it is started.
    PreloadLocks,
    /// The capability is granted.
    CapabilityGranted,
    /// The launcher passes the capability on to a daemon that is not root.
    LauncherRaises,
    /// The capability is granted, and is probably not effective.
    ProbablyNotEffective,
}

impl Row {
    /// Every row, in the order of the table.
    pub const ALL: [Self; 11] = [
        Self::PodSecurity,
        Self::CapabilityDropped,
        Self::AlreadyCapable,
        Self::AgentMissing,
        Self::NameTaken,
        Self::PreloadReferenced,
        Self::LauncherLocks,
        Self::PreloadLocks,
        Self::CapabilityGranted,
        Self::LauncherRaises,
        Self::ProbablyNotEffective,
    ];

    /// The word itself.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PodSecurity => "PodSecurity",
            Self::CapabilityDropped => "CapabilityDropped",
            Self::AlreadyCapable => "AlreadyCapable",
            Self::NameTaken => "NameTaken",
            Self::AgentMissing => "AgentMissing",
            Self::PreloadReferenced => "PreloadReferenced",
            Self::LauncherLocks => "LauncherLocks",
            Self::PreloadLocks => "PreloadLocks",
            Self::LauncherRaises => "LauncherRaises",
            Self::ProbablyNotEffective => "ProbablyNotEffective",
            Self::CapabilityGranted => "CapabilityGranted",
        }
    }

    /// Fails on every node: denied, unless `memlock.dev/required` is `false`.
    #[must_use]
    pub fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::PodSecurity
                | Self::CapabilityDropped
                | Self::NameTaken
                | Self::AgentMissing
                | Self::PreloadReferenced
        )
    }
}

/// The table.
pub(super) fn row(s: &Situation) -> Row {
    let by_agent = s.lock_by == LockBy::Agent;
    // A file that carries capabilities makes the loader ignore LD_PRELOAD (AT_SECURE, ld.so(8)) and a
    // traced exec ignore the capabilities: the author who says so wants neither.
    let agent = s.agent && s.capability == CapabilitySource::Grant;
    if s.refused {
        Row::PodSecurity
    } else if s.dropped {
        Row::CapabilityDropped
    } else if s.all && s.user != User::NonRoot && !by_agent && !s.flush {
        Row::AlreadyCapable
    } else if by_agent && !agent {
        Row::AgentMissing
    } else if s.taken && agent {
        Row::NameTaken
    } else if by_agent && !s.command && s.preload == Preload::Referenced {
        Row::PreloadReferenced
    } else if by_agent {
        if s.command { Row::LauncherLocks } else { Row::PreloadLocks }
    } else if s.user != User::NonRoot {
        Row::CapabilityGranted
    } else if s.command && agent {
        Row::LauncherRaises
    } else {
        Row::ProbablyNotEffective
    }
}

#[cfg(test)]
#[path = "row_tests.rs"]
mod tests;
