use proptest::prelude::*;
use rstest::rstest;

use super::super::{parse, *};

/// As the agent writes it, with a bit of everything.
const OUTPUT: &str = include_str!("testdata/agent.txt");

#[test]
fn an_output_is_read() {
    let facts = parse(OUTPUT.as_bytes()).unwrap();
    assert_eq!((facts.unlockable_kb, facts.unread_processes), (32, 0));
    let memory = Memory {
        limit: Some(512 << 20),
        current: 123_456,
        reclaimable: 4096,
        swap: Some(SwapLimit::Bytes(0)),
        swapped: Some(8192),
    };
    assert_eq!(facts.memory, Some(memory));
    let swaps = facts.swaps.as_ref().unwrap();
    assert_eq!(swaps.len(), 2);
    assert_eq!((swaps[0].name.as_str(), swaps[0].partition, swaps[0].used_kb), ("/dev/ublkb0", true, 512));
    let first = Process {
        pid: 1,
        name: "ublk srv) 1".into(),
        uid: 1000,
        size_kb: 68_020,
        locked_kb: 67_988,
        swapped_kb: 0,
        hugetlb_kb: 0,
        effective_capabilities: 1 << 14,
        locked_limit: Some(LockedLimit::Bytes(8 << 20)),
        user_namespace: false,
        threads: Some(Threads { count: 5, io_flushers: 5 }),
        mappings: None,
    };
    assert_eq!(facts.processes[0], first);
    let second = &facts.processes[1];
    assert_eq!(second.mappings, Some(Mappings { explained_kb: 436, unexplained_kb: 0, swapped_kb: 0 }));
    assert!(second.user_namespace && second.locked_limit == Some(LockedLimit::Unlimited));
}

#[rstest]
#[case::version("probe 1", "probe 2", "Version")]
#[case::two_digits("probe 1", "probe 11", "Version")]
#[case::no_end("end\n", "", "Incomplete")]
#[case::more("end\n", "end\nend\n", "Line")]
#[case::no_reader("reader 77 32\n", "", "Line")]
#[case::no_process("process", "other", "Line")]
#[case::negative("68020", "-68020", "Line")]
#[case::plus("68020", "+68020", "Line")]
#[case::too_large("68020", "99999999999999999999999", "Line")]
#[case::unlockable("reader 77 32", "reader 77 999999", "Line")]
#[case::doubled("process 9", "process 1", "Line")]
#[case::reader_among_them("process 9", "process 77", "Line")]
#[case::smaps_of_another("smaps 9", "smaps 1", "Line")]
#[case::smaps_too_large("smaps 9 436", "smaps 9 999999", "Line")]
#[case::smaps_with_more("smaps 9 436 0 0", "smaps 9 436 0 0 0", "Line")]
#[case::more_flushers("5 5 ublk", "5 6 ublk", "Line")]
#[case::namespace("initial", "other", "Line")]
#[case::unread_unknown("unread 0", "unread -", "NoProcessList")]
#[case::unread_missing("unread 0\n", "", "Line")]
#[case::out_of_order("unread 0\n", "unread 0\nswap file 1 1 /x\n", "Line")]
fn anything_else_is_an_error(#[case] from: &str, #[case] to: &str, #[case] reason: &str) {
    assert!(OUTPUT.contains(from));
    assert_eq!(parse(OUTPUT.replacen(from, to, 1).as_bytes()).unwrap_err().reason(), reason);
}

#[test]
fn unread_processes_are_counted() {
    let facts = parse(OUTPUT.replace("unread 0", "unread 18446744073709551615").as_bytes()).unwrap();
    assert_eq!(facts.unread_processes, usize::MAX);
}

#[test]
fn no_process_at_all_is_an_error() {
    assert_eq!(parse(b"memlock-probe 1\nreader 7 32\nunread 0\nend\n").unwrap_err(), ParseError::NoStatus);
}

#[test]
fn an_output_that_was_cut_anywhere_is_an_error() {
    for end in 0..OUTPUT.len() {
        assert!(parse(&OUTPUT.as_bytes()[..end]).is_err(), "cut after {end} bytes");
    }
}

proptest! {
    #[test]
    fn no_damage_makes_it_panic(at in 0..OUTPUT.len(), byte in any::<u8>(), twice in any::<bool>()) {
        let mut bytes = OUTPUT.as_bytes().to_vec();
        bytes[at] = byte;
        if twice {
            bytes.extend_from_within(..);
        }
        let _ = parse(&bytes);
    }

    #[test]
    fn no_lines_make_it_panic(lines in proptest::collection::vec("(reader|memory|swap|process|smaps|unread|end)( [0-9a-z-]{0,22}){0,13}", 0..12)) {
        let _ = parse(format!("memlock-probe 1\n{}\nend\n", lines.join("\n")).as_bytes());
    }
}
