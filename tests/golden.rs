//! Pod in, decision and patch out, one file a case: what a reviewer reads to see a rule change.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::path::Path;

use memlock_operator::domain::inject::{Agent, Delivery, Level, Row, Settings, inject, uninject};
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

#[test]
fn decisions_and_patches() {
    insta::glob!("golden/pods/*.json", |path| {
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
        let rows: Vec<String> =
            decision.steps.iter().map(|step| format!("{}: {}", step.container, step.row.as_str())).collect();
        insta::assert_json_snapshot!(json!({
            "verb": format!("{:?}", decision.verb),
            "reason": decision.reason.as_str(),
            "message": decision.message,
            "rows": rows,
            "warnings": decision.warnings,
            "patch": injection.patch,
        }));
    });
}

#[test]
fn every_row_has_a_case() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let golden = files.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("golden__"));
    let seen: String = golden.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    for row in Row::ALL {
        assert!(seen.contains(&format!("\"reason\": \"{}\"", row.as_str())), "no golden pod ends in {row:?}");
    }
}
