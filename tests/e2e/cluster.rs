//! kubectl, helm, and waiting for conditions.

use std::{
    process::{Command, Output},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

pub const SYSTEM: &str = "memlock-system";
pub const RELEASE: &str = "memlock";
/// Longest wait for anything that the cluster does.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Runs a program to its end.
pub fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program} cannot be started: {e}"))
}

/// Standard output of a program that must succeed.
pub fn succeed(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?} failed: {out}{err}");
    out.into_owned()
}

pub fn kubectl(arguments: &[&str]) -> String {
    succeed("kubectl", arguments)
}

/// Gives a manifest to kubectl on standard input.
pub fn kubectl_with(arguments: &[&str], manifest: &Value) -> Output {
    use std::{io::Write, process::Stdio};
    let mut child = Command::new("kubectl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl is on PATH");
    child.stdin.take().unwrap().write_all(manifest.to_string().as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

pub fn apply(manifest: &Value) {
    let output = kubectl_with(&["apply", "-f", "-"], manifest);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Minor version of the API server: `make matrix` runs the tests on an old one too.
pub fn minor() -> u32 {
    let version: Value = serde_json::from_str(&kubectl(&["get", "--raw", "/version"])).unwrap();
    // Some providers write `35+`.
    version["minor"].as_str().unwrap().trim_end_matches('+').parse().unwrap()
}

/// Whether pods can mount images; the chart refuses that delivery where they cannot.
pub fn has_image_volumes() -> bool {
    minor() >= 35
}

/// Asks until the answer is something, or panics with the last state.
pub fn eventually<T>(what: &str, ask: impl FnMut() -> Result<T, String>) -> T {
    eventually_within(PATIENCE, what, ask)
}

/// The same for what takes longer.
pub fn eventually_within<T>(patience: Duration, what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(last) => assert!(start.elapsed() < patience, "{what}: not within {patience:?}; last: {last}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether the full counts are asked for, which take minutes.
pub fn full() -> bool {
    std::env::var_os("MEMLOCK_FULL").is_some()
}

/// A namespace that goes with the test.
pub struct Namespace(pub String);

impl Namespace {
    pub fn new(name: &str) -> Self {
        let name = format!("e2e-{name}");
        kubectl(&["create", "namespace", &name]);
        let namespace = Self(name);
        // The service account of a new namespace appears a moment later; no pod is admitted before.
        eventually("default service account", || {
            let output = run("kubectl", &["-n", &namespace.0, "get", "serviceaccount", "default"]);
            if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
        });
        namespace
    }

    pub fn get(&self, pod: &str) -> Option<Value> {
        let output = run("kubectl", &["-n", &self.0, "get", "pod", pod, "-o", "json", "--ignore-not-found"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Waits until the pod's label says this, and gives the pod.
    pub fn state(&self, pod: &str, state: &str) -> Value {
        eventually(&format!("{pod} {state}"), || {
            let found = self.get(pod).ok_or("no such pod")?;
            let said = label(&found);
            if said == Some(state) { Ok(found) } else { Err(format!("{said:?}: {}", condition(&found))) }
        })
    }

    pub fn create(&self, pod: &Value) -> Output {
        kubectl_with(&["-n", &self.0, "create", "-f", "-"], pod)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", String::from_utf8_lossy(&run("kubectl", &["-n", &self.0, "describe", "pods"]).stdout));
            eprintln!("{}", controller_log());
        }
        run("kubectl", &["delete", "namespace", &self.0, "--wait=false"]);
    }
}

/// A pod with the example daemon; the arguments decide whether it locks.
pub fn nbdkit(name: &str, annotations: &Value, arguments: &[&str]) -> Value {
    let arguments = [&["-f", "-U", "/tmp/nbd.sock"], arguments, &["memory", "64M"]].concat();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "annotations": annotations },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{ "name": "nbdkit", "image": "localhost/nbdkit:1", "imagePullPolicy": "IfNotPresent", "args": arguments }],
        },
    })
}

/// Creates an annotated pod with the example daemon, which locks.
/// Helm waits for pods, and kube-proxy leads to them a moment later: sooner than a person types, and later than a test.
pub fn reached(namespace: &str) {
    eventually("an admission", || {
        let pod = nbdkit("reached", &opted_in(), &["--swap"]);
        let output = kubectl_with(&["-n", namespace, "create", "--dry-run=server", "-f", "-"], &pod);
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    });
}

pub fn create_locking(namespace: &Namespace, name: &str) {
    let output = namespace.create(&nbdkit(name, &opted_in(), &["--swap"]));
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

pub fn opted_in() -> Value {
    json!({ "memlock.dev/swap-device": "true" })
}

pub fn label(pod: &Value) -> Option<&str> {
    pod["metadata"]["labels"]["memlock.dev/state"].as_str()
}

pub fn condition(pod: &Value) -> Value {
    condition_of_type(pod, "memlock.dev/Locked")
}

pub fn condition_of_type(pod: &Value, kind: &str) -> Value {
    let all = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|c| c["type"] == kind).unwrap_or_default()
}

/// The container's entry of the annotation `memlock.dev/status`.
pub fn reported(pod: &Value, container: &str) -> Value {
    let text = pod["metadata"]["annotations"]["memlock.dev/status"].as_str().unwrap_or("{}");
    serde_json::from_str::<Value>(text).unwrap()["containers"][container].clone()
}

/// Runtime id of the pod's running first container, without its scheme.
pub fn running_id(pod: &Value) -> Option<String> {
    let status = &pod["status"]["containerStatuses"][0];
    status["state"].get("running")?;
    status["containerID"].as_str()?.rsplit("://").next().map(str::to_owned)
}

/// Of all controllers: those that wait say nothing of pods. One that just ends may be gone between kubectl's list and its log.
pub fn controller_log() -> String {
    eventually("the logs of all controllers", || {
        let of = "app.kubernetes.io/component=controller";
        let output = run("kubectl", &["-n", SYSTEM, "logs", "-l", of, "--tail=-1"]);
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
    })
}

/// Identity of the controller that leads: its pod's name, `_`, and a number.
pub fn leader() -> String {
    eventually("a leader", || {
        let spec = "jsonpath={.spec.holderIdentity}";
        let holder = kubectl(&["-n", SYSTEM, "get", "lease", "memlock-operator-controller", "-o", spec]);
        let Some(pod) = pod_of(&holder) else { return Err("nobody leads".to_owned()) };
        // One that ended without giving the lease up holds it on for a while.
        let there = run("kubectl", &["-n", SYSTEM, "get", "pod", pod]).status.success();
        if there { Ok(holder) } else { Err(format!("{pod} holds the lease and is gone")) }
    })
}

/// The pod whose controller has this identity.
pub fn pod_of(identity: &str) -> Option<&str> {
    Some(identity.rsplit_once('_')?.0)
}

/// The pod of the controller that leads.
pub fn leading_pod() -> String {
    pod_of(&leader()).unwrap().to_owned()
}

/// A page that the controller that leads serves over HTTP.
pub fn page(name: &str) -> String {
    kubectl(&["get", "--raw", &page_of(&leading_pod(), name)])
}

/// Where the API server passes on what a pod of ours serves over HTTP.
pub fn page_of(pod: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{SYSTEM}/pods/{pod}:8080/proxy/{name}")
}

/// The controller's log lines about one pod.
pub fn log_lines(namespace: &str, pod: &str) -> Vec<Value> {
    let lines = controller_log();
    let parsed = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    parsed.filter(|line| line["namespace"] == json!(namespace) && line["pod"] == json!(pod)).collect()
}
