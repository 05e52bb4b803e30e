use serde_json::json;

use super::*;
use crate::{
    controller::assess::tests::{pod, target},
    domain::verdict::Reason,
};

const MANY: usize = 40;

fn targets(count: usize) -> Vec<Target> {
    let one = |n: usize| Target { container: format!("container-{n}"), ..target(&format!("{n:0>64}")) };
    (0..count).map(one).collect()
}

fn said(targets: &[Target]) -> Status {
    let figures = Some(Figures { locked_kb: 207_508, ..Figures::default() });
    let verdict = Verdict { state: State::Locked, reason: Reason::Locked, figures, message: String::new() };
    let one = |target: &Target| (target.container.clone(), ContainerStatus::new(&verdict, id_of(target)));
    Status { containers: targets.iter().map(one).collect(), ..Status::new() }
}

/// As it is read back from the pod.
fn standing(status: &Status) -> Status {
    let text = status.to_json();
    assert!(text.len() <= MAX, "{} bytes: {text}", text.len());
    let read = Status::on(&pod(&json!({ "metadata": { "annotations": { names::STATUS: text } } }))).unwrap();
    assert!(status.is_close_to(&read) && read.is_close_to(status), "{text}");
    read
}

fn restarted(targets: &[Target], n: usize) -> Vec<Target> {
    let mut targets = targets.to_vec();
    targets[n].id = Some("containerd://another".to_owned());
    targets
}

#[test]
fn the_restart_of_one_of_many_is_seen() {
    // Five are the first that do not fit as they are.
    for count in [1, 4, 5, MANY, 400] {
        let targets = targets(count);
        let standing = standing(&said(&targets));
        assert!(standing.speaks_of(&targets), "{count}");
        assert!(targets.iter().all(|target| standing.says_locked(target, &targets, true)), "{count}");
        for n in [0, count / 2, count - 1] {
            let restarted = restarted(&targets, n);
            assert!(!standing.speaks_of(&restarted), "{n} of {count}");
            assert!(!standing.says_locked(&restarted[n], &restarted, true), "{n} of {count}");
        }
    }
}

#[test]
fn many_are_written_again_when_one_state_or_the_sizes_change() {
    let targets = targets(MANY);
    let before = standing(&said(&targets));
    let mut news = said(&targets);
    news.containers.get_mut("container-7").unwrap().state = State::Unknown.label().to_owned();
    assert!(!news.is_close_to(&before));
    let mut grown = said(&targets);
    for container in grown.containers.values_mut() {
        container.sizes.locked = Some(300_000);
    }
    assert!(!grown.is_close_to(&before));
}

#[test]
fn room_and_kills_are_kept_however_many_containers_there_are() {
    let targets = targets(MANY);
    let mut status = said(&targets);
    status.containers.get_mut("container-3").unwrap().left = Some(9);
    status.killed.insert("container-4".to_owned(), 65_536);
    let one = standing(&status);
    let left = |status: &Status, n: usize| status.left(&targets[n], &targets);
    assert_eq!((left(&one, 3), left(&one, 4)), (Some(9 << 20), None));
    assert_eq!(one.killed, status.killed);
    // Too many to be named: the least room is held against each.
    for (n, container) in status.containers.values_mut().enumerate() {
        container.left = Some(3 + n as u64);
    }
    status.killed = targets.iter().map(|target| (target.container.clone(), 65_536)).collect();
    let all = standing(&status);
    assert!((0..MANY).all(|n| left(&all, n) == Some(3 << 20)));
    assert_eq!(all.killed.keys().collect::<Vec<_>>(), [ANY]);
    assert_eq!(all.left(&targets[3], &restarted(&targets, 3)), None, "said of an earlier run");
}

#[test]
fn what_nobody_said_speaks_of_none() {
    let none = Status::default();
    assert!(none.speaks_of(&targets(2)));
    assert!(!none.says_locked(&targets(2)[0], &targets(2), true));
}
