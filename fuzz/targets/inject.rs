//! Any JSON as a pod: no panic, a patch that applies, a second run that is empty, an undo that applies.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memlock_operator::domain::inject::{Agent, Delivery, Level, Settings, inject, uninject};
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Some((choice, json)) = data.split_first() else { return };
    let Ok(raw) = serde_json::from_slice::<Value>(json) else { return };
    let delivery = if choice & 1 == 0 { Delivery::InitContainer } else { Delivery::ImageVolume };
    let agent = Agent { image: "agent:1".into(), pull_policy: None, delivery };
    let level = if choice & 2 == 0 { Level::Privileged } else { Level::Baseline };
    let settings = Settings { level, agent: (choice & 4 == 0).then_some(agent) };
    let Ok(injection) = inject(&raw, &settings) else { return };
    let mut after = raw;
    json_patch::patch(&mut after, &injection.patch).expect("the patch applies");
    let again = inject(&after, &settings).expect("what was read can be read again");
    assert!(again.patch.0.is_empty(), "a second run changes {:?}", again.patch);
    if let Ok(undo) = uninject(&after) {
        json_patch::patch(&mut after, &undo).expect("the undo applies");
    }
});
