//! Any annotations: no panic; every refusal names its key, and every key that nobody reads is told a known one.
#![no_main]

use std::{collections::BTreeMap, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use memlock_operator::domain::{
    annotations::{self, ANNOTATIONS},
    inject::{Agent, Delivery, Level, Pod, Settings, Verb, decide},
    intent::{self, IntentError},
    names,
};
use serde_json::json;

/// Named one by one, and a sentence with the number of the rest.
const MOST_WARNINGS: usize = 9;

/// A pod with two containers and a native sidecar.
static POD: LazyLock<Pod> = LazyLock::new(|| {
    let sidecar = json!({ "name": "s", "restartPolicy": "Always" });
    let containers = json!([{ "name": "a", "command": ["/daemon"] }, { "name": "b" }]);
    serde_json::from_value(json!({ "spec": { "containers": containers, "initContainers": [sidecar] } })).expect("a pod")
});

/// With and without an agent, in a namespace that refuses nothing and in one that refuses the capability.
static SETTINGS: LazyLock<[Settings; 3]> = LazyLock::new(|| {
    let agent = || Some(Agent { image: "agent:1".into(), pull_policy: None, delivery: Delivery::InitContainer });
    [
        Settings { agent: agent(), ..Settings::default() },
        Settings::default(),
        Settings { agent: agent(), level: Level::Baseline },
    ]
});

fuzz_target!(|data: &[u8]| {
    let Some((choice, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let mut all: BTreeMap<String, String> = text
        .split('\n')
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| ([names::PREFIX, key].concat(), value.to_owned()))
        .collect();
    all.entry(names::SWAP_DEVICE.to_owned()).or_insert_with(|| "true".to_owned());
    match intent::parse(&all) {
        Ok(Some(intent)) => {
            if let Err(error) = intent.targets(&all, &["a", "b"]) {
                names_its_key(&error, &all);
            }
        }
        Ok(None) => assert_eq!(all[names::SWAP_DEVICE], "false"),
        Err(error) => names_its_key(&error, &all),
    }
    warnings_help(&all);

    let mut pod = POD.clone();
    pod.metadata.annotations = Some(all);
    let settings = &SETTINGS[usize::from(*choice) % SETTINGS.len()];
    let decision = decide(&pod, settings);
    assert!(!decision.message.is_empty());
    if decision.verb == Verb::Deny {
        assert!(decision.steps.is_empty());
        assert!(!decision.message.contains(char::is_control), "{:?}", decision.message);
    }
    assert!(decision.verb != Verb::Inject || !decision.steps.is_empty());
});

/// The sentence names a key that stands there and has a remedy.
fn names_its_key(error: &IntentError, all: &BTreeMap<String, String>) {
    let sentence = error.to_string();
    let named = ANNOTATIONS.iter().any(|word| all.contains_key(word.key) && sentence.contains(word.key));
    assert!(named && sentence.ends_with("apply again"), "{sentence}");
}

/// One sentence for each of the first few keys, with a key that is read; then the number of the rest.
fn warnings_help(all: &BTreeMap<String, String>) {
    let read = |key: &str| key == names::STATUS || ANNOTATIONS.iter().any(|word| word.key == key);
    let unknown: Vec<&String> = all.keys().filter(|key| !read(key)).collect();
    let warnings = annotations::unknown(all);
    assert_eq!(warnings.len(), unknown.len().min(MOST_WARNINGS), "{warnings:?}");
    for (key, warning) in unknown.iter().zip(&warnings).take(MOST_WARNINGS - 1) {
        let rest = warning.strip_prefix("annotation ").and_then(|rest| rest.strip_prefix(key.as_str()));
        let (_, meant) = rest.and_then(|rest| rest.split_once("did you mean ")).expect("a known key is named");
        let meant = meant.strip_suffix("? Correct it and apply again").expect("a remedy");
        assert!(meant != names::INJECTED && ANNOTATIONS.iter().any(|word| word.key == meant), "{warning}");
    }
    if let Some(rest) = warnings.get(MOST_WARNINGS - 1) {
        assert!(rest.starts_with(&(unknown.len() + 1 - MOST_WARNINGS).to_string()), "{rest}");
    }
}
