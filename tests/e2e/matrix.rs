//! The seed's matrix on real containers: who runs how, with what, and whether the memory is locked in the end.
//!
//! What is expected of a cell is computed from the decision and from three facts of the kernel, in [`expected`], and
//! compared with what the kubelet did and with `/proc` on the node.

use std::{collections::BTreeMap, fmt::Write as _, fs};

use memlock_operator::domain::inject::{Agent, Delivery, Level, Settings, Verb, inject};
use serde_json::{Value, json};

use crate::{
    cluster::{Namespace, eventually, kubectl, kubectl_with, label, running_id, succeed},
    host,
};

/// The table as it was last seen.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/matrix.md");
/// Pods at a time: each of them is three containers.
const BATCH: usize = 20;

const USERS: [(&str, Option<i64>); 2] = [("root", None), ("uid 1000", Some(1000))];
const PROGRAMS: [&str; 5] = ["locks itself", "dynamic", "static", "Go", "no command"];
const SETTINGS: [&str; 8] = [
    "no capability",
    "IPC_LOCK",
    "IPC_LOCK, hardened",
    "privileged",
    "memlock 64 KiB",
    "seccomp RuntimeDefault",
    "hostUsers: false",
    "baseline namespace",
];

/// One cell of the matrix.
#[derive(Debug, Clone, Copy)]
struct Cell {
    user: (&'static str, Option<i64>),
    setting: &'static str,
    program: &'static str,
    required: bool,
}

/// How it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// Refused by the webhook; the sentence holds this.
    Denied(&'static str),
    /// The preflight stops the pod; its sentence holds this.
    PreflightFails(&'static str),
    /// The launcher stops the container; its sentence holds this.
    LauncherFails(&'static str),
    Locked,
    /// Runs, and is flagged.
    Unlocked,
}

impl Outcome {
    fn cell(&self) -> String {
        match self {
            Self::Denied(why) => format!("denied: {why}"),
            Self::PreflightFails(why) => format!("preflight: {why}"),
            Self::LauncherFails(why) => format!("launcher: {why}"),
            Self::Locked => "**locked**".to_owned(),
            Self::Unlocked => "runs unlocked, flagged".to_owned(),
        }
    }
}

fn cells() -> Vec<Cell> {
    let mut all = Vec::new();
    for setting in SETTINGS {
        for user in USERS {
            for program in PROGRAMS {
                all.extend([true, false].map(|required| Cell { user, setting, program, required }));
            }
        }
    }
    all
}

impl Cell {
    fn name(&self) -> String {
        let place = |all: &[&str], one: &str| all.iter().position(|x| *x == one).unwrap();
        format!(
            "{}-{}-{}-{}",
            if self.user.1.is_none() { "root" } else { "user" },
            ["none", "plain", "hardened", "privileged", "limited", "seccomp", "userns", "baseline"]
                [place(&SETTINGS, self.setting)],
            ["self", "dynamic", "static", "go", "entrypoint"][place(&PROGRAMS, self.program)],
            if self.required { "required" } else { "optional" }
        )
    }

    fn pod(&self) -> Value {
        let mut annotations = json!({
            "memlock.dev/swap-device": "true",
            "memlock.dev/required": self.required.to_string(),
            "memlock.dev/lock-by": if self.program == "locks itself" { "daemon" } else { "agent" },
        });
        let mut security = json!({});
        let mut spec = json!({ "terminationGracePeriodSeconds": 0, "restartPolicy": "Never" });
        match self.setting {
            "no capability" => annotations["memlock.dev/verify-only"] = json!("true"),
            "IPC_LOCK, hardened" => {
                security = json!({
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"] },
                });
            }
            "privileged" => security = json!({ "privileged": true }),
            "seccomp RuntimeDefault" => security = json!({ "seccompProfile": { "type": "RuntimeDefault" } }),
            "hostUsers: false" => spec["hostUsers"] = json!(false),
            _ => {}
        }
        if let Some(uid) = self.user.1 {
            security["runAsUser"] = json!(uid);
        }
        let mut container = json!({
            "name": "daemon", "image": "localhost/matrix:1", "imagePullPolicy": "IfNotPresent",
            "resources": { "requests": { "cpu": "1m", "memory": "80Mi" }, "limits": { "memory": "80Mi" } },
            "securityContext": security,
        });
        match self.program {
            "locks itself" => container["command"] = json!(["/static", "lock"]),
            "dynamic" => container["command"] = json!(["/dynamic"]),
            "static" => container["command"] = json!(["/static"]),
            "Go" => container["command"] = json!(["/go"]),
            _ => {}
        }
        spec["containers"] = json!([container]);
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": self.name(), "annotations": annotations }, "spec": spec,
        })
    }
}

/// The one place where the outcome of a cell is derived.
fn expected(cell: &Cell) -> Outcome {
    let level = if cell.setting == "baseline namespace" { Level::Baseline } else { Level::Privileged };
    let agent = Agent { image: "agent".into(), pull_policy: None, delivery: Delivery::InitContainer };
    let injection = inject(&cell.pod(), &Settings { level, agent: Some(agent) }).unwrap();
    let decision = injection.decision;
    if decision.verb == Verb::Deny {
        return Outcome::Denied("enforces the Pod Security level baseline");
    }
    let step = decision.steps.first();
    let launcher = step.and_then(|step| step.launcher.as_ref());
    let preflight = step.is_some_and(|step| step.preflight);
    let locks_by_agent =
        launcher.is_some_and(|launcher| launcher.lock.is_some()) || step.is_some_and(|step| step.preload);
    // Nothing was added to a pod that is only checked, or where the namespace would refuse it.
    let granted = cell.setting == "privileged" || step.is_some_and(|step| !step.capabilities.is_empty());
    // capabilities(7): execve of a plain file as another user than root leaves only what is ambient, which the launcher
    // raises. user_namespaces(7): capabilities there count for nothing outside, and locking asks outside.
    let in_user_namespace = cell.setting == "hostUsers: false";
    let effective = granted && !in_user_namespace && (cell.user.1.is_none() || launcher.is_some());
    // No limit of this machine covers the 80 MiB that are wanted, so that nothing but the capability helps.
    if !effective && cell.required && (preflight || launcher.is_some()) {
        let why = if in_user_namespace { "runs in a user namespace" } else { "runs as uid 1000" };
        return if preflight { Outcome::PreflightFails(why) } else { Outcome::LauncherFails(why) };
    }
    if effective && (cell.program == "locks itself" || locks_by_agent) { Outcome::Locked } else { Outcome::Unlocked }
}

/// What a setting comes to in a running container. Capabilities are those of the bounding set: what the container was
/// given, whoever runs in it; CHOWN is one of the runtime's own, so that only dropping takes it away.
const FACTS: [&str; 7] =
    ["memlock 64 KiB", "seccomp filter", "no new privileges", "user namespace", "IPC_LOCK", "SYS_ADMIN", "CHOWN"];

fn facts(holds: [bool; 7]) -> Vec<&'static str> {
    FACTS.into_iter().zip(holds).filter_map(|(fact, holds)| holds.then_some(fact)).collect()
}

/// Those of a setting. Without them one that never arrived would end as one that does no harm.
fn wanted(setting: &str) -> Vec<&'static str> {
    facts([
        setting == "memlock 64 KiB",
        setting == "seccomp RuntimeDefault",
        setting == "IPC_LOCK, hardened",
        setting == "hostUsers: false",
        !["no capability", "baseline namespace"].contains(&setting),
        setting == "privileged",
        setting != "IPC_LOCK, hardened",
    ])
}

/// Those of a process, by the node's kernel.
fn held(pid: u32) -> Vec<&'static str> {
    let bounding = u64::from_str_radix(&host::status(pid, "CapBnd"), 16).unwrap();
    let [ipc_lock, sys_admin, chown] = [14, 21, 0].map(|capability| bounding >> capability & 1 == 1);
    facts([
        host::soft_limit(pid, "Max locked memory") == (64 << 10).to_string(),
        host::status(pid, "Seccomp") == "2",
        host::status(pid, "NoNewPrivs") == "1",
        host::in_user_namespace(pid),
        ipc_lock,
        sys_admin,
        chown,
    ])
}

/// Soft `RLIMIT_MEMLOCK` of the node's container runtime, which its containers inherit; put back at the end.
struct RuntimeLimit(Vec<(u32, u64)>);

impl RuntimeLimit {
    fn lower(bytes: u64) -> Self {
        let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        let named =
            |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "containerd\n");
        let lowered = all.filter(named).map(|pid| {
            let soft = host::soft_limit(pid, "Max locked memory").parse().expect("this machine has a limit");
            Self::set(pid, bytes);
            (pid, soft)
        });
        let lowered: Vec<_> = lowered.collect();
        assert!(!lowered.is_empty(), "no containerd runs on this machine");
        Self(lowered)
    }

    fn set(pid: u32, soft: u64) {
        succeed("prlimit", &["--pid", &pid.to_string(), &format!("--memlock={soft}:")]);
    }
}

impl Drop for RuntimeLimit {
    fn drop(&mut self) {
        for (pid, soft) in &self.0 {
            Self::set(*pid, *soft);
        }
    }
}

/// What became of the cell's pod so far; `None`: not decided yet.
fn outcome(cell: &Cell, pod: &Value) -> Option<Result<Outcome, String>> {
    let terminated = |kind: &str, name: &str| {
        let all = pod["status"][kind].as_array()?;
        let status = all.iter().find(|c| c["name"] == name)?;
        let end = &status["state"]["terminated"];
        (end["exitCode"] == 78).then(|| end["message"].as_str().unwrap_or_default().to_owned())
    };
    let why = |message: &str| {
        // Nobody is left to look at: the sentence tells the limit under which it was tried.
        let limit = if cell.setting == "memlock 64 KiB" {
            "its memlock limit is 64 kB"
        } else {
            "its memlock limit is 8192 kB"
        };
        if !message.contains(limit) {
            return Err(format!("another limit: {message}"));
        }
        let known = ["runs in a user namespace", "runs as uid 1000"];
        known.into_iter().find(|why| message.contains(why)).ok_or_else(|| format!("another cause: {message}"))
    };
    if let Some(message) = terminated("initContainerStatuses", "memlock-preflight") {
        return Some(why(&message).map(Outcome::PreflightFails));
    }
    if let Some(message) = terminated("containerStatuses", "daemon") {
        return Some(why(&message).map(Outcome::LauncherFails));
    }
    let id = running_id(pod)?;
    let said = label(pod)?;
    let locked = match said {
        "locked" => true,
        "unlocked" => false,
        // Not looked at yet, or caught while it was filling its memory.
        _ => return None,
    };
    let pid = host::first_process(&id);
    let (size, truth) = (host::kilobytes(pid, "VmSize"), host::kilobytes(pid, "VmLck"));
    // vvar and vdso are never locked: some pages.
    let really = truth > 0 && size - truth < 64;
    // It was looked at before it had locked: the next look tells. The other way round there is no excuse.
    if really && !locked {
        return None;
    }
    if really != locked || (!locked && truth != 0) {
        return Some(Err(format!("called {said}, and /proc/{pid}/status says VmSize {size} VmLck {truth}")));
    }
    let (held, wanted) = (held(pid), wanted(cell.setting));
    if held != wanted {
        return Some(Err(format!("the setting is not in the container: wanted {wanted:?}, found {held:?}")));
    }
    Some(Ok(if locked { Outcome::Locked } else { Outcome::Unlocked }))
}

fn run_cells(namespace: &Namespace, cells: &[Cell], found: &mut BTreeMap<String, Result<Outcome, String>>) {
    for batch in cells.chunks(BATCH) {
        let mut waiting = Vec::new();
        for cell in batch {
            let output = kubectl_with(&["-n", &namespace.0, "create", "-f", "-"], &cell.pod());
            if output.status.success() {
                waiting.push((cell.name(), cell));
                continue;
            }
            let error = String::from_utf8_lossy(&output.stderr);
            let why = "enforces the Pod Security level baseline";
            let denied = if error.contains(why) { Ok(Outcome::Denied(why)) } else { Err(error.into_owned()) };
            found.insert(cell.name(), denied);
        }
        eventually("the outcome of every pod", || {
            let list: Value =
                serde_json::from_str(&kubectl(&["-n", &namespace.0, "get", "pods", "-o", "json"])).unwrap();
            for pod in list["items"].as_array().unwrap() {
                let name = pod["metadata"]["name"].as_str().unwrap();
                let Some((_, cell)) = waiting.iter().find(|(waited, _)| waited == name) else { continue };
                if let Some(outcome) = outcome(cell, pod) {
                    waiting.retain(|(waited, _)| waited != name);
                    found.insert(name.to_owned(), outcome);
                }
            }
            let names: Vec<&str> = waiting.iter().map(|(name, _)| name.as_str()).collect();
            if waiting.is_empty() { Ok(()) } else { Err(names.join(" ")) }
        });
        kubectl(&["-n", &namespace.0, "delete", "pods", "--all", "--wait=false"]);
    }
}

fn table(outcomes: &BTreeMap<String, Outcome>) -> String {
    let mut text = "| setting | user | required | ".to_owned() + &PROGRAMS.join(" | ") + " |\n|---|---|---|";
    text += &"---|".repeat(PROGRAMS.len());
    text += "\n";
    for setting in SETTINGS {
        for user in USERS {
            for required in [true, false] {
                write!(text, "| {setting} | {} | {required} |", user.0).unwrap();
                for program in PROGRAMS {
                    let cell = Cell { user, setting, program, required };
                    write!(text, " {} |", outcomes[&cell.name()].cell()).unwrap();
                }
                text += "\n";
            }
        }
    }
    text
}

#[test]
fn every_cell_ends_as_the_decision_table_says() {
    let namespace = Namespace::new("matrix");
    let strict = Namespace::new("matrix-baseline");
    kubectl(&["label", "namespace", &strict.0, "pod-security.kubernetes.io/enforce=baseline"]);
    let of =
        |settings: &[&str]| cells().into_iter().filter(|cell| settings.contains(&cell.setting)).collect::<Vec<_>>();
    let mut found = BTreeMap::new();
    run_cells(&strict, &of(&["baseline namespace"]), &mut found);
    {
        let _limit = RuntimeLimit::lower(64 << 10);
        run_cells(&namespace, &of(&["memlock 64 KiB"]), &mut found);
    }
    let others: Vec<&str> =
        SETTINGS.into_iter().filter(|s| !["baseline namespace", "memlock 64 KiB"].contains(s)).collect();
    run_cells(&namespace, &of(&others), &mut found);

    let wanted: BTreeMap<String, Outcome> = cells().iter().map(|cell| (cell.name(), expected(cell))).collect();
    let wrong: Vec<String> = wanted
        .iter()
        .filter(|(name, outcome)| found.get(*name) != Some(&Ok((*outcome).clone())))
        .map(|(name, outcome)| format!("{name}: expected {outcome:?}, was {:?}", found.get(name)))
        .collect();
    let table = table(&wanted);
    eprintln!("{table}");
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), wanted.len());
    let page = fs::read_to_string(PAGE).unwrap_or_default();
    if std::env::var_os("UPDATE").is_some() {
        let head = page.split_once("<!-- matrix").map_or(page.as_str(), |(head, _)| head);
        fs::write(PAGE, format!("{head}<!-- matrix: from tests/e2e/matrix.rs -->\n{table}")).unwrap();
    } else {
        assert!(page.ends_with(&table), "docs/matrix.md is not what was seen: UPDATE=1 writes it anew");
    }
}
