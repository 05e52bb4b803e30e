use serde_json::json;

use super::*;

/// A pod as the API server holds it, injected with an agent and checked, unless it was missed.
fn pod(annotations: &Value, injected: bool) -> Pod {
    delivered(annotations, injected.then_some(Delivery::InitContainer))
}

fn delivered(annotations: &Value, delivery: Option<Delivery>) -> Pod {
    let mut raw = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "ublk-0", "namespace": "storage", "uid": "u", "annotations": annotations },
        "spec": { "nodeName": "node-1", "containers": [{ "name": "ublk", "image": "i", "command": ["ublk"] }] },
        "status": { "phase": "Running" },
    });
    if let Some(delivery) = delivery {
        let agent = Agent { image: "operator:1".to_owned(), pull_policy: None, delivery };
        let settings = Settings { level: Level::Privileged, agent: Some(agent) };
        let injection = inject::inject(&raw, &settings).unwrap();
        json_patch::patch(&mut raw, &injection.patch).unwrap();
        raw["metadata"]["annotations"][names::STATUS] = json!("{}");
        raw["metadata"]["labels"] = json!({ names::STATE: "locked" });
    }
    serde_json::from_value(raw).unwrap()
}

fn in_text(lines: &[Line]) -> String {
    let lines: Vec<String> = lines.iter().map(|(label, text)| format!("{label}: {text}")).collect();
    lines.join("\n")
}

#[test]
fn what_was_injected_is_told_from_the_live_object() {
    let annotations = json!({ names::SWAP_DEVICE: "true" });
    insta::assert_snapshot!(in_text(&injected(&pod(&annotations, true), Level::Privileged)));
}

#[test]
fn an_agent_is_known_however_it_came() {
    let annotations = json!({ names::SWAP_DEVICE: "true", names::LOCK_BY: "agent" });
    for delivery in [Delivery::InitContainer, Delivery::ImageVolume] {
        let lines = in_text(&injected(&delivered(&annotations, Some(delivery)), Level::Privileged));
        assert!(lines.contains("LauncherLocks"), "{delivery:?}: {lines}");
    }
}

fn outcome(pod: &Pod, level: Level) -> String {
    injected(pod, level).pop().unwrap().1
}

#[test]
fn whether_it_was_carried_out_is_told() {
    let opted_in = json!({ names::SWAP_DEVICE: "true" });
    assert!(outcome(&pod(&opted_in, true), Level::Privileged).starts_with("yes"));
    assert!(outcome(&pod(&opted_in, false), Level::Privileged).contains("created before the webhook was there"));
    assert!(outcome(&pod(&opted_in, false), Level::Baseline).contains("would be refused"));
    let checked_only = json!({ names::SWAP_DEVICE: "true", names::VERIFY_ONLY: "true" });
    assert!(outcome(&pod(&checked_only, false), Level::Privileged).contains("nothing was to be changed"));
}

#[test]
fn an_unreadable_record_is_said() {
    let broken = json!({ names::SWAP_DEVICE: "true", names::INJECTED: "x" });
    let lines = injected(&pod(&broken, false), Level::Privileged);
    assert!(matches!(lines.as_slice(), [("warning", text)] if text.contains("memlock.dev/injected")), "{lines:?}");
}

#[test]
fn a_verdict_comes_with_its_figures() {
    let now = "2026-01-01T10:03:00Z".parse().unwrap();
    let pod = pod(&json!({ names::SWAP_DEVICE: "true" }), false);
    let lines = in_text(&verdicts(&pod, &[], None, now));
    assert!(lines.starts_with("verdict: ublk: Pending (Pending)"), "{lines}");
    assert!(verdicts(&pod, &[], Some("other"), now).is_empty());
    let status: SwapDeviceStatus =
        serde_json::from_value(json!({ "state": "Locked", "locked": "202Mi", "deviceUse": "40%" })).unwrap();
    assert_eq!(figures(&status), Some(("figures", "locked 202Mi, device in use 40%".to_owned())));
    assert_eq!(figures(&SwapDeviceStatus::default()), None);
}

#[test]
fn what_bounds_its_memory_is_told() {
    let mut live = raw(&pod(&json!({ names::SWAP_DEVICE: "true" }), false));
    let said = |live: &Value, status: Value| {
        let status: SwapDeviceStatus = serde_json::from_value(status).unwrap();
        memory(&serde_json::from_value(live.clone()).unwrap(), "ublk", Some(&status))
    };
    let nothing = json!({ "state": "Unknown" });
    assert_eq!(said(&live, nothing.clone()), "QoS not known, no limit, memory.swap.max not known");
    live["status"]["qosClass"] = json!("Burstable");
    live["spec"]["containers"][0]["resources"] = json!({ "limits": { "memory": "512Mi" } });
    let known = json!({ "state": "Locked", "memoryLeft": "310Mi/512Mi", "swapMax": "0" });
    assert_eq!(said(&live, known), "QoS Burstable, limit 512Mi, left 310Mi/512Mi, memory.swap.max 0");
    live["spec"]["resources"] = json!({ "limits": { "memory": "1Gi" } });
    assert!(said(&live, nothing).contains("limit 512Mi and 1Gi for the whole pod"));
}
