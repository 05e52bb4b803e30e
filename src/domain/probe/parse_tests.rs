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
#[case::no_threads(|s: &str| s.replace("\n2\nName:", "\nName:"), "NoProcessList")]
#[case::threads_in_words(|s: &str| s.replace("\n2\nName:", "\nmany\nName:"), "NoProcessList")]
#[case::threads_of_none(|s: &str| s.replacen("Threads:\t", "Thread:\t", 1), "MissingField")]
#[case::first_thread_ended(|s: &str| s.replacen("State:\tS", "State:\tZ", 1).replacen("Threads:\t1", "Threads:\t2", 1), "FirstThreadEnded")]
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

/// Process 7 of `FORKED`, as it would be printed.
fn with_child(change: impl Fn(String) -> String) -> String {
    let at = FORKED.match_indices("Name:\t").map(|(at, _)| at).collect::<Vec<_>>();
    format!("{}{}{}", &FORKED[..at[1]], change(FORKED[at[1]..at[2]].to_owned()), &FORKED[at[2]..])
}

/// Such a process has no line of memory in what was read, and all of its memory.
#[rstest]
#[case::second_version(|block: String| block)]
#[case::first_version(|block: String| regroup(&block, |_| "/".to_owned()))]
fn a_first_thread_that_ended_before_the_others_is_unread(#[case] change: fn(String) -> String) {
    let ended = with_child(|block| {
        let kept = block.lines().filter(|line| !line.starts_with("Vm"));
        let block = kept.fold(String::new(), |all, line| all + line + "\n");
        change(block.replace("State:\tS", "State:\tZ").replace("Threads:\t1", "Threads:\t2"))
    });
    for output in [ended.replacen("\n7\n", "\n", 1), ended] {
        let facts = parse(output.as_bytes()).unwrap();
        assert_eq!((facts.processes.len(), facts.unread_processes), (1, 1), "listed or not");
    }
}

/// The paths of every hierarchy of version 1.
fn regroup(block: &str, change: impl Fn(&str) -> String) -> String {
    block.lines().fold(String::new(), |all, line| match line.rsplit_once(':') {
        Some((start, path)) if path.starts_with('/') && start != "0:" => format!("{all}{start}:{}\n", change(path)),
        _ => format!("{all}{line}\n"),
    })
}

#[test]
fn a_zombie_is_counted_although_the_first_version_shows_no_group_of_it() {
    let zombie = with_child(|block| regroup(&block, |_| "/".to_owned()).replace("State:\tS", "State:\tZ"));
    let facts = parse(zombie.replacen("\n7\n", "\n", 1).as_bytes()).unwrap();
    assert_eq!((facts.processes.len(), facts.unread_processes), (1, 0));
}

#[test]
fn a_process_in_a_group_below_is_read_and_needs_no_list() {
    let below = with_child(|block| regroup(&block, |path| format!("{path}/below")));
    let facts = parse(below.replacen("\n7\n", "\n", 1).as_bytes()).unwrap();
    assert_eq!((facts.processes.len(), facts.unread_processes), (2, 0));
}

/// In version 1 nothing but the number of threads tells of a process in a group below that could not be read.
#[rstest]
#[case::as_many(LOCKED, "\n2\nName:", "\n2\nName:", 0)]
#[case::one_more(LOCKED, "\n2\nName:", "\n3\nName:", 1)]
#[case::many_more(LOCKED, "\n2\nName:", "\n1000\nName:", 1)]
#[case::fewer(LOCKED, "\n2\nName:", "\n1\nName:", 0)]
#[case::of_a_process_that_is_known_to_be_unread(FORKED, "\n7\n", "\n7\n98\n", 1)]
fn threads_that_belong_to_nobody_are_an_unread_process(
    #[case] output: &str,
    #[case] from: &str,
    #[case] to: &str,
    #[case] unread: usize,
) {
    let facts = parse(output.replacen("\n3\nName:", "\n9\nName:", 1).replacen(from, to, 1).as_bytes()).unwrap();
    assert_eq!(facts.unread_processes, unread);
}

/// In version 2 the group below is counted; what was read of it is not forgotten.
#[test]
fn the_second_version_counts_its_groups() {
    let second = |text: &str| -> String {
        let kept = |line: &&str| !line.contains(":/") || line.starts_with("0:");
        text.lines().filter(kept).fold(String::new(), |all, line| all + line + "\n")
    };
    let parsed =
        |text: &str| parse(second(text).as_bytes()).map(|facts| (facts.processes.len(), facts.unread_processes));
    assert_eq!(parsed(&FORKED.replace("\n3\nName:", "\nName:")), Ok((2, 0)), "it needs no number of threads");
    let below = with_child(|block| block.trim_end().to_owned() + "/below\n");
    let below = below.replacen("\n7\n", "\nnr_descendants 1\n", 1);
    assert_eq!(parsed(&below), Ok((2, 1)));
    let beside = with_child(|block| block.trim_end().to_owned() + "-beside\n");
    assert_eq!(parsed(&beside.replacen("\n7\n", "\n", 1)), Ok((1, 0)));
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
    let first = LOCKED.replace("\ntotal_swap 0\n", "\ntotal_swap 8192\n");
    assert_eq!((swapped(LOCKED), swapped(&first)), (Some(0), Some(8192)), "with the groups below");
    let unaccounted = LOCKED.replace("\ntotal_swap 0\n", "\n");
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
