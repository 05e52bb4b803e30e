use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::domain::probe::{LockedLimit, MAX_OUTPUT, sections::mapping_size};

/// `CAT` in a container of nbdkit under containerd on cgroup v1, as seen on a real node.
const LOCKED: &str = include_str!("testdata/nbdkit-locked.txt");
/// `SH` in a container whose locked first process has an unlocked child, on the same node.
const FORKED: &str = include_str!("testdata/forked-by-shell.txt");

#[test]
fn a_real_output_of_cat_is_read() {
    let facts = parse(LOCKED.as_bytes()).unwrap();
    let [daemon] = facts.processes.as_slice() else { panic!("one process") };
    assert_eq!((daemon.pid, daemon.name.as_str(), daemon.uid), (1, "nbdkit", 0));
    assert_eq!(facts.unlockable_kb, 32);
    assert_eq!(daemon.size_kb - daemon.locked_kb, facts.unlockable_kb);
    assert_eq!(facts.unread_processes, 0);
    assert_eq!(daemon.locked_limit, Some(LockedLimit::Bytes(8 * 1024 * 1024)));
    assert_eq!(daemon.effective_capabilities >> 14 & 1, 1);
    assert!(!daemon.user_namespace);
    let memory = facts.memory.unwrap();
    assert_eq!(memory.limit, Some(512 << 20));
    assert_eq!(memory.headroom(), Some((512 << 20) - memory.current + memory.reclaimable));
    assert!(memory.current > 16 << 20 && memory.reclaimable < memory.current);
}

#[test]
fn a_real_output_of_the_shell_is_read() {
    let facts = parse(FORKED.as_bytes()).unwrap();
    let seen: Vec<_> = facts.processes.iter().map(|p| (p.name.as_str(), p.locked_kb > 0)).collect();
    assert_eq!(seen, [("states", true), ("states", false)], "neither the shell nor its cat is among them");
    assert_eq!(facts.unread_processes, 0);
}

#[rstest]
#[case::empty(|_: &str| String::new(), "NoStatus")]
#[case::no_cat(|_: &str| "sh: cat: not found\n".to_owned(), "NoStatus")]
#[case::no_locked_line(|s: &str| s.replacen("VmLck:", "VmLckX:", 1), "MissingField")]
#[case::locked_line_doubled(|s: &str| s.replacen("VmLck:", "VmLck:\t9 kB\nVmLck:", 1), "MissingField")]
#[case::locked_line_negative(|s: &str| s.replacen("VmLck:\t", "VmLck:\t-", 1), "MissingField")]
#[case::no_swap_line(|s: &str| s.replacen("VmSwap:", "Vm:", 1), "MissingField")]
#[case::other_cgroup(|s: &str| s.replacen(":memory:/", ":memory:/other", 1), "ForeignProcesses")]
#[case::no_cgroup(|s: &str| s.split_inclusive('\n').filter(|l| !l.contains(":/")).collect(), "ForeignProcesses")]
#[case::first_process_dead(|s: &str| s.replacen("State:\tS", "State:\tZ", 1), "ForeignProcesses")]
#[case::no_process_list(|s: &str| s.replace("\n1\n", "\n"), "NoProcessList")]
#[case::process_list_of_words(|s: &str| s.replace("\n1\n", "\n1\nx\n"), "NoProcessList")]
#[case::enormous_vdso(|s: &str| s.lines().map(|l| if l.ends_with("[vdso]") { "0-100000000 [vdso]\n".to_owned() } else { format!("{l}\n") }).collect(), "NoMappings")]
#[case::no_maps(|s: &str| s.split_inclusive('\n').filter(|l| mapping_size(l).is_none()).collect(), "NoProcessList")]
fn what_is_missing_is_an_error(#[case] change: fn(&str) -> String, #[case] reason: &str) {
    assert_eq!(parse(change(LOCKED).as_bytes()).unwrap_err().reason(), reason);
}

#[rstest]
#[test]
fn other_processes_of_the_container_are_counted() {
    let crowded = LOCKED.replacen("\n1\n", "\n1\n98\n99\n", 1);
    assert_eq!(parse(crowded.as_bytes()).unwrap().unread_processes, 2);
}

#[test]
fn processes_in_control_groups_below_count_as_unread() {
    let divided = LOCKED.replacen("\n1\n", "\nnr_descendants 3\nnr_dying_descendants 7\n1\n", 1);
    assert_eq!(parse(divided.as_bytes()).unwrap().unread_processes, 3);
}

#[test]
fn a_neighbour_in_a_shared_pid_namespace_does_not_count() {
    let second =
        FORKED.find("Name:\tstates").and_then(|at| FORKED[at + 1..].find("Name:\tstates").map(|n| n + at + 1)).unwrap();
    let (first, rest) = FORKED.split_at(second);
    let shared = format!("{first}{}", rest.replacen(":memory:/", ":memory:/neighbour", 1).replacen("\n7\n", "\n", 1));
    assert_eq!(parse(shared.as_bytes()).unwrap().processes.len(), 1);
}

#[rstest]
#[case::v2_unlimited("536870912", "max", None)]
#[case::v1_unlimited("536870912", "9223372036854771712", None)]
fn no_limit_is_no_limit(#[case] from: &str, #[case] to: &str, #[case] limit: Option<u64>) {
    let facts = parse(LOCKED.replacen(from, to, 1).as_bytes()).unwrap();
    assert_eq!(facts.memory.unwrap().limit, limit);
}

#[test]
fn swap_of_the_group_is_read() {
    let swapped = |text: &str| parse(text.as_bytes()).unwrap().memory.unwrap().swapped;
    let first = LOCKED.replace("\nswap 0\n", "\nswap 8192\n");
    assert_eq!((swapped(LOCKED), swapped(&first)), (Some(0), Some(8192)));
    let unaccounted = LOCKED.replace("\nswap 0\n", "\n");
    assert_eq!(swapped(&unaccounted), None);
    // memory.swap.current of version 2 stands behind memory.current.
    let usage = LOCKED.find("\n536870912\n").and_then(|at| LOCKED[at + 11..].find('\n').map(|n| at + 11 + n)).unwrap();
    let second = format!("{}\n4096{}", &unaccounted[..usage], &unaccounted[usage..]);
    assert_eq!(swapped(&second), Some(4096));
}

#[test]
fn swap_of_the_node_is_read() {
    let heading = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
    let area =
        "/dev/ublkb0                             partition\t1048572\t\t512\t\t-2\n/swap\\040file file 65532 0 -3\n";
    let at = LOCKED.find("\n536870912\n").unwrap() + 1;
    let with = |lines: &str| parse(format!("{}{lines}{}", &LOCKED[..at], &LOCKED[at..]).as_bytes()).unwrap().swaps;
    assert_eq!((with(""), with(heading)), (None, Some(Vec::new())));
    let areas = with(&format!("{heading}{area}")).unwrap();
    let seen: Vec<_> = areas.iter().map(|a| (a.name.as_str(), a.partition, a.size_kb, a.used_kb)).collect();
    assert_eq!(seen, [("/dev/ublkb0", true, 1_048_572, 512), ("/swap\\040file", false, 65532, 0)]);
}

#[test]
fn a_user_namespace_is_seen() {
    let mapped = LOCKED.replacen("         0          0 4294967295", "         0     131072      65536", 1);
    assert_ne!(mapped, LOCKED);
    assert!(parse(mapped.as_bytes()).unwrap().processes[0].user_namespace);
}

#[rstest]
#[case::cat(LOCKED)]
#[case::shell(FORKED)]
fn an_output_that_was_cut_anywhere_is_an_error(#[case] whole: &str) {
    let whole = whole.trim_end();
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
    assert!(FORKED.len() * 8 < MAX_OUTPUT);
}
