use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::domain::probe::MAX_OUTPUT;

/// The output for nbdkit under containerd on cgroup v1, as seen on a real node.
const LOCKED: &str = include_str!("testdata/nbdkit-locked.txt");

#[test]
fn a_real_output_is_read() {
    let facts = parse(LOCKED.as_bytes()).unwrap();
    assert_eq!(facts.daemon.name, "nbdkit");
    assert_eq!((facts.daemon.pid, facts.daemon.uid), (1, 0));
    assert_eq!(facts.unlockable_kb, 32);
    assert_eq!(facts.daemon.size_kb - facts.daemon.locked_kb, facts.unlockable_kb);
    assert_eq!(facts.unread_processes, 0);
    assert_eq!(facts.locked_limit, Some(LockedLimit::Bytes(8 * 1024 * 1024)));
    assert_eq!(facts.daemon.effective_capabilities >> 14 & 1, 1);
    assert!(!facts.user_namespace);
}

#[rstest]
#[case::empty(|_: &str| String::new(), "NoStatus")]
#[case::no_cat(|_: &str| "sh: cat: not found\n".to_owned(), "NoStatus")]
#[case::no_locked_line(|s: &str| s.replacen("VmLck:", "VmLckX:", 1), "MissingField")]
#[case::locked_line_doubled(|s: &str| s.replacen("VmLck:", "VmLck:\t9 kB\nVmLck:", 1), "MissingField")]
#[case::locked_line_negative(|s: &str| s.replacen("VmLck:\t", "VmLck:\t-", 1), "MissingField")]
#[case::no_swap_line(|s: &str| s.replacen("VmSwap:", "Vm:", 1), "MissingField")]
#[case::not_process_one(|s: &str| s.replacen("Pid:\t1\n", "Pid:\t2\n", 1), "ForeignFirstProcess")]
#[case::other_cgroup(|s: &str| s.replacen(":memory:/", ":memory:/other", 1), "ForeignFirstProcess")]
#[case::no_process_list(|s: &str| s.replace("\n1\n", "\n"), "NoProcessList")]
#[case::no_maps(|s: &str| s.split_inclusive('\n').filter(|l| mapping_size(l).is_none()).collect(), "NoMappings")]
fn what_is_missing_is_an_error(#[case] change: fn(&str) -> String, #[case] reason: &str) {
    assert_eq!(parse(change(LOCKED).as_bytes()).unwrap_err().reason(), reason);
}

#[test]
fn other_processes_of_the_container_are_counted() {
    let crowded = LOCKED.replacen("\n1\n", "\n1\n8\n9\n", 1);
    assert_eq!(parse(crowded.as_bytes()).unwrap().unread_processes, 2);
}

#[test]
fn a_user_namespace_is_seen() {
    let mapped = LOCKED.replacen("         0          0 4294967295", "         0     131072      65536", 1);
    assert_ne!(mapped, LOCKED);
    assert!(parse(mapped.as_bytes()).unwrap().user_namespace);
}

#[test]
fn an_output_that_was_cut_anywhere_is_an_error() {
    let whole = LOCKED.trim_end();
    for end in 0..whole.len() {
        assert!(parse(&whole.as_bytes()[..end]).is_err(), "cut after {end} bytes");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn no_damage_to_a_real_output_makes_it_panic(at in 0..LOCKED.len(), byte in any::<u8>(), twice in any::<bool>()) {
        let mut bytes = LOCKED.as_bytes().to_vec();
        bytes[at] = byte;
        if twice {
            bytes.extend_from_within(..);
        }
        let _ = parse(&bytes);
    }
}

#[test]
fn the_cap_leaves_room() {
    assert!(LOCKED.len() * 8 < MAX_OUTPUT);
}
