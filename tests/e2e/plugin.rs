//! `kubectl memlock`, found and run by kubectl.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use serde_json::{Value, json};

use crate::{
    chart::CHART,
    cluster::{Namespace, RELEASE, SYSTEM, apply, eventually, kubectl, nbdkit, opted_in, run, running_id, succeed},
};

mod check;

use check::checked;

const BINARY: &str = env!("CARGO_BIN_EXE_kubectl-memlock");

/// kubectl, with the plugin on its PATH and nothing of a terminal.
fn with_plugin(arguments: &[&str]) -> Command {
    let folder = Path::new(BINARY).parent().unwrap().display();
    let mut command = Command::new("kubectl");
    command.args(arguments).env("PATH", format!("{folder}:{}", std::env::var("PATH").unwrap())).stdin(Stdio::null());
    command
}

/// Exit code, standard output, standard error.
fn memlock(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = with_plugin(&[&["memlock"], arguments].concat()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// Standard output of a command that succeeds.
fn shown(arguments: &[&str]) -> String {
    let (code, out, err) = memlock(arguments);
    assert_eq!(code, 0, "{arguments:?}: {out}{err}");
    out
}

fn create(namespace: &Namespace, name: &str, annotations: &Value, arguments: &[&str]) {
    let mut pod = nbdkit(name, annotations, arguments);
    pod["metadata"]["namespace"] = json!(namespace.0);
    pod["metadata"]["labels"] = json!({ "app": name });
    apply(&pod);
}

/// A `StatefulSet` of the example daemon with annotations on itself and in its template.
fn stateful_set(namespace: &Namespace, name: &str, own: &Value, inside: &Value) {
    let pod = nbdkit("", inside, &["--swap"]);
    let labels = json!({ "app": name });
    let output = namespace.create(&json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": name, "annotations": own },
        "spec": { "serviceName": name, "selector": { "matchLabels": labels },
                  "template": { "metadata": { "annotations": inside, "labels": labels }, "spec": pod["spec"] } },
    }));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What a row says in the columns of these heads.
fn row<'a>(table: &'a str, name: &str, heads: &[&str]) -> Vec<&'a str> {
    let first: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    let line = table.lines().find(|line| line.split_whitespace().any(|word| word == name));
    let cells: Vec<&str> = line.unwrap_or_else(|| panic!("no {name} in {table}")).split_whitespace().collect();
    heads.iter().map(|head| cells[first.iter().position(|word| word == head).unwrap()]).collect()
}

#[test]
fn status_shows_what_stands_on_the_pods() {
    let namespace = Namespace::new("plugin-status");
    create(&namespace, "locked", &opted_in(), &["--swap"]);
    create(&namespace, "unlocked", &opted_in(), &[]);
    create(&namespace, "plain", &json!({}), &[]);
    let mut never = nbdkit("never", &opted_in(), &["--swap"]);
    never["metadata"]["namespace"] = json!(namespace.0);
    never["spec"]["nodeSelector"] = json!({ "no": "such-node" });
    apply(&never);
    for name in ["locked", "unlocked"] {
        namespace.state(name, name);
    }
    let of = |more: &[&str]| shown(&[&["status", "-n", &namespace.0], more].concat());
    // The object may follow the pod by a moment; what is shown agrees with the pod before and after.
    let table = of(&[]);
    assert_eq!(row(&table, "locked", &["NAME", "CONTAINER", "STATE"]), ["locked.nbdkit", "nbdkit", "Locked"]);
    assert_eq!(row(&table, "unlocked", &["STATE", "LOCKED", "REASON"]), ["Unlocked", "0", "NotLocked"]);
    assert_eq!(row(&table, "never", &["STATE", "LOCKED", "REASON"]), ["Pending", "<none>", "Pending"]);
    assert!(!table.contains("plain") && !table.contains('\u{1b}'), "{table}");
    assert_eq!(of(&["--no-headers"]).lines().count(), 3);
    assert_eq!(of(&["-l", "app=locked", "--no-headers"]).lines().count(), 1);
    assert_eq!(of(&["--node", "node-1", "--no-headers"]).lines().count(), 2);
    assert!(row(&of(&["-o", "wide"]), "locked", &["NODE"]) == ["node-1"]);
    assert!(shown(&["status", "-A"]).contains(&namespace.0));

    let list: Value = serde_json::from_str(&of(&["-o", "json"])).unwrap();
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("List"), &json!("v1")));
    let states: Vec<_> = list["items"].as_array().unwrap().iter().map(|item| item["status"]["state"].clone()).collect();
    assert_eq!(states, ["Locked", "Pending", "Unlocked"]);
    // What is printed can be given back to kubectl.
    let items: Value = serde_json::from_str(&of(&["-o", "json", "locked"])).unwrap();
    let output = crate::cluster::kubectl_with(&["apply", "--dry-run=client", "-o", "name", "-f", "-"], &items);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "swapdevice.memlock.dev/locked.nbdkit");
    let yaml = of(&["-o", "yaml", "locked"]);
    assert!(yaml.starts_with("apiVersion: v1\n") && yaml.contains("\nkind: List\n"), "{yaml}");
    let file = std::env::temp_dir().join(format!("memlock-e2e-status-{}.yaml", std::process::id()));
    std::fs::write(&file, &yaml).unwrap();
    let read = kubectl(&["apply", "--dry-run=client", "-o", "json", "-f", file.to_str().unwrap()]);
    std::fs::remove_file(file).unwrap();
    let read: Value = serde_json::from_str(&read).unwrap();
    for part in ["spec", "status"] {
        assert_eq!(read[part], items["items"][0][part], "{part} in YAML as in JSON");
    }

    let (code, out, err) = memlock(&["status", "-n", &namespace.0, "locked", "plain", "missing"]);
    assert_eq!((code, out.lines().count()), (1, 2), "{out}{err}");
    assert!(err.contains("Error from server (NotFound): pods \"missing\" not found"), "{err}");
    assert!(err.contains("pod plain has not opted in"), "{err}");
    let (code, out, err) = memlock(&["status", "-n", "default"]);
    assert_eq!((code, out.as_str()), (0, ""));
    assert!(err.contains("No resources found in default namespace."), "{err}");
}

/// A child that goes whatever happens.
struct Watch(Child);

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_watch_shows_each_change() {
    let namespace = Namespace::new("plugin-watch");
    create(&namespace, "before", &opted_in(), &["--swap"]);
    namespace.state("before", "locked");
    let mut command = Command::new(BINARY);
    let words = ["status", "-w", "-n", &namespace.0, "-l", "app in (before,after)"];
    let mut watch = Watch(command.args(words).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(watch.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut until = |name: &str, state: &str| {
        let mut seen = Vec::new();
        for line in lines.by_ref() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let found = words.get(1) == Some(&name) && words.get(3) == Some(&state);
            seen.push(line);
            if found {
                return seen;
            }
        }
        panic!("the watch ended: {seen:?}")
    };
    let first = until("before", "Locked");
    assert!(first[0].starts_with("NAME "), "{first:?}");
    create(&namespace, "other", &opted_in(), &["--swap"]);
    namespace.state("other", "locked");
    create(&namespace, "after", &opted_in(), &[]);
    let seen = until("after", "Unlocked");
    assert!(seen.iter().all(|line| !line.contains("before")), "nothing of what did not change: {seen:?}");
    assert!(seen.iter().all(|line| !line.contains("other")), "nor of what was not asked for: {seen:?}");
}

/// Puts back what a test takes away, and waits until it works again.
struct PutBack(Vec<String>);

impl Drop for PutBack {
    fn drop(&mut self) {
        let words: Vec<&str> = self.0.iter().map(String::as_str).collect();
        succeed(words[0], &words[1..]);
        rolled_out();
    }
}

fn put_back(words: &[&str]) -> PutBack {
    PutBack(words.iter().map(|word| (*word).to_owned()).collect())
}

/// Takes away the pods of a part, and puts as many back.
fn stopped(component: &str) -> PutBack {
    let name = format!("memlock-operator-{component}");
    let replicas = kubectl(&["-n", SYSTEM, "get", "deployment", &name, "-o", "jsonpath={.spec.replicas}"]);
    let replicas = format!("--replicas={replicas}");
    let put_back = put_back(&["kubectl", "-n", SYSTEM, "scale", "deployment", &name, &replicas]);
    kubectl(&["-n", SYSTEM, "scale", "deployment", &name, "--replicas=0"]);
    let selector = format!("app.kubernetes.io/component={component}");
    kubectl(&["-n", SYSTEM, "wait", "--for=delete", "pod", "-l", &selector, "--timeout=60s"]);
    put_back
}

fn rolled_out() {
    for component in ["webhook", "controller"] {
        let name = format!("deployment/memlock-operator-{component}");
        kubectl(&["-n", SYSTEM, "rollout", "status", &name, "--timeout=60s"]);
    }
}

#[test]
fn a_verdict_of_an_earlier_container_is_not_shown() {
    let namespace = Namespace::new("plugin-outdated");
    {
        let _controller = stopped("controller");
        let device = |pod: &str, id: &str| {
            create(&namespace, pod, &opted_in(), &["--swap"]);
            let found = eventually("a running pod", || {
                let found = namespace.get(pod).ok_or("no pod")?;
                running_id(&found).map(|id| (found, id)).ok_or_else(|| "not running".to_owned())
            });
            let (found, running) = found;
            let id = if id.is_empty() { running } else { id.to_owned() };
            let owner = json!({ "apiVersion": "v1", "kind": "Pod", "name": pod, "uid": found["metadata"]["uid"] });
            let status = json!({ "state": "Locked", "containerID": id, "locked": "202Mi", "unlocked": "0", "swapped": "0",
                "conditions": [{ "type": "Locked", "status": "True", "reason": "Locked", "message": "all of it",
                                 "lastTransitionTime": "2026-01-01T10:00:00Z" }] });
            let name = format!("{pod}.nbdkit");
            apply(&json!({
                "apiVersion": "memlock.dev/v1alpha1", "kind": "SwapDevice",
                "metadata": { "name": name, "namespace": namespace.0, "ownerReferences": [owner] },
                "spec": { "pod": pod, "container": "nbdkit", "node": "node-1" },
            }));
            let patch = json!({ "status": status }).to_string();
            let resource = ["patch", "swapdevice", &name, "--subresource=status", "--type=merge", "-p", &patch];
            kubectl(&[&["-n", &namespace.0], &resource[..]].concat());
        };
        device("current", "");
        device("restarted", "0123456789ab");
        create(&namespace, "new", &opted_in(), &["--swap"]);
        kubectl(&["-n", &namespace.0, "wait", "--for=condition=Ready", "pod/new", "--timeout=60s"]);
        let table = shown(&["status", "-n", &namespace.0]);
        let columns = ["STATE", "LOCKED", "REASON"];
        assert_eq!(row(&table, "current", &columns), ["Locked", "202Mi", "Locked"]);
        assert_eq!(row(&table, "restarted", &columns), ["Unknown", "<none>", "Outdated"]);
        assert_eq!(row(&table, "new", &columns), ["Unknown", "<none>", "NotChecked"]);
        // kubectl knows only those that exist.
        let names = shown(&["status", "-n", &namespace.0, "-o", "name"]);
        assert_eq!(names, "swapdevice.memlock.dev/current.nbdkit\nswapdevice.memlock.dev/restarted.nbdkit\n");
        kubectl(&["-n", &namespace.0, "get", names.lines().next().unwrap()]);
        let (code, results) = checked(&[]);
        assert_eq!((code, &results["controller"]), (1, &json!(["wrong"])));
    }
    namespace.state("restarted", "locked");
}

#[test]
fn a_server_that_is_not_there_is_told_as_kubectl_does() {
    let server = ["--server", "https://127.0.0.1:1"];
    let said = "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?\n";
    let theirs = String::from_utf8(run("kubectl", &["get", "pods", server[0], server[1]]).stderr).unwrap();
    assert!(theirs.ends_with(said), "{theirs}");
    for (command, expected) in [(&["status"][..], 1), (&["explain", "pod"], 1), (&["check"], 2)] {
        let (code, out, err) = memlock(&[command, &server].concat());
        assert_eq!((code, out.as_str(), err.as_str()), (expected, "", said), "{command:?}");
    }
    let (code, _, err) = memlock(&["status", "--context", "nowhere"]);
    assert!(code == 1 && err.contains("nowhere") && err.starts_with("error: "), "{err}");
    assert_eq!(memlock(&["check", "--nonsense"]).0, 2);
    assert_eq!(memlock(&["check", "-n", "default"]).0, 1, "nothing is installed there");
}

#[test]
fn explain_says_what_was_done_what_is_and_what_to_do() {
    let namespace = Namespace::new("plugin-explain");
    create(&namespace, "locked", &opted_in(), &["--swap"]);
    create(&namespace, "unlocked", &opted_in(), &[]);
    stateful_set(&namespace, "set", &json!({}), &opted_in());
    for (name, state) in [("locked", "locked"), ("unlocked", "unlocked"), ("set-0", "locked")] {
        namespace.state(name, state);
    }
    let explain = |more: &[&str]| shown(&[&["explain", "-n", &namespace.0], more].concat());
    let has = |text: &str, lines: &[&str]| {
        for line in lines {
            let found =
                text.lines().any(|shown| shown.split_whitespace().collect::<Vec<_>>().join(" ").starts_with(line));
            assert!(found, "no line {line:?} in:\n{text}");
        }
    };
    let injected = ["decision inject (CapabilityGranted)", "change adds IPC_LOCK to", "injected yes"];
    let locked = explain(&["locked", "--live"]);
    has(&locked, &injected);
    has(
        &locked,
        &["verdict nbdkit: Locked (Locked), since", "now nbdkit: locked (Locked): process 1 (nbdkit) has locked all"],
    );
    assert!(!locked.contains("removes"), "our own marks are no change of the author's:\n{locked}");
    let unlocked = explain(&["pod/unlocked"]);
    has(&unlocked, &injected);
    has(&unlocked, &["verdict nbdkit: Unlocked (NotLocked), since", "figures locked 0, unlocked "]);
    has(&unlocked, &["memory QoS BestEffort, no limit, memory.swap.max "]);
    assert!(unlocked.contains("start it with its locking option") && !unlocked.contains("  now "), "{unlocked}");
    let set = explain(&["sts/set"]);
    has(&set, &["StatefulSet", "Pod", "verdict nbdkit: Locked (Locked)"]);

    let (code, _, err) = memlock(&["explain", "-n", &namespace.0, "locked", "-c", "other"]);
    assert!(code == 1 && err.contains("container other of pod locked does not serve a swap device"), "{err}");
    let (code, _, err) = memlock(&["explain", "-n", &namespace.0, "missing"]);
    assert!(code == 1 && err.contains("pods \"missing\" not found"), "{err}");
}

#[test]
fn a_pod_that_was_refused_is_explained_by_what_its_owner_was_told() {
    let namespace = Namespace::new("plugin-refused");
    kubectl(&["label", "namespace", &namespace.0, "pod-security.kubernetes.io/enforce=baseline"]);
    stateful_set(&namespace, "set", &json!({}), &opted_in());
    let remedy = format!("kubectl label namespace {} pod-security.kubernetes.io/enforce=privileged", namespace.0);
    let told = eventually("the owner's event", || {
        let (code, out, err) = memlock(&["explain", "-n", &namespace.0, "set-0"]);
        if code == 0 { Ok(out) } else { Err(err) }
    });
    eprint!("{told}");
    let head = format!("Pod {}/set-0 does not exist: it was refused", namespace.0);
    assert!(told.starts_with(&head) && told.contains("a pod of StatefulSet set could not be created"), "{told}");
    assert!(told.contains(&remedy) && !told.contains("admission webhook"), "{told}");
    let of_owner = shown(&["explain", "-n", &namespace.0, "statefulset", "set"]);
    assert!(
        of_owner.contains("decision   deny (PodSecurity)") && of_owner.contains("refused    a pod of"),
        "{of_owner}"
    );
}

#[test]
fn kubectl_finds_the_plugin_and_completes_its_words() {
    let listed = String::from_utf8(with_plugin(&["plugin", "list"]).output().unwrap().stdout).unwrap();
    assert!(listed.lines().any(|line| line.ends_with("/kubectl-memlock")), "{listed}");
    assert!(shown(&["--version"]).starts_with("kubectl-memlock "));
    let folder = std::env::temp_dir().join(format!("memlock-completion-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let script = folder.join("kubectl_complete-memlock");
    std::fs::write(&script, shown(&["completion"])).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut completing = with_plugin(&["__complete", "memlock", "status", "-o", ""]);
    let path = completing.get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap().to_owned();
    completing.env("PATH", format!("{}:{}", folder.display(), path.to_str().unwrap()));
    let completed = String::from_utf8(completing.output().unwrap().stdout).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let words: Vec<&str> = completed.lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(words, ["table", "wide", "json", "yaml", "name", ":4"], "{completed}");
}
