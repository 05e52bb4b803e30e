//! What `memlock-operator inject` writes is what the webhook would have made of the same pod.

#![allow(clippy::unwrap_in_result, reason = "a test may panic; the errors are the refusals")]

use std::{fs, io::Write, process::Stdio};

use serde_json::{Value, json};

use crate::cluster::{Namespace, kubectl_with};

/// The webhook's configuration leaves this namespace out, so that what is written stays as it is.
const UNHANDLED: &str = "kube-system";

fn agent_image() -> String {
    let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/target/images/ref");
    fs::read_to_string(reference).unwrap().trim().to_owned()
}

/// The manifest with what `memlock-operator inject` adds, or its sentence.
pub fn inject(pod: &Value, flags: &[&str]) -> Result<Value, String> {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_memlock-operator"))
        .args(["inject", "-f", "-", "--agent-image", &agent_image(), "--agent-pull-policy", "IfNotPresent"])
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(pod.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    match output.status.code() {
        Some(0) => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        Some(1) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        other => panic!("exit code {other:?}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// As the API server would store it, but for what differs with every creation.
fn created(namespace: &str, pod: &Value) -> Result<Value, String> {
    let mut pod = pod.clone();
    pod["metadata"]["namespace"] = json!(namespace);
    let output = kubectl_with(&["create", "-f", "-", "--dry-run=server", "--validate=false", "-o", "json"], &pod);
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let mut stored: Value = serde_json::from_slice(&output.stdout).unwrap();
    let metadata = stored["metadata"].as_object_mut().unwrap();
    for key in ["namespace", "uid", "creationTimestamp", "managedFields"] {
        metadata.remove(key);
    }
    Ok(stored)
}

/// The API server drops a `null` before a webhook sees it, so that the record of what stood there differs. That of an
/// annotation becomes an empty text.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(_, member)| !member.is_null());
            let inner = |key: &str, member| if key == "annotations" { member } else { without_nulls(member) };
            kept.map(|(key, member)| {
                let member = inner(&key, member);
                (key, member)
            })
            .collect()
        }
        Value::Array(entries) => entries.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

/// Of a sentence with its speaker and place, the part that both say.
fn sentence(said: &str) -> &str {
    let line = said.lines().find(|line| !line.to_ascii_lowercase().starts_with("warning")).unwrap_or(said);
    line.rsplit(": memlock: ").next().unwrap_or(line)
}

#[test]
fn inject_and_the_webhook_agree_over_the_golden_set() {
    let namespace = Namespace::new("offline");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/pods");
    let (mut equal, mut denied, mut invalid) = (0, 0, 0);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for path in files {
        let name = path.file_stem().unwrap().to_str().unwrap();
        // These are of other installations: another delivery, no agent, a stricter namespace.
        if name.contains('.') {
            continue;
        }
        let mut pod = without_nulls(serde_json::from_slice(&fs::read(&path).unwrap()).unwrap());
        pod["metadata"]["namespace"] = json!(namespace.0);
        // A mounted token has a random name.
        pod["spec"]["automountServiceAccountToken"] = json!(false);
        let admitted = created(&namespace.0, &pod);
        match (inject(&pod, &[]), admitted) {
            (Ok(written), Ok(admitted)) => {
                let stored = created(UNHANDLED, &written).unwrap();
                assert_eq!(stored.to_string(), admitted.to_string(), "{name}");
                equal += 1;
            }
            (Err(said), Err(refused)) => {
                assert!(said.contains(sentence(refused.trim())), "{name}: offline {said}, the webhook {refused}");
                denied += 1;
            }
            // Not a pod that any API server takes: refused with and without us.
            (Ok(written), Err(refused)) => {
                let stored = created(UNHANDLED, &written);
                assert!(stored.is_err() && !refused.contains("memlock:"), "{name}: {refused}");
                invalid += 1;
            }
            (Err(said), Ok(_)) => panic!("{name}: only inject refuses: {said}"),
        }
    }
    eprintln!(
        "golden pods: {equal} equal, {denied} denied with the same sentence, {invalid} refused by the API server itself"
    );
    assert!(equal >= 30 && denied >= 8, "{equal} equal, {denied} denied");
}
