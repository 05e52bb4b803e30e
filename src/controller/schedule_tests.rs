use serde_json::{Value, json};

use super::*;
use crate::{
    controller::{
        assess::tests::{pod, target},
        report,
    },
    domain::verdict::{Figures, Reason, Verdict},
};

const INTERVAL: Duration = Duration::from_mins(5);

fn schedule_with(pod: PodView, now: Instant) -> Schedule {
    let mut schedule = Schedule::new(INTERVAL);
    schedule.observe(Change::Seen(Box::new(pod)), now);
    schedule
}

fn locked() -> Checked {
    let verdict = Verdict {
        state: State::Locked,
        reason: Reason::Locked,
        figures: Some(Figures { locked_kb: 1000, ..Figures::default() }),
        message: "all locked".into(),
    };
    Checked {
        containers: vec![("c".into(), verdict.clone())],
        verdict,
        ended: Ended::Through,
        headroom: Headroom::new(),
    }
}

fn only(mut steps: Vec<Step>) -> Step {
    assert_eq!(steps.len(), 1, "{steps:?}");
    steps.remove(0)
}

/// Runs the one step that is due as the engine would, with the check's result given.
fn perform(schedule: &mut Schedule, checked: Checked, outcome: Written, now: Instant) -> &'static str {
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
    for nominal in [2, 3, 10, 45, 300, 300] {
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
async fn a_check_that_hung_is_not_repeated_soon() {
    let now = Instant::now();
    let mut schedule = schedule_with(pod(&json!({})), now);
    let hung = Checked {
        verdict: Verdict::unknown("x"),
        containers: vec![("c".into(), Verdict::unknown("x"))],
        ended: Ended::Hung,
        headroom: Headroom::new(),
    };
    perform(&mut schedule, hung, Written::Done, now);
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

#[tokio::test(start_paused = true)]
async fn a_new_leader_knows_where_too_little_room_is_left() {
    let now = Instant::now();
    let tight = |left: u64| {
        let report = Report::checked(locked().verdict, &locked().containers, &[target("c1")]);
        let report = report.with_headroom(&[target("c1")], &vec![Some(left)]);
        pod(&report.patch(&pod(&json!({})), jiff::Timestamp::UNIX_EPOCH))
    };
    for (left, known) in [(9 << 20, Some(9 << 20)), ((1 << 20) - 1, Some(0)), (16 << 20, None)] {
        let mut schedule = schedule_with(tight(left), now);
        let due = schedule.next_due().unwrap();
        let Step::Check { headroom, .. } = only(schedule.steps(due)) else { panic!("a check is due") };
        assert_eq!(headroom, [known], "{left}");
    }
    // Said of a container that has been restarted since.
    let mut restarted = tight(9 << 20);
    restarted.status.container_statuses = pod(&json!({})).status.container_statuses;
    let id = restarted.status.container_statuses[0].container_id.insert("containerd://another".to_owned()).clone();
    let headroom =
        report::headroom_on(&restarted, &[crate::controller::assess::Target { id: Some(id), ..target("c1") }]);
    assert_eq!(headroom, [None]);
}
