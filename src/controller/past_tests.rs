use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::controller::assess::tests::{pod, target};

const INTERVAL: Duration = Duration::from_mins(5);

fn limited(id: &str, mebibytes: u64) -> Vec<Target> {
    vec![Target { memory_limit: Some(mebibytes << 20), ..target(id) }]
}

fn dead(id: &str, exit_code: i32, reason: &str) -> PodView {
    let end = json!({ "containerID": format!("containerd://{id}"), "exitCode": exit_code, "reason": reason });
    status(&json!({ "state": { "terminated": end } }))
}

fn status(change: &Value) -> PodView {
    let mut status = json!({ "name": "c", "containerID": "containerd://c1", "state": {} });
    json_patch::merge(&mut status, change);
    pod(&json!({ "status": { "containerStatuses": [status] } }))
}

/// One look that ended like this.
fn look(past: &mut Past, targets: &[Target], ended: Ended, now: Instant) -> Outlook {
    past.begin(targets, now);
    past.end(targets, &[Look { ended, left: None }], "u", INTERVAL, now)
}

#[tokio::test(start_paused = true)]
async fn a_death_for_want_of_memory_at_a_look_forbids_further_ones_until_the_limit_changes() {
    let now = Instant::now();
    for during in [true, false] {
        let mut past = Past::default();
        let c1 = limited("c1", 64);
        if during {
            past.begin(&c1, now);
        } else {
            look(&mut past, &c1, Ended::Unread, now);
        }
        past.see(&dead("c1", 137, "OOMKilled"), &[], now + Duration::from_secs(2));
        assert_eq!(past.before(&limited("c2", 64), now), [Before::Killed], "{during}");
        assert_eq!(past.before(&limited("c2", 128), now), [Before::Nothing]);
        assert_eq!(past.killed().collect::<Vec<_>>(), [("c", 65_536)]);
        past.see(&pod(&json!({})), &limited("c2", 128), now);
        assert_eq!(past.killed().count(), 0);
    }
}

#[rstest]
#[case::long_after("c1", 137, "OOMKilled", 11)]
#[case::another_run("c0", 137, "OOMKilled", 2)]
#[case::it_ended_by_itself("c1", 1, "Error", 2)]
#[case::a_signal_by_chance("c1", 137, "Error", 2)]
#[tokio::test(start_paused = true)]
async fn other_deaths_forbid_nothing(#[case] id: &str, #[case] code: i32, #[case] reason: &str, #[case] seconds: u64) {
    let now = Instant::now();
    let mut past = Past::default();
    look(&mut past, &limited("c1", 64), Ended::Unread, now);
    past.see(&dead(id, code, reason), &[], now + Duration::from_secs(seconds));
    assert_eq!(past.before(&limited("c2", 64), now), [Before::Nothing]);
}

#[tokio::test(start_paused = true)]
async fn who_has_no_limit_was_not_killed_by_it() {
    let now = Instant::now();
    let mut past = Past::default();
    look(&mut past, &[target("c1")], Ended::Unread, now);
    past.see(&dead("c1", 137, "OOMKilled"), &[], now);
    assert_eq!(past.before(&[target("c2")], now), [Before::Nothing]);
}

#[tokio::test(start_paused = true)]
async fn a_signal_at_two_looks_in_a_row_is_no_chance() {
    let now = Instant::now();
    for (between, expected) in [(None, Before::Killed), (Some(Ended::Through), Before::Nothing)] {
        let mut past = Past::default();
        look(&mut past, &limited("c1", 64), Ended::Failed, now);
        past.see(&dead("c1", 137, "Error"), &[], now);
        if let Some(ended) = between {
            look(&mut past, &limited("c2", 64), ended, now);
        }
        look(&mut past, &limited("c2", 64), Ended::Failed, now);
        past.see(&dead("c2", 137, "Error"), &[], now);
        assert_eq!(past.before(&limited("c3", 64), now), [expected], "{between:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_restart_of_one_forgets_nothing_of_the_others() {
    let now = Instant::now();
    let named = |name: &str, id: &str, limit: u64| Target { container: name.into(), ..limited(id, limit).remove(0) };
    let targets = [named("c", "c1", 128), named("d", "d1", 128), named("e", "e1", 128)];
    let looks = [(Ended::Through, Some(9 << 20)), (Ended::Hung, None), (Ended::Through, Some(80 << 20))];
    let mut past = Past::default();
    past.begin(&targets, now);
    past.end(&targets, &looks.map(|(ended, left)| Look { ended, left }), "u", INTERVAL, now);
    let later = [named("c", "c1", 128), named("d", "d1", 128), named("e", "e2", 128)];
    past.see(&pod(&json!({})), &later, now);
    assert_eq!(past.before(&later, now), [Before::Left(9 << 20), Before::Hung, Before::Nothing]);
    let raised = [named("c", "c1", 256), named("d", "d2", 128), named("e", "e2", 128)];
    past.see(&pod(&json!({})), &raised, now);
    assert_eq!(past.before(&raised, now), [Before::Nothing; 3], "a new limit and a restart forget");
}

#[tokio::test(start_paused = true)]
async fn a_rest_grows_and_a_look_that_ends_ends_it() {
    let mut now = Instant::now();
    let mut past = Past::default();
    let c1 = limited("c1", 64);
    for minutes in [5, 10, 20, 40, 60, 60] {
        let outlook = look(&mut past, &c1, Ended::Hung, now);
        let rest = (outlook.rested.unwrap() - now).as_secs_f64() / 60.0;
        let nominal = f64::from(minutes);
        assert!((nominal * 0.9..=nominal * 1.1).contains(&rest) && outlook.all_rest, "{rest} for {minutes}");
        assert_eq!(past.before(&c1, now), [Before::Hung]);
        now = outlook.rested.unwrap();
        assert_eq!(past.before(&c1, now), [Before::Nothing]);
    }
    assert_eq!(look(&mut past, &c1, Ended::Through, now).rested, None);
    assert_eq!(past.left(&c1[0]), None);
}
