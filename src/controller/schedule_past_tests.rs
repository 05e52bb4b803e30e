//! What earlier looks mean for the next one.

use serde_json::{Value, json};

use super::{
    tests::{INTERVAL, locked, only, perform, schedule_with, showing, unlocked},
    *,
};
use crate::{
    controller::{
        assess::tests::{pod, target},
        check::{Ended, Look},
        past::Past,
    },
    domain::verdict::Verdict,
};

/// As the API server shows the pod after this report.
fn standing(report: &Report, on: &PodView) -> PodView {
    let mut raw = serde_json::to_value(on).unwrap();
    json_patch::merge(&mut raw, &report.patch(on, jiff::Timestamp::UNIX_EPOCH));
    serde_json::from_value(raw).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_gone_is_looked_for_twice_before_that_is_told() {
    let now = Instant::now();
    // What the next look shows decides; a first verdict needs no second look.
    for (second, told) in [(locked(), None), (unlocked(), Some("unlocked"))] {
        let mut schedule = schedule_with(pod(&json!({})), now);
        perform(&mut schedule, locked(), Written::Done, now);
        let Step::Write { key, report, .. } = only(schedule.steps(now)) else { panic!("a write is due") };
        let before = pod(&json!({}));
        schedule.observe(Change::Seen(Box::new(standing(&report, &before))), now);
        schedule.written(&key, before.uid(), Some(report), Written::Done, now);
        let at = schedule.next_due().unwrap();
        let Step::Check { key, uid, targets, .. } = only(schedule.steps(at)) else { panic!("a check is due") };
        assert!(!schedule.checked(&key, &uid, &targets, unlocked(), at), "nobody is told yet");
        assert!(schedule.steps(at).is_empty());
        let again = schedule.next_due().unwrap();
        assert!(again - at < Duration::from_secs(2), "{:?}", again - at);
        let Step::Check { key, uid, targets, .. } = only(schedule.steps(again)) else { panic!("a check is due") };
        assert!(schedule.checked(&key, &uid, &targets, second, again));
        let said = told.map(|_| perform(&mut schedule, locked(), Written::Done, again));
        assert_eq!(said, told);
        assert!(schedule.steps(again).is_empty());
    }
    let mut schedule = schedule_with(pod(&json!({})), now);
    perform(&mut schedule, unlocked(), Written::Done, now);
    assert_eq!(perform(&mut schedule, unlocked(), Written::Done, now), "unlocked", "it was never locked");
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_told_at_once_where_no_second_look_can_be_afforded() {
    let now = Instant::now();
    let limited =
        pod(&json!({ "spec": { "containers": [{ "name": "c", "resources": { "limits": { "memory": "128Mi" } } }] } }));
    let mut schedule = schedule_with(limited, now);
    perform(&mut schedule, locked(), Written::Done, now);
    perform(&mut schedule, locked(), Written::Done, now);
    let tight = Checked { looks: vec![Look { ended: Ended::Through, left: Some(9 << 20) }], ..unlocked() };
    let at = schedule.next_due().unwrap();
    assert_eq!(perform(&mut schedule, tight, Written::Done, at), "check");
    assert_eq!(perform(&mut schedule, locked(), Written::Done, at), "unlocked");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_hangs_holds_up_no_other_of_its_pod() {
    let now = Instant::now();
    let both = json!({
        "metadata": { "annotations": { "memlock.dev/containers": "c,d" } },
        "status": { "containerStatuses": [
            { "name": "c", "containerID": "containerd://c1", "state": { "running": {} } },
            { "name": "d", "containerID": "containerd://d1", "state": { "running": {} } },
        ] },
    });
    let mut schedule = schedule_with(pod(&both), now);
    let mut looked = Vec::new();
    while schedule.next_due().is_some_and(|due| due < now + Duration::from_mins(10)) {
        let at = schedule.next_due().unwrap();
        match only(schedule.steps(at)) {
            Step::Check { key, uid, targets, before } => {
                let frozen = before[0] != Before::Hung;
                looked.push(((at - now).as_secs(), frozen));
                let [hung, well] = [Ended::Hung, Ended::Through].map(|ended| Look { ended, left: None });
                let spared = Look { ended: Ended::Spared, left: None };
                let unknown = Verdict::unknown("x");
                let containers = vec![("c".into(), unknown.clone()), ("d".into(), locked().verdict)];
                let looks = vec![if frozen { hung } else { spared }, well];
                schedule.checked(&key, &uid, &targets, Checked { verdict: unknown, containers, looks }, at);
            }
            Step::Write { key, pod, report, .. } => {
                schedule.written(&key, pod.uid(), Some(report), Written::Done, at);
            }
            Step::Clean { .. } => panic!("nobody opts out"),
        }
    }
    let frozen = looked.iter().filter(|(_, frozen)| *frozen).count();
    assert_eq!(frozen, 2, "at 0 and after 5 minutes: {looked:?}");
    assert!(looked.len() >= 6 && looked[4].0 <= 70, "the other as ever: {looked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_a_look_got_killed_is_not_looked_into_again_whoever_leads() {
    let now = Instant::now();
    let state = |limit: &str, id: &str, last: &Value| {
        pod(&json!({
            "spec": { "containers": [{ "name": "c", "resources": { "limits": { "memory": limit } } }] },
            "status": { "containerStatuses": [
                { "name": "c", "containerID": format!("containerd://{id}"), "state": { "running": {} }, "lastState": last },
            ] },
        }))
    };
    let killed = |id: &str| json!({ "terminated": { "containerID": format!("containerd://{id}"), "exitCode": 137, "reason": "OOMKilled" } });
    let mut schedule = schedule_with(state("64Mi", "c1", &json!({})), now);
    perform(&mut schedule, showing(Verdict::unknown("x"), Ended::Unread), Written::Done, now);
    perform(&mut schedule, locked(), Written::Done, now);
    let again = state("64Mi", "c2", &killed("c1"));
    schedule.observe(Change::Seen(Box::new(again.clone())), now);
    let Step::Write { key, pod: view, report, .. } = only(schedule.steps(now)) else { panic!("pending") };
    let stands = standing(&report, &again);
    schedule.written(&key, view.uid(), Some(report), Written::Done, now);
    let before = |schedule: &mut Schedule| {
        loop {
            let due = schedule.next_due().unwrap();
            match only(schedule.steps(due)) {
                Step::Check { before, .. } => return before,
                Step::Write { key, pod, report, .. } => {
                    schedule.written(&key, pod.uid(), Some(report), Written::Done, due);
                }
                Step::Clean { .. } => panic!("nobody opts out"),
            }
        }
    };
    assert_eq!(before(&mut schedule), [Before::Killed]);
    // Another leader, after another restart of the container.
    let mut later = state("64Mi", "c3", &json!({}));
    later.metadata.annotations = stands.metadata.annotations.clone();
    assert_eq!(before(&mut schedule_with(later.clone(), now)), [Before::Killed]);
    later.spec = state("128Mi", "c3", &json!({})).spec;
    assert_eq!(before(&mut schedule_with(later, now)), [Before::Nothing], "until the limit changes");
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_knows_where_too_little_room_is_left() {
    let now = Instant::now();
    let tight = |left: u64| {
        let mut past = Past::default();
        let looks = [Look { ended: Ended::Through, left: Some(left) }];
        past.end(&[target("c1")], &looks, "u-1", INTERVAL, now);
        let report = Report::checked(locked().verdict, &locked().containers, &[target("c1")]);
        standing(&report.with_past(&[target("c1")], &past), &pod(&json!({})))
    };
    let known = |left: u64| Before::Left(left);
    for (left, known) in [(9 << 20, known(9 << 20)), ((1 << 20) - 1, known(0)), (16 << 20, Before::Nothing)] {
        let mut schedule = schedule_with(tight(left), now);
        let due = schedule.next_due().unwrap();
        let Step::Check { before, .. } = only(schedule.steps(due)) else { panic!("a check is due") };
        assert_eq!(before, [known], "{left}");
    }
    // Said of a container that has been restarted since.
    let another = [target("another")];
    assert_eq!(Past::on(&tight(9 << 20), &another).before(&another, now), [Before::Nothing]);
}
