//! `docker run` and `podman run`: the flags that give one container what its pod would get.

use serde_json::Value;

use super::explain::Engine;
use crate::domain::{
    inject::{self, Settings, Verb},
    intent::{Limit, LockBy},
    names,
};

/// The flags for one container.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flags {
    pub(super) name: String,
    pub(super) command: String,
    pub(super) notes: Vec<String>,
}

/// The flags for each container that serves the device; an error is the pod's refusal.
pub(super) fn flags(pod: &Value, engine: Engine) -> Result<Vec<Flags>, String> {
    let mut pod = pod.clone();
    let lock_by_agent = without_agent(&mut pod);
    // No agent: the engines have no webhook to bring it.
    let decision = inject::inject(&pod, &Settings::default()).map_err(|e| super::inject::unfit(&e))?.decision;
    if decision.verb == Verb::Deny {
        return Err(decision.message);
    }
    let Some(intent) = decision.intent.filter(|intent| !intent.verify_only) else { return Ok(Vec::new()) };
    let limit = match intent.limit {
        None | Some(Limit::Unlimited) => "-1".to_owned(),
        Some(Limit::Bytes(bytes)) => bytes.to_string(),
    };
    let containers = || {
        ["containers", "initContainers"]
            .into_iter()
            .filter_map(|list| pod.pointer(&format!("/spec/{list}"))?.as_array())
    };
    Ok(decision
        .steps
        .iter()
        .filter_map(|step| {
            let container = containers()
                .flatten()
                .find(|container| container.get("name").and_then(Value::as_str) == Some(&step.container))?;
            let mut facts = Facts::of(&pod, container);
            facts.lock_by_agent = lock_by_agent || intent.lock_by == LockBy::Agent;
            facts.io_flusher = intent.io_flusher;
            Some(Flags {
                name: step.container.clone(),
                command: command(engine, &facts, &limit, container),
                notes: notes(engine, &facts),
            })
        })
        .collect())
}

/// Takes `lock-by: agent` away, which would refuse the pod where no agent is.
fn without_agent(pod: &mut Value) -> bool {
    let annotations = pod.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    let removed = annotations.and_then(|annotations| annotations.remove(names::LOCK_BY));
    removed.is_some_and(|value| value == "agent")
}

#[allow(clippy::struct_excessive_bools, reason = "each is one thing that the flags depend on")]
struct Facts {
    privileged: bool,
    drops_all: bool,
    user: Option<i64>,
    non_root: bool,
    user_namespace: bool,
    no_new_privileges: bool,
    lock_by_agent: bool,
    io_flusher: bool,
}

impl Facts {
    fn of(pod: &Value, container: &Value) -> Self {
        let own = |key: &str| container.pointer(&format!("/securityContext/{key}")).filter(|value| !value.is_null());
        let either = |key: &str| own(key).or_else(|| pod.pointer(&format!("/spec/securityContext/{key}")));
        let is = |value: Option<&Value>, wanted: bool| value.and_then(Value::as_bool) == Some(wanted);
        let drops = own("capabilities/drop").and_then(Value::as_array);
        let all = |entry: &Value| entry.as_str().is_some_and(|entry| entry.eq_ignore_ascii_case("ALL"));
        let user = either("runAsUser").and_then(Value::as_i64);
        Self {
            privileged: is(own("privileged"), true),
            drops_all: drops.is_some_and(|drops| drops.iter().any(all)),
            user,
            non_root: user.map_or(is(either("runAsNonRoot"), true), |uid| uid != 0),
            user_namespace: is(pod.pointer("/spec/hostUsers"), false),
            no_new_privileges: is(own("allowPrivilegeEscalation"), false),
            lock_by_agent: false,
            io_flusher: false,
        }
    }
}

fn command(engine: Engine, facts: &Facts, limit: &str, container: &Value) -> String {
    let program = if engine == Engine::Docker { "docker" } else { "podman" };
    let mut words = vec![program.to_owned(), "run".to_owned()];
    if facts.privileged {
        words.push("--privileged".to_owned());
    }
    if facts.drops_all {
        words.push("--cap-drop=ALL".to_owned());
    }
    if !facts.privileged {
        words.push(format!("--cap-add={}", names::IPC_LOCK));
        if facts.io_flusher {
            words.push(format!("--cap-add={}", names::SYS_RESOURCE));
        }
    }
    words.push(format!("--ulimit memlock={limit}:{limit}"));
    if let Some(user) = facts.user {
        words.push(format!("--user {user}"));
    }
    if facts.no_new_privileges {
        words.push("--security-opt no-new-privileges".to_owned());
    }
    words.push(container.get("image").and_then(Value::as_str).unwrap_or("IMAGE").to_owned());
    words.join(" ")
}

fn notes(engine: Engine, facts: &Facts) -> Vec<String> {
    let mut said = Vec::new();
    if facts.non_root {
        said.push(match engine {
            Engine::Docker => "the container does not run as root, so the added capability is not effective: the raised memory-lock limit is what lets it lock".to_owned(),
            Engine::Podman => if facts.privileged {
                "the container is privileged but does not run as root, so no capability is effective: the raised memory-lock limit is what lets it lock".to_owned()
            } else {
                "the container does not run as root, and Podman passes an added capability on to it (seen with 4.3.1), so that it locks at any memory-lock limit".to_owned()
            },
        });
    }
    if facts.user_namespace {
        said.push("the pod asks for a user namespace (hostUsers: false), where IPC_LOCK locks nothing: the raised memory-lock limit is what lets it lock".to_owned());
    }
    if engine == Engine::Podman {
        said.push("without root, Podman always runs in a user namespace: the capability locks nothing there, and the limit cannot exceed your own (ulimit -H -l)".to_owned());
    }
    said.push(
        "the engine refuses to start a container whose limit it may not raise; leave --ulimit out then, if the capability is effective"
            .to_owned(),
    );
    if facts.lock_by_agent {
        said.push(
            "nothing here stands in for the agent (memlock.dev/lock-by: agent): the daemon must call mlockall itself"
                .to_owned(),
        );
    }
    if facts.io_flusher {
        said.push("nothing here sets PR_SET_IO_FLUSHER (memlock.dev/io-flusher): the daemon must do so itself, with the capability SYS_RESOURCE".to_owned());
    }
    said.push("seccomp can stay as it is: the default profile allows mlockall".to_owned());
    said
}
