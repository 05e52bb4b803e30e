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
    /// A volume, path, container or variable that the agent needs is used for something else.
    NameTaken,
    /// `lock-by: agent` without an agent.
    AgentMissing,
    /// `LD_PRELOAD` is needed and comes from a `ConfigMap` or `Secret`.
    PreloadReferenced,
    /// The launcher locks the daemon when it is started.
    LauncherLocks,
    /// A preloaded library locks the daemon when it is started.
    PreloadLocks,
    /// The launcher passes the capability on to a daemon that is not root.
    LauncherRaises,
    /// The capability is granted, and is probably not effective.
    ProbablyNotEffective,
    /// The capability is granted.
    CapabilityGranted,
}

impl Row {
    /// Every row, in the order of the table.
    pub const ALL: [Self; 11] = [
        Self::PodSecurity,
        Self::CapabilityDropped,
        Self::AlreadyCapable,
        Self::NameTaken,
        Self::AgentMissing,
        Self::PreloadReferenced,
        Self::LauncherLocks,
        Self::PreloadLocks,
        Self::LauncherRaises,
        Self::ProbablyNotEffective,
        Self::CapabilityGranted,
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
mod tests {
    use super::*;

    const BOTH: [bool; 2] = [false, true];

    /// The full cross-product of the inputs: 3,072 of them.
    fn everything() -> impl Iterator<Item = Situation> {
        let flags = (0_u32..128).map(|bits| move |n: u32| bits & (1 << n) != 0);
        flags.flat_map(|flag| {
            [User::Root, User::NonRoot, User::Unknown].into_iter().flat_map(move |user| {
                [LockBy::Daemon, LockBy::Agent].into_iter().flat_map(move |lock_by| {
                    [CapabilitySource::Grant, CapabilitySource::Image].into_iter().flat_map(move |capability| {
                        [Preload::Free, Preload::Referenced].into_iter().map(move |preload| Situation {
                            refused: flag(0),
                            dropped: flag(1),
                            all: flag(2),
                            user,
                            command: flag(3),
                            lock_by,
                            capability,
                            agent: flag(4),
                            preload,
                            taken: flag(5),
                            flush: flag(6),
                        })
                    })
                })
            })
        })
    }

    #[test]
    fn every_row_is_reached() {
        for wanted in Row::ALL {
            assert!(everything().any(|s| row(&s) == wanted), "{wanted:?}");
        }
    }

    #[test]
    fn refusals_come_in_the_order_of_the_table() {
        for s in everything() {
            let found = row(&s);
            assert_eq!(found == Row::PodSecurity, s.refused, "{s:?}");
            assert_eq!(found == Row::CapabilityDropped, s.dropped && !s.refused, "{s:?}");
        }
    }

    #[test]
    fn what_needs_the_agent_is_never_promised_without_it() {
        for s in everything().filter(|s| !s.agent || s.capability == CapabilitySource::Image) {
            let found = row(&s);
            assert!(!matches!(found, Row::LauncherLocks | Row::PreloadLocks | Row::LauncherRaises), "{s:?}");
            let alone = s.lock_by == LockBy::Agent && !s.refused && !s.dropped;
            assert_eq!(found == Row::AgentMissing, alone, "{s:?}");
        }
    }

    #[test]
    fn a_daemon_known_not_to_be_root_is_never_told_that_the_capability_is_enough() {
        for s in everything().filter(|s| s.user == User::NonRoot && s.lock_by == LockBy::Daemon) {
            assert!(!matches!(row(&s), Row::AlreadyCapable | Row::CapabilityGranted), "{s:?}");
        }
    }

    #[test]
    fn who_locks_by_the_agent_is_locked_by_it_or_refused() {
        for s in everything().filter(|s| s.lock_by == LockBy::Agent) {
            let found = row(&s);
            assert!(found.is_refusal() || matches!(found, Row::LauncherLocks | Row::PreloadLocks), "{s:?}");
        }
    }

    #[test]
    fn a_program_is_only_launched_where_it_is_named() {
        for s in everything().filter(|s| !s.command) {
            assert!(!matches!(row(&s), Row::LauncherLocks | Row::LauncherRaises), "{s:?}");
        }
        for s in everything().filter(|s| s.command) {
            assert!(!matches!(row(&s), Row::PreloadLocks | Row::PreloadReferenced), "{s:?}");
        }
    }

    #[test]
    fn names_of_ours_matter_only_where_they_are_used() {
        for s in everything().filter(|s| row(s) == Row::NameTaken) {
            assert!(s.taken && s.agent && s.capability == CapabilitySource::Grant, "{s:?}");
        }
        for untaken in BOTH {
            for s in everything().filter(|s| !s.agent) {
                assert_eq!(row(&s), row(&Situation { taken: untaken, ..s }), "{s:?}");
            }
        }
    }
}
