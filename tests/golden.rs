//! Pod in, decision and patch out, one file a case: what a reviewer reads to see a rule change.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use memlock_operator::domain::inject::{Pod, decide, patch, plan};
use serde_json::{Value, json};

#[test]
fn decisions_and_patches() {
    insta::glob!("golden/pods/*.json", |path| {
        let raw: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let pod: Pod = serde_json::from_value(raw.clone()).unwrap();
        let decision = decide(&pod);
        let patch = patch(&plan(&decision, &pod), &pod);
        let mut after = raw;
        json_patch::patch(&mut after, &patch).unwrap();
        insta::assert_json_snapshot!(json!({
            "verb": format!("{:?}", decision.verb),
            "reason": decision.reason.as_str(),
            "message": decision.message,
            "warnings": decision.warnings,
            "patch": patch,
        }));
    });
}
