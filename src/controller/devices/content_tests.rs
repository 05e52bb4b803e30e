use rstest::rstest;

use super::*;
use crate::{
    controller::pod_view::PodKey,
    domain::{
        probe::{Memory, SwapLimit},
        surroundings::SwapUse,
        verdict::{Figures, Reason, State},
    },
};

fn chosen() -> Chosen {
    Chosen {
        pod_uid: "u-1".into(),
        pod: "ublk-0".into(),
        container: "ublk".into(),
        node: Some("worker-3".into()),
        device: Some("/dev/ublkb0".into()),
        qos: Some(Qos::Guaranteed),
        id: Some("0123456789ab".into()),
    }
}

fn name() -> DeviceName {
    DeviceName::of(&PodKey { namespace: "storage".into(), name: "ublk-0".into() }, "ublk")
}

fn figures() -> Figures {
    Figures {
        locked_kb: 207_508,
        unlocked_kb: 0,
        swapped_kb: 0,
        device: Some(SwapUse { used_kb: 41, size_kb: 100 }),
        node_swap: Some(SwapUse { used_kb: 1 << 20, size_kb: 8 << 20 }),
        memory: Some(memory(310)),
    }
}

/// Of 512 MiB so many are left.
fn memory(left: u64) -> Memory {
    let swap = Some(SwapLimit::Bytes(0));
    Memory { limit: Some(512 << 20), current: (512 - left) << 20, reclaimable: 0, swap, swapped: None }
}

fn said(figures: Figures) -> Said {
    let message = format!("process 1 (ublk) has locked all of its {} kB; nothing is in swap", figures.locked_kb);
    let verdict = Verdict { state: State::Locked, reason: Reason::Locked, figures: Some(figures), message };
    Said::new(Some("0123456789ab".into()), verdict)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// As the API server answers.
fn standing(said: &Said) -> Standing {
    let mut device = render(&name(), &chosen(), said, None, at(60));
    device.metadata.uid = Some("o-1".into());
    device.metadata.resource_version = Some("7".into());
    Standing::of(&serde_json::from_value(serde_json::to_value(device).unwrap()).unwrap())
}

#[test]
fn an_object_says_whose_it_is_and_what_is_known() {
    insta::assert_json_snapshot!(render(&name(), &chosen(), &said(figures()), None, at(60)));
}

#[rstest]
#[case::the_same(figures(), true)]
#[case::less_than_a_tenth(Figures { locked_kb: 220_000, ..figures() }, true)]
#[case::more_than_a_tenth(Figures { locked_kb: 240_000, ..figures() }, false)]
#[case::one_page(Figures { unlocked_kb: 4, ..figures() }, false)]
#[case::device_a_little_fuller(Figures { device: Some(SwapUse { used_kb: 49, size_kb: 100 }), ..figures() }, true)]
#[case::device_fuller(Figures { device: Some(SwapUse { used_kb: 51, size_kb: 100 }), ..figures() }, false)]
#[case::device_gone(Figures { device: None, ..figures() }, false)]
#[case::node_a_little_fuller(Figures { node_swap: Some(SwapUse { used_kb: 3 << 19, size_kb: 8 << 20 }), ..figures() }, true)]
#[case::node_fuller(Figures { node_swap: Some(SwapUse { used_kb: 2 << 20, size_kb: 8 << 20 }), ..figures() }, false)]
#[case::a_little_less_room(Figures { memory: Some(memory(280)), ..figures() }, true)]
#[case::less_room(Figures { memory: Some(memory(240)), ..figures() }, false)]
#[case::it_may_swap(Figures { memory: Some(Memory { swap: Some(SwapLimit::Unlimited), ..memory(310) }), ..figures() }, false)]
#[case::node_has_less_swap(Figures { node_swap: Some(SwapUse { used_kb: 1 << 20, size_kb: 4 << 20 }), ..figures() }, false)]
fn figures_are_news_by_a_tenth(#[case] now: Figures, #[case] close: bool) {
    let standing = standing(&said(figures()));
    let wanted = render(&name(), &chosen(), &said(now), Some(&standing), at(1_000));
    assert_eq!(standing.is_close_to(&wanted), close);
    assert!(standing.is_headed_like(&wanted));
}

#[test]
fn another_state_run_sentence_pod_or_node_is_news() {
    let locked = said(figures());
    let stands = standing(&locked);
    let close = |chosen: &Chosen, said: &Said| stands.is_close_to(&render(&name(), chosen, said, Some(&stands), at(0)));
    assert!(close(&chosen(), &locked));
    assert!(!close(&Chosen { pod_uid: "u-2".into(), ..chosen() }, &locked));
    assert!(!close(&Chosen { node: Some("worker-4".into()), ..chosen() }, &locked));
    assert!(!close(&chosen(), &Said { id: Some("another".into()), ..locked.clone() }));
    let mut partial = locked;
    partial.verdict.state = State::Partial;
    assert!(!close(&chosen(), &partial));
    let unknown = |sentence: &str| Said::new(None, Verdict::unknown(sentence));
    let stands = standing(&unknown("this"));
    for (sentence, same) in [("this", true), ("that", false)] {
        let wanted = render(&name(), &chosen(), &unknown(sentence), Some(&stands), at(0));
        assert_eq!(stands.is_close_to(&wanted), same, "{sentence}");
    }
}

#[test]
fn the_time_moves_only_with_the_status() {
    let stands = standing(&said(figures()));
    let since = |said: &Said| {
        let device = render(&name(), &chosen(), said, Some(&stands), at(1_000));
        device.status.unwrap().conditions[0].last_transition_time.0
    };
    assert_eq!(since(&said(Figures { locked_kb: 5, ..figures() })), at(60));
    assert_eq!(since(&Said::new(None, Verdict::unknown("x"))), at(1_000));
}

#[test]
fn what_was_not_injected_says_so() {
    let verdict = Verdict::pending("waits").not_injected("create it anew");
    let device = render(&name(), &chosen(), &Said::new(None, verdict), None, at(0));
    let status = serde_json::to_value(device.status).unwrap();
    assert_eq!((&status["state"], &status["conditions"][0]["reason"]), (&json!("NotInjected"), &json!("NotInjected")));
}

/// Spec and status, whatever the names and the sentence.
#[rstest]
#[case::ordinary("ublk-0", "x".repeat(100))]
#[case::long_sentence("ublk-0", "x".repeat(5_000))]
#[case::sentence_of_escapes("ublk-0", "\"\\\u{1}ä".repeat(1_000))]
#[case::long_names(&"n".repeat(253), "x".repeat(5_000))]
fn an_object_stays_below_a_kilobyte(#[case] long: &str, #[case] sentence: String) {
    let chosen = Chosen {
        pod: long.into(),
        container: "c".repeat(63).into(),
        node: Some(long.into()),
        device: Some(format!("/dev/{}", "d".repeat(300)).into()),
        ..chosen()
    };
    let mut said = said(Figures { locked_kb: u64::MAX, unlocked_kb: u64::MAX, swapped_kb: u64::MAX, ..figures() });
    said.verdict.message = sentence;
    let device = render(&name(), &chosen, &said, None, at(0));
    let length = json!({ "spec": device.spec, "status": device.status }).to_string().len();
    assert!(length <= MAX_BYTES, "{length} bytes");
    assert!(long.len() > 100 || !device.status.unwrap().conditions[0].message.is_empty());
}

#[test]
fn names_are_unique_and_fit() {
    let of = |pod: &str| DeviceName::of(&PodKey { namespace: "n".into(), name: pod.into() }, "ublk").name;
    assert_eq!(of("ublk-0"), "ublk-0.ublk".into());
    let (a, b) = (of(&format!("{}a", "p".repeat(252))), of(&format!("{}b", "p".repeat(252))));
    assert!(a != b && a.len() <= 253 && b.len() <= 253, "{a} {b}");
    // The cut falls behind a dot, where a tail must not begin.
    let dotted = of(&format!("{}.{}", "p".repeat(235), "q".repeat(17)));
    assert!(!dotted.contains(".-") && !dotted.contains("--"), "{dotted}");
    assert_eq!(a, of(&format!("{}a", "p".repeat(252))));
}

#[test]
fn the_names_of_a_pod_are_found_by_their_beginning() {
    for length in 1..=253 {
        for pod in ["p".repeat(length), format!("{}.q", "p".repeat(length.saturating_sub(2)))] {
            let key = PodKey { namespace: "n".into(), name: pod };
            let beginning = DeviceName::beginning(&key);
            for container in ["c", "a-container", &"c".repeat(63)] {
                let name = DeviceName::of(&key, container);
                assert!(name >= beginning && name.name.starts_with(&*beginning.name), "{name:?} {beginning:?}");
            }
        }
    }
}
