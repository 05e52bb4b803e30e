use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::domain::probe::{Mappings, Memory, Process, SwapArea};

const IPC_LOCK: u64 = 1 << names::IPC_LOCK_BIT;

/// A fully locked daemon; each case spoils one thing.
pub(in crate::domain) fn daemon() -> Process {
    Process {
        pid: 1,
        name: "nbdkit".into(),
        uid: 0,
        size_kb: 207_540,
        locked_kb: 207_508,
        swapped_kb: 0,
        hugetlb_kb: 0,
        effective_capabilities: IPC_LOCK,
        locked_limit: Some(LockedLimit::Bytes(8 << 20)),
        user_namespace: false,
        threads: None,
        mappings: None,
    }
}

pub(in crate::domain) fn facts(processes: Vec<Process>) -> Facts {
    let memory = Memory { limit: None, current: 0, reclaimable: 0, swap: None, swapped: Some(0) };
    Facts { processes, unread_processes: 0, unlockable_kb: 32, memory: Some(memory), swaps: None }
}

fn of_name(process: &str) -> Wanted {
    Wanted { process: Some(process.to_owned()), ..Wanted::default() }
}

/// Not locked by the counters: 404 kB more than what no process can lock, as with rings of 4096 entries.
fn with_mappings(process: &mut Process, explained_kb: u64, unexplained_kb: u64, swapped_kb: u64) {
    process.locked_kb -= 404;
    process.mappings = Some(Mappings { explained_kb, unexplained_kb, swapped_kb });
}

/// VFIO has pinned 1 GiB; growth after the lock, and the mappings without one.
fn pinning(process: &mut Process, grown_kb: u64, mappings: Option<(u64, u64)>) {
    process.size_kb += grown_kb;
    process.locked_kb += 1 << 20;
    let read = |(explained_kb, unexplained_kb)| Mappings { explained_kb, unexplained_kb, swapped_kb: 0 };
    process.mappings = mappings.map(read);
}

#[rstest]
#[case::locked(|_: &mut Process| {}, State::Locked, "207508 kB")]
#[case::hugetlb_is_not_lockable(|p: &mut Process| { p.size_kb += 4096; p.hugetlb_kb = 4096; }, State::Locked, "")]
#[case::one_page_short(|p: &mut Process| p.locked_kb -= 4, State::Partial, "4 kB are not locked")]
#[case::one_page_locked(|p: &mut Process| p.locked_kb = 4, State::Partial, "207504 kB are not locked")]
#[case::rings_of_io_uring(|p: &mut Process| with_mappings(p, 436, 0, 0), State::Locked, "404 kB more belong to the kernel")]
#[case::rings_and_a_page(|p: &mut Process| with_mappings(p, 432, 4, 0), State::Partial, " 4 kB are not locked")]
#[case::mappings_of_another_moment(|p: &mut Process| { with_mappings(p, 436, 0, 0); p.locked_kb -= 4; }, State::Partial, "408 kB are not locked")]
#[case::shared_memory_in_swap(|p: &mut Process| with_mappings(p, 436, 0, 8), State::Swapped, "has 8 kB in swap")]
#[case::none_locked_but_all_explained(|p: &mut Process| { with_mappings(p, 436, 0, 0); p.locked_kb = 0; }, State::Unlocked, "")]
#[case::swapped_although_locked(|p: &mut Process| p.swapped_kb = 25_604, State::Swapped, "without MCL_ONFAULT")]
#[case::swapped_and_never_locked(|p: &mut Process| { p.swapped_kb = 4; p.locked_kb = 0; }, State::Swapped, "never called mlockall")]
#[case::in_execve(|p: &mut Process| { p.size_kb = 32; p.locked_kb = 0; p.name = "runc:[2:INIT]".into(); }, State::Unknown, "just starting")]
#[case::driver_pins(|p: &mut Process| pinning(p, 0, None), State::Unknown, "let the agent in")]
#[case::driver_pins_and_all_locked(|p: &mut Process| pinning(p, 0, Some((32, 0))), State::Locked, "has locked all of its 207508 kB")]
#[case::driver_pins_and_grown(|p: &mut Process| pinning(p, 500_000, Some((32, 500_000))), State::Partial, "has locked 207508 kB, but 500000 kB are not locked")]
#[case::driver_pins_and_swapped(|p: &mut Process| { pinning(p, 0, None); p.swapped_kb = 4; }, State::Swapped, "has 4 kB in swap now: it locked")]
#[case::driver_pins_and_none_locked(|p: &mut Process| pinning(p, 0, Some((36, 207_504))), State::Unlocked, "never called mlockall")]
#[case::never_called(|p: &mut Process| p.locked_kb = 0, State::Unlocked, "never called mlockall")]
#[case::root_without(|p: &mut Process| { p.locked_kb = 0; p.effective_capabilities = 0; }, State::Unlocked, "recreate the pod")]
#[case::non_root(|p: &mut Process| { p.locked_kb = 0; p.effective_capabilities = 0; p.uid = 1000; }, State::Unlocked, "uid 1000")]
#[case::user_namespace(|p: &mut Process| { p.locked_kb = 0; p.user_namespace = true; }, State::Unlocked, "remove hostUsers: false")]
#[case::no_limit(|p: &mut Process| { p.locked_kb = 0; p.effective_capabilities = 0; p.locked_limit = Some(LockedLimit::Unlimited); }, State::Unlocked, "limit is unlimited")]
fn judging_one_process(#[case] spoil: fn(&mut Process), #[case] state: State, #[case] says: &str) {
    let mut process = daemon();
    spoil(&mut process);
    let verdict = judge(&facts(vec![process]), &Wanted::default());
    assert_eq!(verdict.state, state, "{}", verdict.message);
    assert!(verdict.message.contains(says), "{}", verdict.message);
}

#[test]
fn what_nobody_could_tell_is_not_zero() {
    let mut process = daemon();
    pinning(&mut process, 0, None);
    assert_eq!(judge(&facts(vec![process]), &Wanted::default()).figures, None);
}

#[test]
fn a_container_is_as_bad_as_its_worst_process() {
    let child = Process { pid: 9, name: "worker".into(), locked_kb: 0, ..daemon() };
    let both = facts(vec![daemon(), child]);
    let verdict = judge(&both, &Wanted::default());
    assert_eq!(verdict.state, State::Unlocked);
    assert!(verdict.message.starts_with("1 of 2 processes unlocked: process 9 (worker)"), "{}", verdict.message);
    assert_eq!(verdict.figures.unwrap().locked_kb, 207_508);
    assert_eq!(judge(&both, &of_name("nbdkit")).state, State::Locked, "only the named process counts");
    let none = judge(&both, &of_name("ublk"));
    assert_eq!(none.state, State::Unknown);
    assert!(none.message.contains("the container has nbdkit, worker"), "{}", none.message);
}

#[test]
fn an_unread_process_makes_locked_unknown_and_hides_nothing_bad() {
    let crowded = |process| Facts { unread_processes: 1, ..facts(vec![process]) };
    let verdict = judge(&crowded(daemon()), &Wanted::default());
    assert_eq!(verdict.state, State::Unknown);
    assert!(verdict.message.contains("1 more process"), "{}", verdict.message);
    assert_eq!(judge(&crowded(daemon()), &of_name("nbdkit")).state, State::Unknown, "it may have the same name");
    assert_eq!(judge(&crowded(Process { locked_kb: 4, ..daemon() }), &Wanted::default()).state, State::Partial);
}

/// Shared memory in swap is in no counter of the process that maps it.
#[rstest]
#[case::nothing(Some(0), None, None, State::Locked, "nothing is in swap")]
#[case::something(Some(4096), None, None, State::Unknown, "but 4 kB of the container are, shared memory perhaps")]
#[case::something_else(Some(4096), None, Some(0), State::Locked, "")]
#[case::its_own(Some(4096), None, Some(4), State::Swapped, "has 4 kB in swap")]
#[case::cannot_be_read(None, None, None, State::Unknown, "cannot be read")]
#[case::the_node_uses_none(None, Some(0), None, State::Locked, "")]
#[case::the_node_uses_some(None, Some(4), None, State::Unknown, "cannot be read")]
#[case::the_node_uses_some_of_others(None, Some(4), Some(0), State::Locked, "")]
fn swap_that_no_counter_shows(
    #[case] of_the_group: Option<u64>,
    #[case] of_the_node: Option<u64>,
    #[case] by_mappings: Option<u64>,
    #[case] state: State,
    #[case] says: &str,
) {
    let mut process = daemon();
    process.mappings = by_mappings.map(|swapped_kb| Mappings { explained_kb: 32, unexplained_kb: 0, swapped_kb });
    let mut facts = facts(vec![process]);
    facts.memory = facts.memory.map(|memory| Memory { swapped: of_the_group, ..memory });
    let area = |used_kb| SwapArea { name: "/sda".into(), partition: true, size_kb: 1000, used_kb };
    facts.swaps = of_the_node.map(|used_kb| vec![area(0), area(used_kb)]);
    let verdict = judge(&facts, &Wanted::default());
    assert_eq!(verdict.state, state, "{}", verdict.message);
    assert!(verdict.message.contains(says), "{}", verdict.message);
}

#[test]
fn a_pod_is_as_bad_as_its_worst_container() {
    let of = |state| Verdict { state, reason: Reason::Locked, figures: None, message: format!("m-{}", state.label()) };
    for (n, bad) in State::ALL.iter().enumerate() {
        for good in State::ALL.iter().skip(n) {
            let both = [("a".to_owned(), of(*good)), ("b".to_owned(), of(*bad))];
            let verdict = worst(&both);
            assert_eq!(verdict.state, *bad);
            assert!(verdict.message.contains("container a: m-") && verdict.message.contains("container b: m-"));
        }
    }
    assert_eq!(worst(&[]).state, State::Unknown);
}

proptest! {
    #[test]
    fn locked_is_said_only_with_every_proof(
        size in 0_u64..1 << 40, locked in 0_u64..1 << 40, pinned in prop_oneof![Just(0_u64), 0_u64..1 << 22], swapped in 0_u64..3, hugetlb in 0_u64..1 << 20,
        unlockable in 0_u64..64, unread in 0_usize..3, capabilities in any::<u64>(), user_namespace in any::<bool>(),
        explained in 0_u64..1 << 20, unexplained in 0_u64..3, swapped_by_mappings in 0_u64..3, read in any::<bool>(),
        agree in any::<bool>(), swapped_of_group in proptest::option::of(0_u64..2),
    ) {
        let size = if agree { locked + explained + unexplained } else { size };
        let locked = locked + pinned;
        let process = Process {
            size_kb: size, locked_kb: locked, swapped_kb: swapped, hugetlb_kb: hugetlb,
            effective_capabilities: capabilities, user_namespace,
            mappings: read.then_some(Mappings {
                explained_kb: explained, unexplained_kb: unexplained, swapped_kb: swapped_by_mappings,
            }),
            ..daemon()
        };
        let mut facts = Facts { unlockable_kb: unlockable, unread_processes: unread, ..facts(vec![process]) };
        facts.memory = facts.memory.map(|memory| Memory { swapped: swapped_of_group, ..memory });
        let gap = i128::from(size) - i128::from(locked);
        let counts_more = i128::from(locked) > i128::from(size.saturating_sub(hugetlb));
        let by_counters = !counts_more && gap - i128::from(hugetlb) <= i128::from(unlockable);
        let by_mappings = read && unexplained == 0 && if counts_more { explained < size } else { gap == i128::from(explained) };
        let in_swap = swapped > 0 || read && swapped_by_mappings > 0;
        let explained_swap = read || swapped_of_group == Some(0);
        let proven = locked > 0 && !in_swap && unread == 0 && explained_swap && (by_counters || by_mappings);
        prop_assert_eq!(judge(&facts, &Wanted::default()).state == State::Locked, proven);
    }
}
