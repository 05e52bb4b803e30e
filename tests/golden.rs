//! Pod in, decision and patch out, one file a case: what a reviewer reads to see a rule change.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may panic")]

use std::{collections::BTreeSet, path::Path};

use memlock_operator::domain::inject::{Agent, Delivery, Level, Row, Settings, Verb, inject, uninject};
use serde_json::{Value, json};

/// Said by the file's name: `name[.level][.no-agent][.image-volume].json`.
fn settings(path: &Path) -> Settings {
    let name = path.file_name().unwrap().to_str().unwrap();
    let said = |word: &str| name.split('.').any(|part| part == word);
    let level = [Level::Baseline, Level::Restricted].into_iter().find(|level| said(level.as_str()));
    let delivery = if said("image-volume") { Delivery::ImageVolume } else { Delivery::InitContainer };
    let agent = Agent { image: "memlock-operator:golden".to_owned(), pull_policy: None, delivery };
    Settings { level: level.unwrap_or_default(), agent: (!said("no-agent")).then_some(agent) }
}

/// What came with a copied manifest, or was forged, is not given back.
fn without_outputs(mut raw: Value) -> Value {
    for (part, key) in [("annotations", "status"), ("annotations", "injected"), ("labels", "state")] {
        if let Some(keys) = raw["metadata"].get_mut(part).and_then(Value::as_object_mut) {
            keys.remove(&format!("memlock.dev/{key}"));
        }
    }
    raw
}

/// What a denial tells people to do, by its reason.
fn remedy(reason: &str) -> &'static str {
    match reason {
        "InvalidAnnotation" => "allowed are",
        "UnknownContainer" => "name one of those and apply again",
        "NoContainers" => "add one to spec.containers and apply again",
        "Windows" => "run the swap device on Linux or remove the annotation",
        "PodSecurity" => "allow it with kubectl label namespace",
        "CapabilityDropped" => "from securityContext.capabilities.drop",
        "NameTaken" => "rename it, or set memlock.dev/agent: \"false\"",
        "AgentMissing" => "remove one of the two annotations",
        "PreloadReferenced" => "set the container's command",
        other => panic!("{other} is denied, and nobody has said what helps"),
    }
}

#[test]
fn decisions_and_patches() {
    let mut seen = BTreeSet::new();
    let mut pods = BTreeSet::new();
    insta::glob!("golden/pods/*.json", |path| {
        pods.insert(path.file_name().unwrap().to_str().unwrap().to_owned());
        let raw: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let settings = settings(path);
        let injection = inject(&raw, &settings).unwrap();
        let mut after = raw.clone();
        json_patch::patch(&mut after, &injection.patch).unwrap();
        let again = inject(&after, &settings).unwrap();
        assert!(again.patch.0.is_empty(), "{}: a second run changes {:?}", path.display(), again.patch);
        let undo = uninject(&after).unwrap();
        json_patch::patch(&mut after, &undo).unwrap();
        assert_eq!(after, without_outputs(raw), "{}: taken back", path.display());
        let decision = injection.decision;
        let reason = decision.reason.as_str();
        seen.insert(reason);
        if decision.verb == Verb::Deny {
            assert!(decision.message.contains(remedy(reason)), "{}: {}", path.display(), decision.message);
        }
        let rows: Vec<String> =
            decision.steps.iter().map(|step| format!("{}: {}", step.container, step.row.as_str())).collect();
        insta::assert_json_snapshot!(json!({
            "verb": format!("{:?}", decision.verb),
            "reason": reason,
            "message": decision.message,
            "rows": rows,
            "warnings": decision.warnings,
            "patch": injection.patch,
        }));
    });
    let rows = Row::ALL.map(Row::as_str);
    let others =
        ["NotOptedIn", "MirrorPod", "VerifyOnly", "Windows", "InvalidAnnotation", "UnknownContainer", "NoContainers"];
    for reason in rows.into_iter().chain(others) {
        assert!(seen.contains(reason), "no golden pod ends in {reason}");
    }
    for snapshot in snapshots() {
        assert!(pods.contains(&snapshot), "the pod of the snapshot {snapshot} is gone");
    }
}

/// The pods that have a snapshot.
fn snapshots() -> impl Iterator<Item = String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    files.filter_map(|name| {
        let pod = name.strip_prefix("golden__decisions_and_patches@")?.strip_suffix(".snap")?;
        Some(pod.to_owned())
    })
}
