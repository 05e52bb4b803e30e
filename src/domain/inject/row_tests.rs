//! The decision table over the full cross-product of its inputs.

use super::*;

/// The table once more, written down by hand: no order matters here, for each combination fits exactly one line.
///
/// Columns: namespace refuses, capability dropped, everything granted (`1`/`0`); user (`R`oot, `N`on-root, `U`nknown;
/// `m`ay be root); command named; locked by `D`aemon or `A`gent; capability `G`ranted or of the `I`mage; agent there;
/// `LD_PRELOAD` `F`ree or `X` referenced; flusher wanted; a name taken. `.`: whatever.
const TABLE: [(&str, Row); 22] = [
    ("1 . . . . . . . . . .", Row::PodSecurity),
    ("0 1 . . . . . . . . .", Row::CapabilityDropped),
    // By the agent: with it, or not at all.
    ("0 0 . . . A I . . . .", Row::AgentMissing),
    ("0 0 . . . A G 0 . . .", Row::AgentMissing),
    ("0 0 . . . A G 1 . . 1", Row::NameTaken),
    ("0 0 . . 0 A G 1 X . 0", Row::PreloadReferenced),
    ("0 0 . . 0 A G 1 F . 0", Row::PreloadLocks),
    ("0 0 . . 1 A G 1 . . 0", Row::LauncherLocks),
    // By the daemon, which has everything already.
    ("0 0 1 m . D . . . 0 .", Row::AlreadyCapable),
    // By the daemon, beside somebody who uses our names.
    ("0 0 . N . D G 1 . . 1", Row::NameTaken),
    ("0 0 0 m . D G 1 . . 1", Row::NameTaken),
    ("0 0 1 m . D G 1 . 1 1", Row::NameTaken),
    // By the daemon, as root for all that is known.
    ("0 0 0 m . D I . . . .", Row::CapabilityGranted),
    ("0 0 0 m . D G 0 . . .", Row::CapabilityGranted),
    ("0 0 0 m . D G 1 . . 0", Row::CapabilityGranted),
    ("0 0 1 m . D I . . 1 .", Row::CapabilityGranted),
    ("0 0 1 m . D G 0 . 1 .", Row::CapabilityGranted),
    ("0 0 1 m . D G 1 . 1 0", Row::CapabilityGranted),
    // By the daemon, as somebody else.
    ("0 0 . N 1 D G 1 . . 0", Row::LauncherRaises),
    ("0 0 . N 0 D G 1 . . 0", Row::ProbablyNotEffective),
    ("0 0 . N . D G 0 . . .", Row::ProbablyNotEffective),
    ("0 0 . N . D I . . . .", Row::ProbablyNotEffective),
];

/// Whether the situation is one of those that the line speaks of.
fn fits(line: &str, s: &Situation) -> bool {
    let bit = |flag: bool| if flag { "1" } else { "0" };
    let user = match s.user {
        User::Root => "Rm",
        User::NonRoot => "N",
        User::Unknown => "Um",
    };
    let by = if s.lock_by == LockBy::Agent { "A" } else { "D" };
    let capability = if s.capability == CapabilitySource::Image { "I" } else { "G" };
    let preload = if s.preload == Preload::Referenced { "X" } else { "F" };
    let is = [
        bit(s.refused),
        bit(s.dropped),
        bit(s.all),
        user,
        bit(s.command),
        by,
        capability,
        bit(s.agent),
        preload,
        bit(s.flush),
        bit(s.taken),
    ];
    let columns: Vec<&str> = line.split(' ').collect();
    assert_eq!(columns.len(), is.len(), "{line}");
    columns.iter().zip(is).all(|(column, is)| *column == "." || is.contains(column))
}

#[test]
fn every_combination_is_decided_as_written_down() {
    let mut used = [false; TABLE.len()];
    for s in everything() {
        let lines: Vec<usize> = (0..TABLE.len()).filter(|n| fits(TABLE[*n].0, &s)).collect();
        assert_eq!(lines.len(), 1, "{s:?} fits {lines:?}");
        used[lines[0]] = true;
        assert_eq!(row(&s), TABLE[lines[0]].1, "{s:?}");
    }
    assert!(used.iter().all(|used| *used), "a line that nothing fits: {used:?}");
}

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
