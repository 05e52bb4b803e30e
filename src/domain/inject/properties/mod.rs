//! What holds for every pod, not only for the ones we thought of.

mod others;
mod pods;
mod resources;

use others::{another_injector, tokens, with_token};
use pods::pod;
use proptest::prelude::*;
use serde_json::{Value, json};

use resources::{effective, quality_of_service};

use super::{Agent, Delivery, Injection, Level, Settings, Verb, inject, inject_in_place, uninject};
use crate::domain::names;

fn settings(delivery: Delivery) -> Settings {
    let agent = Agent { image: "agent:1".into(), pull_policy: None, delivery };
    Settings { agent: Some(agent), ..Settings::default() }
}

/// Each delivery, an installation without the agent, and now and then a namespace that refuses the capability.
fn installations() -> impl Strategy<Value = Settings> {
    let delivery = prop_oneof![
        4 => Just(settings(Delivery::InitContainer)),
        2 => Just(settings(Delivery::ImageVolume)),
        1 => Just(Settings::default()),
    ];
    let level = prop_oneof![8 => Just(Level::Privileged), 1 => Just(Level::Baseline), 1 => Just(Level::Restricted)];
    (delivery, level).prop_map(|(settings, level)| Settings { level, ..settings })
}

fn applied(raw: &Value, injection: &Injection) -> Value {
    let mut after = raw.clone();
    json_patch::patch(&mut after, &injection.patch).unwrap();
    after
}

fn list<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    object[key].as_array().map_or(&[], Vec::as_slice)
}

fn is_ours(container: &Value) -> bool {
    container["command"][0] == names::AGENT_FILE
}

/// Our outputs and the author's forgeries of them, which no injection gives back.
fn without_outputs(pod: &Value) -> Value {
    let mut pod = pod.clone();
    for key in [names::STATUS, names::INJECTED] {
        pod["metadata"]["annotations"].as_object_mut().unwrap().remove(key);
    }
    if let Some(labels) = pod["metadata"].get_mut("labels").and_then(Value::as_object_mut) {
        labels.remove(names::STATE);
    }
    pod
}

/// The same but for the named members.
fn assert_same_but(before: &Value, after: &Value, but: &[&str]) {
    let rest = |value: &Value| {
        let mut members = value.as_object().cloned().unwrap_or_default();
        members.retain(|key, _| !but.contains(&key.as_str()));
        members
    };
    assert_eq!(rest(before), rest(after));
}

/// Looks from the outside, without the engine's own bookkeeping, at what an injection may change.
fn assert_only_the_intent(before: &Value, after: &Value, chosen: &[String]) {
    assert_same_but(before, after, &["metadata", "spec"]);
    assert_same_but(&before["metadata"], &after["metadata"], &["annotations", "labels"]);
    let ours = |key: &&str| key.starts_with(names::NRI_ULIMITS) || **key == *names::CONTAINERS;
    let added: Vec<&str> = after["metadata"]["annotations"].as_object().unwrap().keys().map(String::as_str).collect();
    let added: Vec<&str> = added.into_iter().filter(ours).collect();
    let outputs = [names::STATUS, names::INJECTED];
    let absent = |key: &&&str| before["metadata"]["annotations"].get(**key).is_none();
    let new: Vec<&str> = added.iter().filter(absent).copied().collect();
    let but: Vec<&str> = outputs.into_iter().chain(new).collect();
    assert_same_but(&before["metadata"]["annotations"], &after["metadata"]["annotations"], &but);
    let lists = ["containers", "initContainers", "volumes", "readinessGates"];
    assert_same_but(&before["spec"], &after["spec"], &lists);
    for key in ["volumes", "readinessGates"] {
        assert!(list(&after["spec"], key).starts_with(list(&before["spec"], key)), "{key} only grow at the end");
    }
    assert!(list(&after["spec"], "volumes").len() <= list(&before["spec"], "volumes").len() + 1);
    let init: Vec<&Value> = list(&after["spec"], "initContainers").iter().skip_while(|c| is_ours(c)).collect();
    assert_eq!(init.len(), list(&before["spec"], "initContainers").len(), "ours stand first");
    let main = list(&after["spec"], "containers");
    assert_eq!(main.len(), list(&before["spec"], "containers").len());
    let after = main.iter().chain(init);
    let before = list(&before["spec"], "containers").iter().chain(list(&before["spec"], "initContainers"));
    for (before, after) in before.zip(after) {
        if chosen.iter().any(|name| before["name"] == json!(name)) {
            assert_chosen(before, after);
        } else {
            assert_eq!(before, after, "a container that was not chosen");
        }
    }
}

fn assert_chosen(before: &Value, after: &Value) {
    assert_same_but(before, after, &["securityContext", "command", "env", "volumeMounts"]);
    assert_same_but(&before["securityContext"], &after["securityContext"], &["capabilities"]);
    let (old, new) = (&before["securityContext"]["capabilities"], &after["securityContext"]["capabilities"]);
    assert_same_but(old, new, &["add"]);
    assert!(list(new, "add").starts_with(list(old, "add")));
    assert!(list(after, "volumeMounts").starts_with(list(before, "volumeMounts")));
    assert!(list(after, "command").ends_with(list(before, "command")));
    for (old, new) in list(before, "env").iter().zip(list(after, "env")) {
        if old["name"] == "LD_PRELOAD" && old.get("valueFrom").is_none() {
            let text = |var: &Value| var["value"].as_str().unwrap_or_default().to_owned();
            assert!(text(new).ends_with(&text(old)));
        } else {
            assert_eq!(old, new);
        }
    }
}

/// Whatever stood there before: what is promised of each step is in the pod, and fits together.
fn assert_complete(after: &Value, injection: &Injection) {
    let init = list(&after["spec"], "initContainers");
    let all: Vec<&Value> = list(&after["spec"], "containers").iter().chain(init).collect();
    let names: std::collections::HashSet<&str> = all.iter().filter_map(|c| c["name"].as_str()).collect();
    assert_eq!(names.len(), all.len(), "a name stands twice");
    let words = |container: &Value| -> Vec<String> {
        list(container, "command").iter().filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    let volume = list(&after["spec"], "volumes").iter().find(|volume| volume["name"] == names::AGENT_VOLUME);
    let copied = volume.is_some_and(|volume| volume.get("image").is_none());
    let install = init.iter().map(words).find(|words| words.len() > 1 && is_ours_by(words, "install"));
    for step in injection.decision.steps.iter().filter(|step| step.needs_agent()) {
        let container = all.iter().find(|c| c["name"] == json!(step.container)).unwrap();
        assert_eq!(install.is_some(), copied, "who fills the volume");
        let ours = |mount: &&Value| mount["mountPath"] == names::AGENT_MOUNT;
        let mount = list(container, "volumeMounts").iter().find(ours).expect("the agent is mounted");
        assert_eq!(mount.get("subPath").is_none(), copied, "the mount fits the volume");
        if let Some(launcher) = &step.launcher {
            let command = words(container);
            let flusher = (names::FLUSHER_FILE, "flush");
            let (file, word) = if launcher.io_flusher { flusher } else { (names::LAUNCHER_FILE, "lock") };
            assert_eq!(command[0], file);
            let flags: Vec<&String> = command.iter().take_while(|word| *word != "--").collect();
            let lock = flags.iter().position(|word| *word == "--lock").map(|at| flags[at + 1].as_str());
            assert_eq!(lock, launcher.lock.map(crate::domain::intent::LockFlags::as_str));
            let brought = install.as_ref().is_none_or(|words| words.contains(&word.to_owned()));
            assert!(brought, "{file} is not brought by {install:?}");
        }
        if step.preflight {
            let of = |words: &Vec<String>| is_ours_by(words, "preflight") && words.contains(&step.container);
            assert_eq!(init.iter().map(words).filter(of).count(), 1, "one preflight");
        }
    }
}

fn is_ours_by(words: &[String], verb: &str) -> bool {
    words.first().is_some_and(|file| file == names::AGENT_FILE) && words.get(1).is_some_and(|word| word == verb)
}

/// What an author may add to a pod that was injected already, so that more has to be done.
static MORE: [(&str, &str); 5] = [
    (names::IO_FLUSHER, "true"),
    (names::READINESS_GATE, "true"),
    (names::LIMIT, "1Gi"),
    (names::LOCK_BY, "agent"),
    (names::CONTAINERS, "c0"),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn adds_exactly_the_intent_and_a_second_run_is_empty(raw in pod(), settings in installations()) {
        let injection = inject(&raw, &settings).unwrap();
        let chosen: Vec<String> = injection.decision.steps.iter().map(|step| step.container.clone()).collect();
        let after = applied(&raw, &injection);
        if injection.decision.verb == Verb::Deny {
            prop_assert_eq!(&after, &raw);
        } else {
            assert_only_the_intent(&raw, &after, &chosen);
            assert_complete(&after, &injection);
        }
        let mut in_place = raw.clone();
        prop_assert_eq!(inject_in_place(&mut in_place, &settings).unwrap(), injection);
        prop_assert_eq!(&in_place, &after);
        let second = inject(&after, &settings).unwrap().patch;
        prop_assert!(second.0.is_empty(), "second run: {}", serde_json::to_string(&second).unwrap());
    }

    #[test]
    fn another_injector_in_between_changes_nothing(raw in pod(), settings in installations()) {
        let injection = inject(&raw, &settings).unwrap();
        prop_assume!(injection.decision.verb == Verb::Inject);
        let between = another_injector(&applied(&raw, &injection));
        let again = inject(&between, &settings).unwrap();
        prop_assert!(again.patch.0.is_empty(), "second run: {}", serde_json::to_string(&again.patch).unwrap());
        let steps = |i: &Injection| i.decision.steps.iter().map(|s| (s.container.clone(), s.row)).collect::<Vec<_>>();
        prop_assert_eq!(steps(&injection), steps(&again));
    }

    #[test]
    fn the_api_server_has_no_token_to_add_after_us(raw in pod(), settings in installations()) {
        let raw = with_token(&raw);
        let after = applied(&raw, &inject(&raw, &settings).unwrap());
        prop_assert_eq!(with_token(&after), after);
    }

    #[test]
    fn a_token_that_the_api_server_does_not_mount_everywhere_is_not_for_us(
        raw in pod(), settings in installations(), forbidden in any::<bool>(),
    ) {
        let mut raw = with_token(&raw);
        if forbidden {
            raw["spec"]["automountServiceAccountToken"] = json!(false);
        } else {
            raw["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap().pop();
        }
        let after = applied(&raw, &inject(&raw, &settings).unwrap());
        prop_assert_eq!(tokens(&after), tokens(&raw));
    }

    #[test]
    fn a_manifest_made_for_the_other_delivery_stays(raw in pod()) {
        let [copied, mounted] = [Delivery::InitContainer, Delivery::ImageVolume].map(settings);
        for (first, second) in [(&copied, &mounted), (&mounted, &copied)] {
            let after = applied(&raw, &inject(&raw, first).unwrap());
            let again = inject(&after, second).unwrap().patch;
            prop_assert!(again.0.is_empty(), "second run: {}", serde_json::to_string(&again).unwrap());
        }
    }

    #[test]
    fn taken_back_it_is_as_it_was(raw in pod(), settings in installations()) {
        let raw = without_outputs(&raw);
        let mut after = applied(&raw, &inject(&raw, &settings).unwrap());
        let undo = uninject(&after).unwrap();
        json_patch::patch(&mut after, &undo).unwrap();
        prop_assert_eq!(after, raw);
    }

    #[test]
    fn taken_back_leaves_what_others_did(raw in pod(), settings in installations()) {
        let raw = without_outputs(&raw);
        let injection = inject(&raw, &settings).unwrap();
        prop_assume!(injection.decision.verb == Verb::Inject);
        let mut after = another_injector(&applied(&raw, &injection));
        let undo = uninject(&after).unwrap();
        json_patch::patch(&mut after, &undo).unwrap();
        prop_assert_eq!(after, another_injector(&raw));
    }

    #[test]
    fn every_chosen_container_may_lock_afterwards(raw in pod(), settings in installations()) {
        let injection = inject(&raw, &settings).unwrap();
        let after = applied(&raw, &injection);
        let all = || list(&after["spec"], "containers").iter().chain(list(&after["spec"], "initContainers"));
        for step in injection.decision.steps.iter().filter(|step| !step.row.is_refusal()) {
            let container = all().find(|c| c["name"] == json!(step.container)).unwrap();
            let privileged = container["securityContext"]["privileged"] == json!(true);
            let added = list(&container["securityContext"]["capabilities"], "add");
            let named = added.iter().filter_map(Value::as_str).any(|c| c == "ALL" || c.eq_ignore_ascii_case("IPC_LOCK"));
            prop_assert!(privileged || named, "{}", container);
            prop_assert_eq!(step.launcher.is_some(), list(container, "command").first().is_some_and(|c| c != names::AGENT_FILE && c.as_str().unwrap().starts_with("/memlock/")));
        }
    }

    #[test]
    fn the_quality_of_service_and_what_the_pod_asks_for_stay(raw in pod(), settings in installations()) {
        let after = applied(&raw, &inject(&raw, &settings).unwrap());
        prop_assert_eq!(quality_of_service(&raw), quality_of_service(&after));
        for kind in ["requests", "limits"] {
            prop_assert_eq!(effective(&raw, kind), effective(&after, kind), "{}", kind);
        }
    }

    #[test]
    fn a_second_injection_that_adds_something_keeps_the_record_of_the_first(
        raw in pod(),
        first in installations(),
        second in installations(),
        more in proptest::sample::select(&MORE[..]),
    ) {
        let mut raw = without_outputs(&raw);
        let annotate = |pod: &mut Value, (key, value): (&str, &str)| {
            pod["metadata"]["annotations"][key] = json!(value);
        };
        let mut after = applied(&raw, &inject(&raw, &first).unwrap());
        prop_assume!(after != raw);
        annotate(&mut after, more);
        annotate(&mut raw, more);
        let again = inject(&after, &second).unwrap();
        after = applied(&after, &again);
        if again.decision.verb == Verb::Inject {
            assert_complete(&after, &again);
        }
        prop_assert!(inject(&after, &second).unwrap().patch.0.is_empty());
        let undo = uninject(&after).unwrap();
        json_patch::patch(&mut after, &undo).unwrap();
        if more.0 == names::CONTAINERS {
            // Whether it was the author's or ours before, it is the author's now, or went with ours.
            raw["metadata"]["annotations"].as_object_mut().unwrap().remove(names::CONTAINERS);
            after["metadata"]["annotations"].as_object_mut().unwrap().remove(names::CONTAINERS);
        }
        prop_assert_eq!(after, raw);
    }

    #[test]
    fn a_forged_record_takes_nothing_of_the_authors(raw in pod(), settings in installations()) {
        let mut after = applied(&raw, &inject(&raw, &settings).unwrap());
        if let Ok(undo) = uninject(&after) {
            json_patch::patch(&mut after, &undo).unwrap();
            prop_assert_eq!(without_outputs(&after), without_outputs(&raw));
        }
    }

    #[test]
    fn a_pod_that_did_not_opt_in_is_untouched(mut raw in pod(), settings in installations()) {
        raw["metadata"]["annotations"][names::SWAP_DEVICE] = json!("false");
        prop_assert!(inject(&raw, &settings).unwrap().patch.0.is_empty());
    }
}
