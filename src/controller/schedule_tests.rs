use serde_json::{Value, json};

use super::*;
use crate::{
    controller::{
        assess::tests::{pod, target},
        check::{Ended, Look},
    },
    domain::verdict::{Figures, Reason, Verdict},
};

pub(super) const INTERVAL: Duration = Duration::from_mins(5);

pub(super) fn schedule_with(pod: PodView, now: Instant) -> Schedule {
    let mut schedule = Schedule::new(INTERVAL, Arc::default());
    schedule.observe(Change::Seen(Box::new(pod)), now);
    schedule
}

pub(super) fn locked() -> Checked {
    let verdict = Verdict {
        state: State::Locked,
        reason: Reason::Locked,
        figures: Some(Figures { locked_kb: 1000, ..Figures::default() }),
        message: "all locked".into(),
    };
    showing(verdict, Ended::Through)
}

/// One look into the one container.
pub(super) fn showing(verdict: Verdict, ended: Ended) -> Checked {
    Checked { containers: vec![("c".into(), verdict.clone())], verdict, looks: vec![Look { ended, left: None }] }
}

pub(super) fn unlocked() -> Checked {
    let verdict = Verdict { state: State::Unlocked, reason: Reason::NotLocked, ..locked().verdict };
    showing(verdict, Ended::Through)
}

pub(super) fn only(mut steps: Vec<Step>) -> Step {
    assert_eq!(steps.len(), 1, "{steps:?}");
    steps.remove(0)
}

/// Runs the one step that is due as the engine would, with the check's result given.
pub(super) fn perform(schedule: &mut Schedule, checked: Checked, outcome: Written, now: Instant) -> &'static str {
    match only(schedule.steps(now)) {
        Step::Check { key, uid, targets, .. } => {
            schedule.checked(&key, &uid, &targets, checked, now);
            "check"
        }
        Step::Write { key, pod, report, .. } => {
            let said = report.verdict.label();
            schedule.written(&key, pod.uid(), Some(report), outcome, now);
            said
        }
        Step::Clean { key, pod } => {
            schedule.written(&key, pod.uid(), None, outcome, now);
            "clean"
        }
    }
}

fn restarted(id: &str) -> PodView {
    pod(
        &json!({ "status": { "containerStatuses": [{ "name": "c", "containerID": format!("containerd://{id}"), "state": { "running": {} } }] } }),
    )
}

#[tokio::test(start_paused = true)]
async fn a_running_container_is_checked_at_once_and_the_verdict_written_once() {
    let now = Instant::now();
    let mut schedule = schedule_with(pod(&json!({})), now);
    assert_eq!(perform(&mut schedule, locked(), Written::Done, now), "check");
    assert_eq!(perform(&mut schedule, locked(), Written::Done, now), "locked");
    assert!(schedule.steps(now).is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_verdict_is_told_once_and_states_are_counted() {
    let now = Instant::now();
    let mut schedule = schedule_with(pod(&json!({})), now);
    assert_eq!(schedule.states(), Some(&HashMap::from([(State::Pending, 1)])));
    perform(&mut schedule, locked(), Written::Done, now);
    let Step::Write { key, pod, report, .. } = only(schedule.steps(now)) else { panic!("a write is due") };
    let later = now + Duration::from_secs(1);
    let told = schedule.written(&key, pod.uid(), Some(report.clone()), Written::Done, later);
    assert_eq!(told, Some(Duration::from_secs(1)));
    assert_eq!(schedule.written(&key, pod.uid(), Some(report), Written::Done, later), None);
    assert_eq!(schedule.states(), Some(&HashMap::from([(State::Locked, 1)])));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_that_already_stands() {
    let now = Instant::now();
    let first = Report::checked(locked().verdict, &locked().containers, &[target("c1")]);
    let standing = pod(&first.patch(&pod(&json!({})), jiff::Timestamp::UNIX_EPOCH));
    // As after a restart of the controller: the object alone says what was.
    let mut schedule = schedule_with(standing, now);
    for _ in 0..10 {
        let due = schedule.next_due().unwrap();
        assert_eq!(perform(&mut schedule, locked(), Written::Done, due), "check");
        assert!(schedule.steps(due).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_to_the_interval_with_jitter() {
    let now = Instant::now();
    let mut schedule = schedule_with(pod(&json!({})), now);
    perform(&mut schedule, locked(), Written::Done, now);
    perform(&mut schedule, locked(), Written::Done, now);
    let mut at = now;
    for nominal in [2, 3, 10, 45, 270, 270] {
        let due = schedule.next_due().unwrap();
        let pause = (due - at).as_secs_f64();
        let nominal = f64::from(nominal);
        assert!((nominal * 0.9..=nominal * 1.1).contains(&pause), "{pause} for {nominal}");
        at = due;
        for step in schedule.steps(due) {
            if let Step::Check { key, uid, targets, .. } = step {
                schedule.checked(&key, &uid, &targets, locked(), due);
            }
        }
        for step in schedule.steps(due) {
            if let Step::Write { key, pod, report, .. } = step {
                schedule.written(&key, pod.uid(), Some(report), Written::Done, due);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_pending_at_once_and_then_checked() {
    let now = Instant::now();
    let mut schedule = schedule_with(pod(&json!({})), now);
    perform(&mut schedule, locked(), Written::Done, now);
    perform(&mut schedule, locked(), Written::Done, now);
    schedule.observe(Change::Seen(Box::new(restarted("c2"))), now);
    assert_eq!(perform(&mut schedule, locked(), Written::Done, now), "pending");
    assert_eq!(perform(&mut schedule, locked(), Written::Done, now), "check");
    assert_eq!(perform(&mut schedule, locked(), Written::Done, now), "locked");
}

#[tokio::test(start_paused = true)]
async fn a_check_of_a_container_that_was_replaced_is_dropped() {
    let now = Instant::now();
    let mut schedule = schedule_with(pod(&json!({})), now);
    let Step::Check { key, uid, targets, .. } = only(schedule.steps(now)) else { panic!("a check is due") };
    schedule.observe(Change::Seen(Box::new(restarted("c2"))), now);
    assert!(schedule.steps(now).is_empty(), "one thing at a time");
    schedule.checked(&key, &uid, &targets, locked(), now);
    assert_eq!(
        perform(&mut schedule, locked(), Written::Done, now),
        "check",
        "the verdict of the old container is not written"
    );
}

#[tokio::test(start_paused = true)]
async fn a_check_of_a_pod_that_was_recreated_is_dropped() {
    let now = Instant::now();
    let mut schedule = schedule_with(pod(&json!({})), now);
    let Step::Check { key, uid, targets, .. } = only(schedule.steps(now)) else { panic!("a check is due") };
    schedule.observe(Change::Seen(Box::new(pod(&json!({ "metadata": { "uid": "u-2" } })))), now);
    schedule.checked(&key, &uid, &targets, locked(), now);
    assert!(matches!(only(schedule.steps(now)), Step::Check { uid, .. } if uid == "u-2"));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_leaves_and_comes_back_while_it_is_looked_at_keeps_no_slot() {
    let now = Instant::now();
    let mut schedule = schedule_with(pod(&json!({})), now);
    let mut looks = schedule.steps(now);
    schedule.observe(Change::Gone(pod(&json!({})).key()), now);
    schedule.observe(Change::Seen(Box::new(pod(&json!({})))), now);
    looks.extend(schedule.steps(now));
    assert_eq!(looks.len(), 2, "{looks:?}");
    for look in looks {
        let Step::Check { key, uid, targets, .. } = look else { panic!("{look:?}") };
        schedule.checked(&key, &uid, &targets, locked(), now);
    }
    assert_eq!(schedule.checks.taken(), 0);
}

#[test]
fn a_check_without_a_look_says_nothing_of_the_node() {
    let hung = |all: &[Ended]| {
        let looks = all.iter().map(|ended| Look { ended: *ended, left: None }).collect();
        Checked { looks, ..locked() }.hung()
    };
    assert_eq!(hung(&[Ended::Spared]), None);
    assert_eq!(hung(&[Ended::Spared, Ended::Through]), Some(false));
    assert_eq!(hung(&[Ended::Through, Ended::Hung]), Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hung_is_not_repeated_soon() {
    let now = Instant::now();
    let mut schedule = schedule_with(pod(&json!({})), now);
    perform(&mut schedule, showing(Verdict::unknown("x"), Ended::Hung), Written::Done, now);
    assert_eq!(perform(&mut schedule, locked(), Written::Done, now), "unknown");
    assert!(schedule.next_due().unwrap() - now >= Duration::from_secs(270));
    schedule.observe(Change::Seen(Box::new(restarted("c2"))), now);
    assert_eq!(perform(&mut schedule, locked(), Written::Done, now), "pending", "a restart ends the wait");
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_is_tried_again_with_back_off() {
    let now = Instant::now();
    let waiting = pod(&json!({ "status": null }));
    let mut schedule = schedule_with(waiting, now);
    let mut at = now;
    for nominal in [1.0, 2.0, 4.0] {
        assert_eq!(perform(&mut schedule, locked(), Written::Failed, at), "pending");
        assert!(schedule.steps(at).is_empty());
        let due = schedule.next_due().unwrap();
        assert!((nominal * 0.9..=nominal * 1.1).contains(&(due - at).as_secs_f64()));
        at = due;
    }
    assert_eq!(perform(&mut schedule, locked(), Written::Done, at), "pending");
    assert_eq!(schedule.next_due(), None);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_was_lost_is_told_all_the_same() {
    let now = Instant::now();
    let mut schedule = schedule_with(pod(&json!({})), now);
    perform(&mut schedule, unlocked(), Written::Done, now);
    let Step::Write { key, pod: before, report, previous } = only(schedule.steps(now)) else {
        panic!("a write is due")
    };
    assert_eq!(previous, "");
    // It stands on the pod, and the watch is quicker than the second try.
    let standing = pod(&report.patch(&before, jiff::Timestamp::UNIX_EPOCH));
    schedule.written(&key, before.uid(), Some(report), Written::Failed, now);
    schedule.observe(Change::Seen(Box::new(standing)), now);
    let due = schedule.next_due().unwrap();
    let step = schedule.steps(due).into_iter().find_map(|step| match step {
        Step::Write { previous, .. } => Some(previous),
        _ => None,
    });
    assert_eq!(step, Some(""), "nobody was told yet");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_opts_out_is_cleaned_and_forgotten() {
    let now = Instant::now();
    let out: Value = json!({ "metadata": { "annotations": { "memlock.dev/swap-device": "false" }, "labels": { "memlock.dev/state": "locked" } } });
    let mut schedule = schedule_with(pod(&out), now);
    assert_eq!(perform(&mut schedule, locked(), Written::Done, now), "clean");
    assert!(schedule.steps(now).is_empty() && schedule.next_due().is_none());
}

#[tokio::test(start_paused = true)]
async fn pods_that_went_while_the_watch_was_away_are_forgotten() {
    let now = Instant::now();
    let mut schedule = schedule_with(pod(&json!({})), now);
    schedule.observe(Change::Listed(std::collections::HashSet::new()), now);
    assert!(schedule.next_due().is_none());
}

/// Looks with this result until something is to be written, which is; gives the time that took and what was written.
fn until_written(
    schedule: &mut Schedule,
    checked: &Checked,
    outcome: Written,
    from: Instant,
) -> (Duration, &'static str) {
    loop {
        let due = schedule.next_due().unwrap().max(from);
        let said = perform(schedule, checked.clone(), outcome, due);
        if said != "check" {
            return (due - from, said);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_ends_no_supervision_and_what_is_written_at_last_is_new() {
    let now = Instant::now();
    let mut schedule = schedule_with(pod(&json!({})), now);
    perform(&mut schedule, locked(), Written::Done, now);
    assert_eq!(perform(&mut schedule, locked(), Written::Failed, now), "locked");
    // The daemon loses its lock while the API server refuses.
    let mut at = now;
    let mut looks = 0;
    while at < now + Duration::from_secs(70) {
        at = schedule.next_due().unwrap();
        match perform(&mut schedule, unlocked(), Written::Failed, at) {
            "check" => looks += 1,
            said => assert!(said == "unlocked" || looks == 0, "{said} after {looks} looks"),
        }
    }
    assert_eq!(looks, 4, "at 2, 5, 15 and 60 s");
    let (wait, said) = until_written(&mut schedule, &unlocked(), Written::Done, at);
    assert_eq!(said, "unlocked");
    assert!(wait <= INTERVAL.mul_f64(1.1), "{wait:?}");
}

#[tokio::test(start_paused = true)]
async fn a_verdict_that_lands_after_a_restart_is_followed_by_pending_at_once() {
    let now = Instant::now();
    for seen_before_the_answer in [true, false] {
        let mut schedule = schedule_with(pod(&json!({})), now);
        perform(&mut schedule, locked(), Written::Done, now);
        let Step::Write { key, pod: view, report, .. } = only(schedule.steps(now)) else { panic!("a write is due") };
        let patch = report.patch(&view, jiff::Timestamp::UNIX_EPOCH);
        // The container restarts, and the write of its old verdict lands behind that.
        let mut after = restarted("c2");
        if seen_before_the_answer {
            schedule.observe(Change::Seen(Box::new(after)), now);
            schedule.written(&key, view.uid(), Some(report), Written::Done, now);
        } else {
            schedule.written(&key, view.uid(), Some(report), Written::Done, now);
            let mut raw = serde_json::to_value(&after).unwrap();
            json_patch::merge(&mut raw, &patch);
            after = serde_json::from_value(raw).unwrap();
            schedule.observe(Change::Seen(Box::new(after)), now);
        }
        assert_eq!(schedule.next_due(), Some(now));
        assert_eq!(perform(&mut schedule, locked(), Written::Done, now), "pending");
    }
}
