//! What `memlock-operator inject` writes is what the webhook would have made of the same pod.

#![allow(clippy::unwrap_in_result, reason = "a test may panic; the errors are the refusals")]

use std::{collections::BTreeMap, fs, io::Write, path::Path, process::Stdio};

use serde_json::{Value, json};

use crate::{
    chart::CHART,
    cluster::{Namespace, RELEASE, SYSTEM, eventually, has_image_volumes, kubectl, kubectl_with, run},
};

/// The webhook's configuration leaves this namespace out, so that what is written stays as it is.
const UNHANDLED: &str = "kube-system";
/// The API server drops a `null` before a webhook sees it: `inject` writes down that one stood there, so that `uninject`
/// can put it back, and the webhook that nothing did. All else of these pods is compared.
const OTHER_RECORD: [&str; 2] = ["capabilities-null", "security-context-null"];

/// How an installation brings the agent into pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Agent {
    Copied,
    Mounted,
    Absent,
}

impl Agent {
    fn flags(self) -> Vec<String> {
        let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/target/images/ref");
        let image = fs::read_to_string(reference).unwrap().trim().to_owned();
        let given = ["--agent-image", &image, "--agent-pull-policy", "IfNotPresent"];
        let flags = match self {
            Self::Copied => given.to_vec(),
            Self::Mounted => [&given[..], &["--agent-delivery", "image-volume"]].concat(),
            Self::Absent => vec!["--no-agent"],
        };
        flags.into_iter().map(str::to_owned).collect()
    }

    fn values(self) -> &'static str {
        match self {
            Self::Copied => "agent.enabled=true,agent.delivery=initContainer",
            Self::Mounted => "agent.enabled=true,agent.delivery=imageVolume",
            Self::Absent => "agent.enabled=false",
        }
    }
}

/// The installation by other values; the usual ones are put back at the end.
pub struct Installation(Agent);

impl Installation {
    /// As `demo/run` made it.
    pub fn usual() -> Self {
        Self(Agent::Copied)
    }

    pub fn upgrade(&mut self, agent: Agent) {
        if self.0 == agent {
            return;
        }
        self.0 = agent;
        let wanted = ["upgrade", RELEASE, CHART, "-n", SYSTEM, "--reuse-values", "--set", agent.values()];
        let output = run("helm", &[&wanted[..], &["--wait", "--timeout", "90s"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // A replica that stops still answers for some seconds.
        eventually("the webhooks of before are gone", || {
            let labels = "app.kubernetes.io/component=webhook";
            let list = kubectl(&["-n", SYSTEM, "get", "pods", "-l", labels, "-o", "json"]);
            let list: Value = serde_json::from_str(&list).unwrap();
            let pods = list["items"].as_array().unwrap();
            let hash = |pod: &Value| pod["metadata"]["labels"]["pod-template-hash"].clone();
            let ending = pods.iter().any(|pod| pod["metadata"].get("deletionTimestamp").is_some());
            let alike = pods.first().is_some_and(|first| pods.iter().all(|pod| hash(pod) == hash(first)));
            if alike && !ending { Ok(()) } else { Err(format!("{} pods", pods.len())) }
        });
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let wanted = ["upgrade", RELEASE, CHART, "-n", SYSTEM, "--reuse-values", "--set", Agent::Copied.values()];
            run("helm", &wanted);
        } else {
            self.upgrade(Agent::Copied);
        }
    }
}

/// The manifest with what `memlock-operator inject` adds, or its sentence.
pub fn inject(pod: &Value, agent: Agent, level: &str) -> Result<Value, String> {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_memlock-operator"))
        .args(["inject", "-f", "-", "--namespace-level", level])
        .args(agent.flags())
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

/// Of a sentence with its speaker and place, the part that both say.
fn sentence(said: &str) -> &str {
    let line = said.lines().find(|line| !line.to_ascii_lowercase().starts_with("warning")).unwrap_or(said);
    line.rsplit(": memlock: ").next().unwrap_or(line)
}

/// Files, by how they ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    equal: usize,
    denied: usize,
    /// Not a pod that any API server takes, with and without us.
    invalid: usize,
    /// Refused by Pod Security as its author wrote it.
    insecure: usize,
}

impl Tally {
    fn compare(&mut self, path: &Path, namespace: &str, agent: Agent, level: &str) {
        let name = path.file_name().unwrap().to_str().unwrap().split('.').next().unwrap();
        let mut pod: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        pod["metadata"]["namespace"] = json!(namespace);
        // A mounted token has a random name.
        pod["spec"]["automountServiceAccountToken"] = json!(false);
        match (inject(&pod, agent, level), created(namespace, &pod)) {
            (Ok(written), Ok(mut admitted)) => {
                let mut stored = created(UNHANDLED, &written).unwrap();
                if OTHER_RECORD.contains(&name) {
                    let record = |pod: &mut Value| {
                        pod["metadata"]["annotations"].as_object_mut().unwrap().remove("memlock.dev/injected").unwrap()
                    };
                    assert_ne!(record(&mut stored), record(&mut admitted), "{name}: the records may be compared");
                }
                assert_eq!(stored.to_string(), admitted.to_string(), "{name}");
                self.equal += 1;
            }
            (Err(said), Err(refused)) => {
                assert!(said.contains(sentence(refused.trim())), "{name}: offline {said}, the webhook {refused}");
                self.denied += 1;
            }
            (Ok(written), Err(refused)) if refused.contains("violates PodSecurity") => {
                assert_eq!(written, pod, "{name}: nothing of ours is what {refused}");
                self.insecure += 1;
            }
            (Ok(written), Err(refused)) => {
                let stored = created(UNHANDLED, &written);
                assert!(stored.is_err() && !refused.contains("memlock:"), "{name}: {refused}");
                self.invalid += 1;
            }
            (Err(said), Ok(_)) => panic!("{name}: only inject refuses: {said}"),
        }
    }
}

#[test]
fn inject_and_the_webhook_agree_over_the_golden_set() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/pods");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let levels = ["privileged", "baseline", "restricted"].map(|level| {
        let namespace = Namespace::new(&format!("offline-{level}"));
        kubectl(&["label", "namespace", &namespace.0, &format!("pod-security.kubernetes.io/enforce={level}")]);
        (level, namespace)
    });
    // Of which installation and namespace a file is, its name says: `name[.level][.no-agent][.image-volume].json`.
    let mut groups: BTreeMap<(Agent, &str), Vec<&Path>> = BTreeMap::new();
    for file in &files {
        let said = |word: &str| file.file_name().unwrap().to_str().unwrap().split('.').any(|part| part == word);
        let agent = match (said("image-volume"), said("no-agent")) {
            (true, _) => Agent::Mounted,
            (_, true) => Agent::Absent,
            _ => Agent::Copied,
        };
        let level = levels.iter().map(|(level, _)| *level).find(|level| said(level)).unwrap_or("privileged");
        groups.entry((agent, level)).or_default().push(file);
    }
    if !has_image_volumes() {
        groups.retain(|(agent, _), _| *agent != Agent::Mounted);
    }
    let mut installation = Installation::usual();
    let mut tallies = BTreeMap::new();
    for ((agent, level), files) in &groups {
        installation.upgrade(*agent);
        let namespace = &levels.iter().find(|(name, _)| name == level).unwrap().1;
        let tally: &mut Tally = tallies.entry((*agent, *level)).or_default();
        for file in files {
            tally.compare(file, &namespace.0, *agent, level);
        }
    }
    for ((agent, level), tally) in &tallies {
        eprintln!("golden pods, agent {agent:?}, {level}: {tally:?}");
    }
    let usual = tallies.remove(&(Agent::Copied, "privileged")).unwrap();
    assert!(usual.equal >= 30 && usual.denied >= 8 && usual.insecure == 0, "{usual:?}");
    let mut others = BTreeMap::from([
        ((Agent::Copied, "baseline"), Tally { equal: 1, denied: 1, ..Tally::default() }),
        ((Agent::Copied, "restricted"), Tally { equal: 1, insecure: 1, ..Tally::default() }),
        ((Agent::Mounted, "privileged"), Tally { equal: 2, ..Tally::default() }),
        ((Agent::Absent, "privileged"), Tally { equal: 2, ..Tally::default() }),
    ]);
    others.retain(|(agent, _), _| has_image_volumes() || *agent != Agent::Mounted);
    assert_eq!(tallies, others);
}
