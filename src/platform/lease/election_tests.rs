use rstest::rstest;

use super::*;

const fn at(tenths: u64) -> Duration {
    Duration::from_millis(tenths * 100)
}

fn election() -> Election {
    Election::new("me".to_owned(), Timing::default(), || 0.0)
}

fn record(holder: &str, version: u32) -> Record {
    Record { holder: holder.to_owned(), transitions: 3, version: version.to_string(), life: Duration::from_secs(15) }
}

/// Claimed at 0 s, answered at once.
fn holder() -> Election {
    let mut election = election();
    election.read(Some(record("", 1)), at(0));
    election.wrote(record("me", 2), at(0), at(0));
    election
}

#[test]
fn nobodys_lease_is_claimed_at_once() {
    let mut free = election();
    assert_eq!(free.next(at(0)), Next::Read);
    free.read(Some(record("", 1)), at(0));
    assert_eq!(free.next(at(0)), Next::Write { transitions: 4 });
}

#[test]
fn a_missing_lease_is_made_only_after_it_was_missing_for_a_whole_life() {
    let mut missing = election();
    missing.read(None, at(0));
    assert_eq!(missing.next(at(0)), Next::Wait(Duration::from_secs(2)));
    missing.read(None, at(149));
    assert!(matches!(missing.next(at(149)), Next::Wait(_)), "its last holder may still believe in it");
    missing.read(None, at(150));
    assert_eq!(missing.next(at(150)), Next::Write { transitions: 0 });
    let mut deleted = election();
    deleted.read(Some(record("other", 1)), at(0));
    deleted.read(None, at(200));
    assert!(matches!(deleted.next(at(200)), Next::Wait(_)), "counted from when it was first missed");
    deleted.read(Some(record("", 1)), at(220));
    assert!(matches!(deleted.next(at(220)), Next::Write { .. }), "an empty one is free at once");
}

#[test]
fn a_held_lease_is_taken_only_after_it_was_seen_unchanged_for_its_whole_life() {
    let mut election = election();
    election.read(Some(record("other", 1)), at(0));
    assert_eq!(election.next(at(0)), Next::Wait(Duration::from_secs(2)));
    assert_eq!(election.next(at(20)), Next::Read);
    election.read(Some(record("other", 2)), at(100));
    election.read(Some(record("other", 2)), at(249));
    assert!(matches!(election.next(at(249)), Next::Wait(_)), "renewed at 10 s, so not before 25 s");
    election.read(Some(record("other", 2)), at(250));
    assert_eq!(election.next(at(250)), Next::Write { transitions: 4 });
}

#[test]
fn a_holder_that_asks_for_a_longer_life_gets_it_and_a_shorter_one_is_not_believed() {
    let mut election = election();
    let life = |seconds| Record { life: Duration::from_secs(seconds), ..record("other", 1) };
    election.read(Some(life(60)), at(0));
    election.read(Some(life(60)), at(599));
    assert!(matches!(election.next(at(599)), Next::Wait(_)));
    election.read(Some(life(60)), at(600));
    assert!(matches!(election.next(at(600)), Next::Write { .. }));
    election.read(Some(life(1)), at(700));
    election.read(Some(life(1)), at(849));
    assert!(matches!(election.next(at(849)), Next::Wait(_)));
}

#[test]
fn the_holder_renews_and_gives_up_by_its_own_clock() {
    let mut election = holder();
    assert_eq!(election.held_until(), Some(at(100)));
    assert_eq!(election.next(at(1)), Next::Wait(Duration::from_millis(1900)));
    assert_eq!(election.next(at(20)), Next::Write { transitions: 3 });
    election.wrote(record("me", 3), at(20), at(50));
    assert_eq!(election.held_until(), Some(at(120)), "counted from before the request, not from its answer");
    for time in [60, 80, 119] {
        election.failed(at(time));
        assert!(!matches!(election.next(at(time)), Next::Lost(_)));
    }
    assert_eq!(election.next(at(119)), Next::Wait(Duration::from_millis(100)), "never a wait beyond the deadline");
    assert_eq!(election.next(at(120)), Next::Lost(Loss::Deadline));
}

#[test]
fn an_answer_that_comes_after_the_deadline_holds_nothing() {
    let mut election = election();
    election.read(Some(record("", 1)), at(0));
    election.wrote(record("me", 2), at(0), at(101));
    assert_eq!(election.next(at(101)), Next::Lost(Loss::Deadline), "stopped between claim and answer");
}

#[test]
fn a_conflict_is_read_and_only_another_holder_ends_it() {
    let mut election = holder();
    election.refused(at(20));
    assert!(matches!(election.next(at(20)), Next::Wait(_)));
    assert_eq!(election.next(at(23)), Next::Read);
    election.read(Some(record("me", 9)), at(23));
    assert_eq!(election.next(at(23)), Next::Write { transitions: 3 }, "somebody annotated it");
    assert_eq!(election.held_until(), Some(at(100)), "reading our own name renews nothing");
}

#[rstest]
#[case::taken_over(Some(record("other", 9)), Loss::TakenOver)]
#[case::emptied(Some(record("", 9)), Loss::TakenOver)]
#[case::deleted(None, Loss::Deleted)]
fn what_ends_a_holder_before_its_deadline(#[case] found: Option<Record>, #[case] loss: Loss) {
    let mut election = holder();
    election.refused(at(20));
    election.read(found, at(23));
    assert_eq!(election.next(at(23)), Next::Lost(loss));
}

#[test]
fn a_claim_without_an_answer_is_found_again() {
    let mut election = election();
    election.read(Some(record("", 1)), at(0));
    election.failed(at(40));
    assert!(election.held_until().is_none(), "nobody leads on a guess");
    assert_eq!(election.next(at(60)), Next::Read);
    election.read(Some(record("me", 2)), at(61));
    assert_eq!(election.next(at(61)), Next::Write { transitions: 3 });
}
