use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::domain::probe::Process;

const IPC_LOCK: u64 = 1 << names::IPC_LOCK_BIT;

/// A fully locked daemon; each case spoils one thing.
fn facts() -> Facts {
    Facts {
        daemon: Process {
            pid: 1,
            name: "nbdkit".into(),
            uid: 0,
            size_kb: 207_540,
            locked_kb: 207_508,
            swapped_kb: 0,
            hugetlb_kb: 0,
            effective_capabilities: IPC_LOCK,
        },
        unlockable_kb: 32,
        unread_processes: 0,
        locked_limit: Some(LockedLimit::Bytes(8 << 20)),
        user_namespace: false,
    }
}

#[rstest]
#[case::locked(|_: &mut Facts| {}, State::Locked, "207508 kB")]
#[case::hugetlb_is_not_lockable(|f: &mut Facts| { f.daemon.size_kb += 4096; f.daemon.hugetlb_kb = 4096; }, State::Locked, "")]
#[case::one_page_short(|f: &mut Facts| f.daemon.locked_kb -= 4, State::Partial, "4 kB are not locked")]
#[case::one_page_locked(|f: &mut Facts| f.daemon.locked_kb = 4, State::Partial, "207504 kB are not locked")]
#[case::swapped_although_locked(|f: &mut Facts| f.daemon.swapped_kb = 25_604, State::Swapped, "25604 kB in swap")]
#[case::children_unread(|f: &mut Facts| f.unread_processes = 1, State::Unknown, "1 more process")]
#[case::children_do_not_hide_a_gap(|f: &mut Facts| { f.unread_processes = 1; f.daemon.locked_kb = 4; }, State::Partial, "")]
#[case::never_called(|f: &mut Facts| f.daemon.locked_kb = 0, State::Unlocked, "never called mlockall")]
#[case::root_without(|f: &mut Facts| { f.daemon.locked_kb = 0; f.daemon.effective_capabilities = 0; }, State::Unlocked, "recreate the pod")]
#[case::non_root(|f: &mut Facts| { f.daemon.locked_kb = 0; f.daemon.effective_capabilities = 0; f.daemon.uid = 1000; }, State::Unlocked, "uid 1000")]
#[case::user_namespace(|f: &mut Facts| { f.daemon.locked_kb = 0; f.user_namespace = true; }, State::Unlocked, "remove hostUsers: false")]
#[case::no_limit(|f: &mut Facts| { f.daemon.locked_kb = 0; f.daemon.effective_capabilities = 0; f.locked_limit = Some(LockedLimit::Unlimited); }, State::Unlocked, "limit is unlimited")]
fn judging(#[case] spoil: fn(&mut Facts), #[case] state: State, #[case] says: &str) {
    let mut facts = facts();
    spoil(&mut facts);
    let verdict = judge(&facts);
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
        size in 0_u64..1 << 40, locked in 0_u64..1 << 40, swapped in 0_u64..3, hugetlb in 0_u64..1 << 20,
        unlockable in 0_u64..64, unread in 0_usize..3, capabilities in any::<u64>(), user_namespace in any::<bool>(),
    ) {
        let mut facts = facts();
        facts.daemon = Process {
            size_kb: size, locked_kb: locked, swapped_kb: swapped, hugetlb_kb: hugetlb,
            effective_capabilities: capabilities, ..facts.daemon
        };
        facts.unlockable_kb = unlockable;
        facts.unread_processes = unread;
        facts.user_namespace = user_namespace;
        let proven = locked > 0 && swapped == 0 && unread == 0
            && i128::from(size) - i128::from(locked) - i128::from(hugetlb) <= i128::from(unlockable);
        prop_assert_eq!(judge(&facts).state == State::Locked, proven);
    }
}
