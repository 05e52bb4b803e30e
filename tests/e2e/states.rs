//! The truth table: each state of memory locking, in a real container, judged from what the
//! probes print there, and held against the flags of every mapping as root reads them on the node.

use std::{fs, path::PathBuf};

use memlock_operator::domain::{
    probe::{ALLOWED, parse},
    verdict::{State, Wanted, judge},
};
use serde_json::{Value, json};

use crate::{
    cluster::{Namespace, apply, eventually, kubectl, run, running_id},
    host,
};

/// States whose mappings no program can lock, and which the kernel never swaps: `VmLck` alone
/// cannot tell them from unlocked memory, so that "partial" is allowed where "locked" is true.
/// Not for the agent: these run as root with the capabilities of an exec, so that it may read the flags.
const UNLOCKABLE_MAPPINGS: [&str; 2] = ["ring", "droppable"];

/// States in which a probe cannot see everything, or not at every moment: unknown is the truth that it knows.
/// Into a container whose first process has no first thread, the runtime makes no exec.
const HARD_TO_SEE: [&str; 5] = ["hidden", "hidden_none", "churn", "churn_locked", "leader_gone"];

/// States that only the agent reads: memory that no first thread shows, and a group below the one of the exec with all
/// processes in it.
const AGENT_SEES: [&str; 3] = ["leader_gone_beside_locked", "leader_gone_locked_too", "subgroup-of-all"];

/// The daemon may divide its memory control group alone, or those of other hierarchies too.
const MEMORY: &[&str] = &["memory"];
const MANY: &[&str] = &["memory", "pids", "freezer"];

/// What the kernel says of all mappings of a container's processes, in kB.
#[derive(Debug, Default)]
pub struct Truth {
    processes: usize,
    /// Processes without one locked mapping.
    without_locks: usize,
    unlocked_kb: u64,
    pub swapped_kb: u64,
    /// In huge pages that the kernel made by itself.
    huge_kb: u64,
}

impl Truth {
    pub fn state(&self) -> State {
        match self {
            Self { swapped_kb: 1.., .. } => State::Swapped,
            Self { without_locks: 1.., .. } => State::Unlocked,
            Self { unlocked_kb: 1.., .. } => State::Partial,
            _ => State::Locked,
        }
    }

    /// A mapping is safe when it is locked (`lo`) or of a kind that is never swapped: driver
    /// memory, hugetlb, dropped instead (`proc_pid_smaps(5)`).
    pub fn of(container_id: &str) -> Self {
        Self::of_processes(&host::processes(container_id))
    }

    /// The same of a container's processes.
    pub fn of_processes(pids: &[u32]) -> Self {
        let mut truth = Self::default();
        for pid in pids {
            // A thread that has ended shows no mappings. A zombie has no other, and nothing that could be swapped.
            let smaps = |folder: PathBuf| fs::read_to_string(folder.join("smaps")).ok().filter(|text| !text.is_empty());
            let Some(smaps) = host::threads(*pid).into_iter().find_map(smaps) else { continue };
            truth.processes += 1;
            let (mut locked, mut size, mut mapping) = (false, 0, "");
            for line in smaps.lines() {
                let mut words = line.split_whitespace();
                let (key, value) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                if key.contains('-') {
                    mapping = line.split_whitespace().nth(5).unwrap_or_default();
                }
                match key {
                    "Size:" => size = value.parse().unwrap(),
                    "AnonHugePages:" => truth.huge_kb += value.parse::<u64>().unwrap(),
                    "Swap:" => truth.swapped_kb += value.parse::<u64>().unwrap(),
                    "VmFlags:" => {
                        let flags: Vec<&str> = line.split_whitespace().skip(1).collect();
                        locked |= flags.contains(&"lo");
                        let safe = ["lo", "pf", "io", "de", "mm", "ht", "dp"].iter().any(|flag| flags.contains(flag));
                        // Pages of the kernel, which no process owns.
                        let kernels = ["[vvar]", "[vvar_vclock]", "[vdso]", "[vsyscall]"].contains(&mapping);
                        truth.unlocked_kb += if safe || kernels { 0 } else { size };
                    }
                    _ => {}
                }
            }
            truth.without_locks += usize::from(!locked);
        }
        truth
    }
}

fn agent_image() -> String {
    let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/target/images/ref");
    fs::read_to_string(reference).expect("images/operator wrote its reference").trim().to_owned()
}

/// A pod in this state, with the agent as the webhook brings it, and the JSON merged over it.
pub fn pod(namespace: &str, state: &str, change: &Value) -> Value {
    // To mount /proc anew.
    let capabilities = if state.starts_with("hidden") { &["IPC_LOCK", "SYS_ADMIN"][..] } else { &["IPC_LOCK"] };
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": state.replace('_', "-"), "namespace": namespace },
        "spec": { "terminationGracePeriodSeconds": 0, "restartPolicy": "Never", "containers": [{
            "name": "state", "image": "localhost/states:1", "imagePullPolicy": "IfNotPresent", "args": [state],
            "env": [{ "name": "PATH", "value": "/bin" }],
            "securityContext": { "capabilities": { "add": capabilities } },
            "volumeMounts": [{ "name": "memlock", "mountPath": "/memlock", "readOnly": true }],
        }],
        // The agent as the webhook brings it, with the launcher's capability.
        "initContainers": [{
            "name": "memlock-init", "image": agent_image(), "imagePullPolicy": "IfNotPresent",
            "command": ["/memlock/memlock", "install", "--launcher", "lock", "/target"],
            "securityContext": { "runAsUser": 0, "capabilities": { "drop": ["ALL"], "add": ["SETFCAP"] } },
            "volumeMounts": [{ "name": "memlock", "mountPath": "/target" }],
        }],
        "volumes": [{ "name": "memlock", "emptyDir": {} }] },
    });
    json_patch::merge(&mut pod, change);
    pod
}

/// Every state as root with the capability, and some of them otherwise.
fn pods(namespace: &str) -> Vec<(String, Value)> {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/states/states.c");
    let source = fs::read_to_string(program).unwrap();
    let names = source.split("STATE(").skip(2).filter_map(|rest| rest.split(')').next());
    let mut pods: Vec<_> = names.map(|name| (name.to_owned(), pod(namespace, name, &json!({})))).collect();
    let variants = [
        ("non-root", "none", json!({ "spec": { "securityContext": { "runAsUser": 1000 } } })),
        ("user-namespace", "none", json!({ "spec": { "hostUsers": false } })),
        (
            "seccomp-default",
            "all",
            json!({ "spec": { "securityContext": { "seccompProfile": { "type": "RuntimeDefault" } } } }),
        ),
        ("host-pid", "all", json!({ "spec": { "hostPID": true } })),
        ("host-pid-none", "none", json!({ "spec": { "hostPID": true } })),
        ("shared-pid", "all", json!({ "spec": { "shareProcessNamespace": true } })),
        ("shared-pid-none", "none", json!({ "spec": { "shareProcessNamespace": true } })),
        // Divided by `divide`, below.
        ("subgroup", "forked", json!({})),
        ("subgroup-of-many", "forked", json!({})),
        ("subgroup-locked", "forked_both", json!({})),
        ("subgroup-of-all", "forked_both", json!({})),
    ];
    for (name, state, change) in variants {
        let mut variant = pod(namespace, state, &change);
        variant["metadata"]["name"] = json!(name);
        pods.push((name.to_owned(), variant));
    }
    pods
}

/// Does with the container what one that divides its own control groups does.
fn divide(pod: &str, container_id: &str) {
    let (hierarchies, all) = match pod {
        "subgroup" | "subgroup-locked" => (MEMORY, false),
        "subgroup-of-many" => (MANY, false),
        "subgroup-of-all" => (MANY, true),
        _ => return,
    };
    let first = host::first_process(container_id);
    let moved: Vec<u32> = host::processes(container_id).into_iter().filter(|pid| all || *pid != first).collect();
    assert_eq!(moved.len(), if all { 2 } else { 1 });
    for pid in moved {
        host::move_below(pid, hierarchies);
    }
}

/// Whether the kernel makes huge pages where a program asks for them.
fn has_huge_pages() -> bool {
    let enabled = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    enabled.contains("[always]") || enabled.contains("[madvise]")
}

/// Waits until the state's program says this word.
pub fn says(namespace: &Namespace, name: &str, word: &str) -> Value {
    eventually(&format!("{name} {word}"), || {
        let log = run("kubectl", &["-n", &namespace.0, "logs", name]);
        let said = String::from_utf8_lossy(&log.stdout).into_owned();
        if said.lines().any(|line| line == word) {
            Ok(namespace.get(name).unwrap())
        } else {
            Err(format!("{said} {:?}", namespace.get(name).map(|p| p["status"].clone())))
        }
    })
}

/// What each probe says of the pod's container, in the order of [`ALLOWED`].
pub fn judged(namespace: &Namespace, pod: &str) -> Vec<State> {
    let by = |argv: &&[&str]| {
        let arguments = [&["-n", namespace.0.as_str(), "exec", pod, "--"], *argv].concat();
        parse(&run("kubectl", &arguments).stdout)
            .map_or(State::Unknown, |facts| judge(&facts, &Wanted::default()).state)
    };
    ALLOWED.iter().map(by).collect()
}

/// Huge pages of the machine, given back at the end.
struct HugePages(String);

impl HugePages {
    const COUNT: &str = "/proc/sys/vm/nr_hugepages";

    fn reserve() -> Self {
        let before = fs::read_to_string(Self::COUNT).unwrap();
        fs::write(Self::COUNT, "8").unwrap();
        Self(before)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        fs::write(Self::COUNT, &self.0).unwrap();
    }
}

#[test]
fn no_state_is_called_locked_that_is_not() {
    let namespace = Namespace::new("states");
    let all = pods(&namespace.0);
    let _pages = HugePages::reserve();
    assert!(all.len() >= 40, "{} states", all.len());
    let mut wrong = Vec::new();
    let mut counted = 0;
    eprintln!("\n{:28} {:10} {:10} {:10} {:10} {:10} processes", "state", "truth", "cat", "sh", "agent", "capable");
    // A few at a time: some of them hold a hundred MiB.
    for some in all.chunks(8) {
        for (_, manifest) in some {
            apply(manifest);
        }
        for (state, manifest) in some {
            let name = manifest["metadata"]["name"].as_str().unwrap();
            let pod = says(&namespace, name, "ready");
            let id = running_id(&pod).unwrap();
            divide(name, &id);
            let truth = Truth::of(&id);
            let judged = judged(&namespace, name);
            counted += judged.len();
            let labels: String = judged.iter().fold(String::new(), |row, said| format!("{row}{:10} ", said.label()));
            eprintln!("{state:28} {:10} {labels}{}", truth.state().label(), truth.processes);
            let hard = HARD_TO_SEE.contains(&state.as_str());
            let unlockable = UNLOCKABLE_MAPPINGS.contains(&state.as_str());
            for (argv, said) in ALLOWED.iter().zip(judged) {
                let agent = argv.first().is_some_and(|program| program.starts_with('/'));
                let unseen = argv.first() == Some(&"cat") || (!agent && AGENT_SEES.contains(&state.as_str()));
                let (may_miss, excused) = (hard || unseen, unlockable && !agent);
                if !fits(truth.state(), said, may_miss, excused) {
                    wrong.push(format!("{state}: {truth:?}, {} says {said:?}", argv.join(" ")));
                }
            }
            if state == "huge_pages" && has_huge_pages() {
                assert!(truth.huge_kb > 0, "the kernel gave no huge page: {truth:?}");
            }
            if state == "leader_gone" {
                // The runtime takes it for stopped, and kills nothing.
                run("kill", &["-KILL", &host::first_process(&id).to_string()]);
            }
        }
        for (_, manifest) in some {
            let name = manifest["metadata"]["name"].as_str().unwrap();
            kubectl(&["-n", &namespace.0, "delete", "pod", name, "--wait=false"]);
        }
    }
    eprintln!("{} states, {counted} answers, {} of them wrong", all.len(), wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A probe that sees every process must say the truth; one that does not may say unknown, or
/// what is true of the process it saw, but never "locked" where that is wrong.
fn fits(truth: State, said: State, may_miss: bool, excused: bool) -> bool {
    said == truth
        || (may_miss && said == State::Unknown)
        || (excused && truth == State::Locked && said == State::Partial)
}
