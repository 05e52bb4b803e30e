use rstest::rstest;
use serde_json::json;

use super::*;
use crate::{
    controller::assess::tests::{pod, target},
    domain::verdict::{Figures, Reason, State},
};

fn verdict(state: State, reason: Reason, locked_kb: u64) -> Verdict {
    let figures = Some(Figures { locked_kb, ..Figures::default() });
    Verdict { state, reason, figures, message: format!("locked {locked_kb} kB") }
}

fn report(locked_kb: u64, id: &str) -> Report {
    let verdict = verdict(State::Locked, Reason::Locked, locked_kb);
    Report::checked(verdict.clone(), &[("c".to_owned(), verdict)], &[target(id)])
}

/// The pod after the API server took the patch.
fn patched(report: &Report) -> PodView {
    pod(&report.patch(&pod(&json!({})), Timestamp::UNIX_EPOCH))
}

#[test]
fn one_patch_carries_condition_label_annotation_and_uid() {
    let patch = report(207_508, "0123456789abcdef").patch(&pod(&json!({})), Timestamp::UNIX_EPOCH);
    insta::assert_json_snapshot!(patch);
}

#[test]
fn what_stands_is_not_written_again_and_what_changed_is() {
    let standing = patched(&report(1000, "a"));
    assert!(report(1000, "a").stands_on(&standing));
    assert!(report(1099, "a").stands_on(&standing), "less than a tenth is no news");
    assert!(!report(1200, "a").stands_on(&standing), "more than a tenth is");
    assert!(!report(1000, "b").stands_on(&standing), "so is another container");
    assert!(!Report::settled(Verdict::pending("x")).stands_on(&standing));
    assert!(!report(1000, "a").stands_on(&pod(&json!({}))));
}

#[test]
fn a_new_sentence_without_figures_is_news() {
    let standing = patched(&Report::settled(Verdict::unknown("this")));
    assert!(Report::settled(Verdict::unknown("this")).stands_on(&standing));
    assert!(!Report::settled(Verdict::unknown("that")).stands_on(&standing));
}

#[test]
fn the_transition_time_moves_only_with_the_status() {
    let before = patched(&report(1000, "a"));
    let later = Timestamp::from_second(1_000_000).unwrap();
    let time = |patch: Value| patch["status"]["conditions"][0]["lastTransitionTime"].clone();
    assert_eq!(time(report(5000, "b").patch(&before, later)), json!("1970-01-01T00:00:00Z"));
    assert_eq!(time(Report::settled(Verdict::unknown("x")).patch(&before, later)), json!("1970-01-12T13:46:40Z"));
}

/// Status of the gate's condition after each verdict in turn.
#[rstest]
#[case::locked(&[(State::Locked, "a")], "True")]
#[case::never_checked(&[(State::Pending, "a")], "False")]
#[case::could_not_be_checked_yet(&[(State::Unknown, "a")], "False")]
#[case::a_check_that_failed_takes_nothing_away(&[(State::Locked, "a"), (State::Unknown, "a")], "True")]
#[case::a_definite_failure_does(&[(State::Locked, "a"), (State::Partial, "a")], "False")]
#[case::and_lasts(&[(State::Locked, "a"), (State::Swapped, "a"), (State::Unknown, "a")], "False")]
#[case::a_restart_does(&[(State::Locked, "a"), (State::Pending, ""), (State::Unknown, "b")], "False")]
#[case::also_one_that_nobody_wrote_down(&[(State::Locked, "a"), (State::Unknown, "b")], "False")]
#[case::what_is_said_of_no_run_proves_none(&[(State::Locked, "a"), (State::Unknown, "")], "False")]
#[case::locked_again(&[(State::Locked, "a"), (State::Pending, ""), (State::Locked, "b")], "True")]
fn the_gate_latches(#[case] runs: &[(State, &str)], #[case] expected: &str) {
    let gate = json!({ "spec": { "readinessGates": [{ "conditionType": "memlock.dev/LockVerified" }] } });
    let mut standing = pod(&gate);
    for (state, id) in runs {
        let verdict = Verdict { figures: None, ..verdict(*state, Reason::CannotCheck, 1) };
        let report = if id.is_empty() {
            Report::settled(verdict)
        } else {
            Report::checked(verdict.clone(), &[("c".to_owned(), verdict)], &[target(id)])
        };
        assert!(!report.stands_on(&standing), "{state:?} is news");
        let mut change = gate.clone();
        json_patch::merge(&mut change, &report.patch(&standing, Timestamp::UNIX_EPOCH));
        standing = pod(&change);
        assert!(report.stands_on(&standing), "{state:?} stands");
    }
    let condition = standing.condition_of_type(names::LOCK_VERIFIED_CONDITION).unwrap();
    assert_eq!(condition.status, expected);
    assert!(
        patched(&report(1, "a")).condition_of_type(names::LOCK_VERIFIED_CONDITION).is_none(),
        "only where asked for"
    );
}

#[test]
fn a_report_speaks_of_the_containers_it_was_made_for() {
    let standing = patched(&report(1000, "a"));
    assert!(speaks_of(&standing, None, &[target("a")]));
    assert!(!speaks_of(&standing, None, &[target("b")]));
    assert!(
        speaks_of(&standing, Some(&report(1000, "b")), &[target("b")]),
        "what was written last is newer than what was seen"
    );
    assert!(speaks_of(&pod(&json!({})), None, &[target("b")]));
}

#[test]
fn text_is_cut_between_characters() {
    let mut text = "äöü".repeat(3);
    truncate(&mut text, 10);
    assert_eq!(text, "äöü…");
}
