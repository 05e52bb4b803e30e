//! The sentences: why a row fits, and what else its author should know.

use super::{
    decide::Step,
    pod::{Container, Pod},
    row::Row,
    settings::Settings,
};
use crate::domain::{
    intent::{CapabilitySource, Intent, Limit, LockFlags},
    names,
};

/// The sentence of a row: what, where, why, what to do.
pub(super) fn sentence(
    pod: &Pod,
    container: &Container,
    intent: &Intent,
    settings: &Settings,
    row: Row,
    foreign: Option<&str>,
) -> String {
    let name = &container.name;
    match row {
        Row::PodSecurity => format!(
            "namespace {namespace} enforces the Pod Security level {level}, which refuses the capability IPC_LOCK that container {name} needs; allow it with kubectl label namespace {namespace} {label}=privileged --overwrite, or run the pod in a namespace that does",
            namespace = pod.namespace(),
            level = settings.level,
            label = names::POD_SECURITY_ENFORCE,
        ),
        Row::CapabilityDropped => {
            let dropped = if container.drops(names::IPC_LOCK) { names::IPC_LOCK } else { names::SYS_RESOURCE };
            format!(
                "container {name} drops {dropped} by name, which wins over adding it, so its memory cannot be locked as asked; remove {dropped} from securityContext.capabilities.drop (drop: [ALL] may stay)"
            )
        }
        Row::AlreadyCapable => format!("container {name} may already lock: nothing was added"),
        Row::NameTaken => format!(
            "{} is already used in container {name} or its pod, and the agent needs it; rename it, or set {}: \"false\" to go without the agent",
            foreign.unwrap_or("a name of the agent's"),
            names::AGENT
        ),
        Row::AgentMissing => format!(
            "container {name} is to be locked by the agent ({}: agent), which {} forbids; remove one of the two annotations, or let the daemon call mlockall itself",
            names::LOCK_BY,
            if settings.agent.is_none() {
                "the installation"
            } else if intent.agent {
                "memlock.dev/capability: image"
            } else {
                "memlock.dev/agent: \"false\""
            }
        ),
        Row::PreloadReferenced => format!(
            "container {name} takes LD_PRELOAD from a ConfigMap, Secret or field, where the agent's library cannot be put before it; set the container's command, so that the launcher is used instead"
        ),
        Row::LauncherLocks => {
            format!("container {name} is started by the launcher, which locks its memory: {}", see())
        }
        Row::PreloadLocks => format!(
            "container {name} names no command, so its memory is locked by a preloaded library, which only dynamically linked programs load, and which can lock only as root or with a raised memlock limit; set the container's command to have it locked by the launcher: {}",
            see()
        ),
        Row::LauncherRaises => format!(
            "container {name} does not run as root and is started by the launcher, which passes IPC_LOCK on to it; the daemon must still call mlockall itself: {}",
            see()
        ),
        Row::ProbablyNotEffective => not_effective(container, intent),
        Row::CapabilityGranted => {
            let had = if container.adds(names::IPC_LOCK) || container.is_privileged() || container.adds("ALL") {
                "already has"
            } else {
                "got"
            };
            format!(
                "container {name} {had} the capability IPC_LOCK; the daemon must still call mlockall itself: {}",
                see()
            )
        }
    }
}

fn see() -> String {
    format!("see whether it did with kubectl get pods -L {}", names::STATE)
}

fn not_effective(container: &Container, intent: &Intent) -> String {
    let name = &container.name;
    let fact = "does not run as root, and Kubernetes gives added capabilities to root only";
    if intent.capability == CapabilitySource::Image {
        return format!(
            "container {name} {fact}: locking works if its program carries cap_ipc_lock=ep in the image, as {}: image says; see whether it did with kubectl get pods -L {}",
            names::CAPABILITY,
            names::STATE
        );
    }
    let remedy = if container.own_command().is_empty() {
        "set the container's command, so that the launcher can pass it on"
    } else {
        "allow the agent, whose launcher can pass it on"
    };
    format!(
        "container {name} {fact}: locking fails unless the node raises its memlock limit; {remedy}, or give the program in the image cap_ipc_lock=ep and say so with {}: image",
        names::CAPABILITY
    )
}

/// What else matters for this container, a sentence each.
pub(super) fn on(pod: &Pod, container: &Container, intent: &Intent, step: &Step) -> Vec<String> {
    let name = &container.name;
    let mut said = Vec::new();
    let told = [names::CONTAINERS, names::DEFAULT_CONTAINER].iter().any(|key| pod.annotations().contains_key(*key));
    if !told && pod.containers().len() > 1 {
        said.push(format!(
            "container {name} was taken for the daemon because it is the first of {}; name it with {}",
            pod.containers().len(),
            names::CONTAINERS
        ));
    }
    if pod.spec.host_users == Some(false) {
        said.push(format!(
            "container {name} runs in a user namespace (hostUsers: false), where IPC_LOCK is without effect: locking fails unless the node raises its memlock limit; remove hostUsers: false"
        ));
    }
    if intent.io_flusher && step.launcher.is_none() {
        said.push(format!(
            "container {name} is not started by the launcher, so nothing sets PR_SET_IO_FLUSHER unless the daemon does; set the container's command and allow the agent"
        ));
    }
    if intent.limit.is_some() && names::nri_ulimits(name).is_none() {
        said.push(format!(
            "container {name} wishes for a memlock limit, and its name is too long for the annotation that asks for one; give it a name of at most 53 characters, or remove {}",
            names::LIMIT
        ));
    } else if intent.limit.is_some() {
        said.push(format!(
            "container {name} wishes for a memlock limit, which only nodes with the NRI plugin ulimit-adjuster honour; with an effective IPC_LOCK it is not needed"
        ));
    }
    said.extend(memory(container, intent, step));
    if step.preload && container.env_from.as_ref().is_some_and(|sources| !sources.is_empty()) {
        said.push(format!(
            "container {name} reads variables with envFrom: an LD_PRELOAD among them is replaced by the agent's; set the container's command, so that the launcher is used instead"
        ));
    }
    let shared = [pod.spec.share_process_namespace, pod.spec.host_pid].contains(&Some(true));
    if step.preload && intent.process.is_none() && shared {
        said.push(format!(
            "container {name} shares its process namespace, where the preloaded library cannot tell the daemon from its children and locks nothing; name the daemon with {}, or set the container's command",
            names::PROCESS
        ));
    }
    if container.has_exec_probe() {
        said.push(format!(
            "container {name} has an exec probe: each run is charged to the daemon's memory, which cannot be reclaimed while it is locked; leave some MiB of room or use an HTTP, TCP or gRPC probe"
        ));
    }
    said
}

fn memory(container: &Container, intent: &Intent, step: &Step) -> Option<String> {
    let name = &container.name;
    let Some(limit) = container.memory_limit() else {
        return Some(format!(
            "container {name} has no memory limit: locked memory cannot be reclaimed, so a leak takes the node's; set resources.limits.memory and an equal request"
        ));
    };
    let filled = step.launcher.as_ref().is_some_and(|l| l.lock == Some(LockFlags::All)) || step.preload;
    if filled && intent.lock_flags == LockFlags::All {
        return Some(format!(
            "container {name} is locked without onfault under a memory limit of {} MiB: a program that reserves more than it uses (Go, Java, many threads) is killed by the limit; leave {} at its default",
            limit >> 20,
            names::LOCK_FLAGS
        ));
    }
    (container.memory_request() != Some(limit)).then(|| {
        format!(
            "container {name} requests less memory than its limit, so that a kubelet with LimitedSwap lets it swap; set resources.requests.memory to the limit"
        )
    })
}

/// What the preflight tries to lock where the capability is not effective, as the agent reads it.
pub(super) fn size(container: &Container, intent: &Intent) -> String {
    match (intent.limit, container.memory_limit()) {
        (Some(Limit::Bytes(bytes)), _) | (None, Some(bytes)) => bytes.to_string(),
        (Some(Limit::Unlimited), _) | (None, None) => "unlimited".to_owned(),
    }
}
