use rstest::rstest;

use super::*;
use crate::domain::{
    probe::Memory,
    verdict::{
        judge,
        tests::{daemon, facts},
    },
};

const MIB: u64 = 1 << 20;

fn partition(name: &str, used_kb: u64) -> SwapArea {
    SwapArea { name: name.into(), partition: true, size_kb: 1000, used_kb }
}

fn memory(limit: Option<u64>, current: u64, swap: Option<SwapLimit>) -> Memory {
    Memory { limit, current, reclaimable: 0, swap, swapped: Some(0) }
}

/// What is said of a daemon beside its verdict.
fn said(locked: bool, wanted: &Wanted, change: impl FnOnce(&mut Facts)) -> String {
    let mut process = daemon();
    process.locked_kb = if locked { process.locked_kb } else { 0 };
    let mut facts = facts(vec![process]);
    let plain = judge(&facts, &Wanted::default()).message;
    change(&mut facts);
    judge(&facts, wanted).message.strip_prefix(&plain).unwrap().to_owned()
}

#[rstest]
#[case::nobody_asked(false, Some((4, 0)), "")]
#[case::all_and_nobody_asked(false, Some((4, 4)), "")]
#[case::some_by_mistake(false, Some((4, 1)), ". 1 of 4 threads are IO flushers")]
#[case::none(true, Some((4, 0)), ". 0 of 4 threads are IO flushers")]
#[case::all(true, Some((4, 4)), ". all 4 threads are IO flushers")]
#[case::not_counted(true, None, ". whether its threads are IO flushers cannot be seen without the agent")]
#[case::not_counted_and_nobody_asked(false, None, "")]
fn flushers_are_counted(#[case] io_flusher: bool, #[case] threads: Option<(u64, u64)>, #[case] says: &str) {
    let wanted = Wanted { io_flusher, ..Wanted::default() };
    let said = said(true, &wanted, |facts| {
        facts.processes[0].threads = threads.map(|(count, io_flushers)| Threads { count, io_flushers });
    });
    assert!(said.starts_with(says) && said.is_empty() == says.is_empty(), "{said:?}");
}

#[test]
fn threads_of_every_process_that_counts_are_added() {
    let process = |io_flushers| Process { threads: Some(Threads { count: 3, io_flushers }), ..daemon() };
    let both = [process(3), process(0)];
    let all: Vec<&Process> = both.iter().collect();
    assert!(flushers(&all, false).unwrap().starts_with("3 of 6 threads"));
    assert_eq!(flushers(&all[..1], false), None);
}

#[rstest]
#[case::no_limit(memory(None, 500 * MIB, None), "")]
#[case::just_enough(memory(Some(64 * MIB), 48 * MIB, None), "")]
#[case::tight(memory(Some(64 * MIB), 48 * MIB + 1, None), ". only 15 MiB are left of its memory limit of 64 MiB")]
fn little_room_is_said(#[case] memory: Memory, #[case] says: &str) {
    let said = said(true, &Wanted::default(), |facts| facts.memory = Some(memory));
    assert!(said.starts_with(says) && said.is_empty() == says.is_empty(), "{said:?}");
}

#[rstest]
#[case::may_not_swap(Some(SwapLimit::Bytes(0)), Some(vec![partition("/sda", 1)]), "memory.swap.max is 0")]
#[case::no_swap_at_all(Some(SwapLimit::Unlimited), Some(vec![]), "the node has no swap now")]
#[case::may_swap(Some(SwapLimit::Unlimited), Some(vec![partition("/sda", 1)]), "QoS Guaranteed")]
#[case::may_swap_some(Some(SwapLimit::Bytes(1)), None, "QoS Guaranteed")]
#[case::first_version_of_cgroups(None, Some(vec![partition("/sda", 1)]), "")]
#[case::nothing_known(None, None, "")]
fn how_much_it_matters(#[case] limit: Option<SwapLimit>, #[case] swaps: Option<Vec<SwapArea>>, #[case] says: &str) {
    let change = |facts: &mut Facts| {
        facts.memory = Some(memory(None, 0, limit));
        facts.swaps.clone_from(&swaps);
    };
    let unlocked = said(false, &Wanted::default(), change);
    assert!(unlocked.contains(says) && unlocked.is_empty() == says.is_empty(), "{unlocked:?}");
    assert_eq!(said(true, &Wanted::default(), change), "", "a locked daemon need not be told");
}

#[rstest]
#[case::as_the_node_sees_it("/dev/ublkb0", Some(40))]
#[case::as_a_container_sees_it("/ublkb0", Some(40))]
#[case::another("/dev/ublkb1", None)]
#[case::of_a_folder_of_that_name("/mnt/ublkb0", None)]
fn the_use_of_the_device(#[case] name: &str, #[case] percent: Option<u64>) {
    let wanted = Wanted { device: Some("/dev/ublkb0".into()), ..Wanted::default() };
    let mut facts = facts(vec![daemon()]);
    assert_eq!(judge(&facts, &wanted).figures.unwrap().device, None, "it could not be read");
    facts.swaps = Some(vec![partition("/dev/sda2", 1), partition(name, 400)]);
    let verdict = judge(&facts, &wanted);
    let figures = verdict.figures.unwrap();
    assert_eq!(figures.device.map(|used| used.percent()), percent);
    assert_eq!(figures.node_swap, Some(SwapUse { used_kb: 401, size_kb: 2000 }));
    assert_eq!(verdict.message.contains("the node has no swap on /dev/ublkb0"), percent.is_none());
    assert_eq!(judge(&facts, &Wanted::default()).figures.unwrap().device, None, "nobody named it");
}

#[test]
fn a_file_is_not_the_device() {
    let file = SwapArea { partition: false, ..partition("/ublkb0", 1) };
    assert!(!is_on(&file, "/dev/ublkb0"));
}

#[rstest]
#[case(0, 0, 0)]
#[case(1, 0, 0)]
#[case(999, 1000, 99)]
#[case(1000, 1000, 100)]
#[case(u64::MAX, u64::MAX, 100)]
#[case(u64::MAX, 1, 100)]
fn percent_never_overflows(#[case] used_kb: u64, #[case] size_kb: u64, #[case] percent: u64) {
    assert_eq!(SwapUse { used_kb, size_kb }.percent(), percent);
}
