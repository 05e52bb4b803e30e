//! A pod as the API server shows it → what there is to do about it.

use std::borrow::Cow;

use super::pod_view::{Container, PodView};
use crate::domain::{
    intent::{self, Annotations},
    names,
    probe::AGENT_WITH_CAPABILITY,
    quantity,
    verdict::{Verdict, Wanted},
};

/// Runtimes that put a kernel of their own between daemon and node: what `/proc` says in
/// there does not hold for the node's memory.
const SANDBOXED_RUNTIMES: [&str; 3] = ["gvisor", "runsc", "kata"];

/// One container that runs and is to be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) container: String,
    /// `containerd://…`: another one after each restart.
    pub(super) id: String,
    /// In bytes; `None`: no limit.
    pub(super) memory_limit: Option<u64>,
    /// What else the author asked for.
    pub(super) wanted: Wanted,
    /// What of the agent is in there.
    pub(super) agent: Agent,
}

/// Which probe of the agent a container has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agent {
    /// None.
    Absent,
    /// The plain one.
    Plain,
    /// Also the launcher, whose file capability lets it read more of a daemon that holds the capability.
    Launcher,
}

/// What there is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Assessment {
    /// Opted out, but marked by us: the marks must go.
    Clean,
    /// Nothing can be checked now; this is what is said until something changes.
    Settled(Verdict),
    /// All chosen containers run: check them.
    Check(Vec<Target>),
}

/// Assesses a pod of interest.
pub(super) fn assess(pod: &PodView) -> Assessment {
    const NONE: &Annotations = &Annotations::new();
    let annotations = pod.metadata.annotations.as_ref().unwrap_or(NONE);
    // A pod that opted out and still waits for us would never be Ready: it stays managed.
    let mut opted_in = Cow::Borrowed(annotations);
    if pod.waits_for_us() && annotations.get(names::SWAP_DEVICE).is_none_or(|value| value == "false") {
        opted_in.to_mut().insert(names::SWAP_DEVICE.to_owned(), "true".to_owned());
    }
    let annotations = opted_in.as_ref();
    let sidecars = pod.spec.init_containers.iter().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let known: Vec<&str> = pod.spec.containers.iter().chain(sidecars).map(|c| c.name.as_str()).collect();
    let chosen = match intent::parse(annotations) {
        Ok(None) => return Assessment::Clean,
        Ok(Some(intent)) => intent.targets(annotations, &known).map(|targets| (targets, Wanted::from(intent))),
        Err(error) => Err(error),
    };
    if matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return Assessment::Settled(Verdict::terminated());
    }
    let (chosen, wanted) = match chosen {
        Ok(chosen) => chosen,
        Err(error) => return Assessment::Settled(Verdict::unknown(error.to_string())),
    };
    if let Some(class) = pod.spec.runtime_class_name.as_deref().filter(|class| is_sandboxed(class)) {
        return Assessment::Settled(Verdict::unknown(format!(
            "the pod's runtime class {class} has a kernel of its own, so that a lock inside says nothing of the node's memory; run swap devices with the default runtime"
        )));
    }
    let mut targets = Vec::with_capacity(chosen.len());
    for name in chosen {
        let Some(id) = running(pod, name) else {
            // Without the kubelet's word for why: it changes with every turn of a crash loop.
            let message = format!("container {name} is not running; it is checked as soon as it runs");
            return Assessment::Settled(Verdict::pending(message));
        };
        let (memory_limit, agent) = (memory_limit(pod, name), agent(pod, name));
        targets.push(Target { container: name.to_owned(), id, memory_limit, wanted: wanted.clone(), agent });
    }
    Assessment::Check(targets)
}

fn running(pod: &PodView, name: &str) -> Option<String> {
    let mut statuses = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
    let status = statuses.find(|s| s.name == name)?;
    status.state.running.as_ref().and(status.container_id.clone())
}

fn container<'a>(pod: &'a PodView, name: &str) -> Option<&'a Container> {
    pod.spec.containers.iter().chain(&pod.spec.init_containers).find(|c| c.name == name)
}

fn memory_limit(pod: &PodView, name: &str) -> Option<u64> {
    quantity::parse(container(pod, name)?.resources.limits.memory.as_deref()?)
}

/// A program with a file capability does not even start where the container may not have that capability: it is only
/// chosen where the daemon itself was started by it.
fn agent(pod: &PodView, name: &str) -> Agent {
    let Some(container) = container(pod, name).filter(|c| !c.volume_mounts.is_empty()) else { return Agent::Absent };
    let [launcher, _] = AGENT_WITH_CAPABILITY;
    if container.command.first().is_some_and(|first| first == launcher) { Agent::Launcher } else { Agent::Plain }
}

fn is_sandboxed(class: &str) -> bool {
    SANDBOXED_RUNTIMES.iter().any(|name| class.to_ascii_lowercase().contains(name))
}

#[cfg(test)]
pub(super) mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::verdict::{Reason, State};

    /// A running, opted-in pod with the JSON merged over it.
    pub(in crate::controller) fn pod(change: &Value) -> PodView {
        let mut raw = json!({
            "metadata": { "name": "p", "namespace": "n", "uid": "u-1", "resourceVersion": "7", "annotations": { "memlock.dev/swap-device": "true" } },
            "spec": { "containers": [{ "name": "c" }, { "name": "d" }] },
            "status": { "phase": "Running", "containerStatuses": [
                { "name": "c", "containerID": "containerd://c1", "state": { "running": {} } },
                { "name": "d", "state": { "waiting": { "reason": "CrashLoopBackOff" } } },
            ] },
        });
        json_patch::merge(&mut raw, change);
        serde_json::from_value(raw).unwrap()
    }

    /// Container `c` as the pod above runs it, without a memory limit.
    pub(in crate::controller) fn target(id: &str) -> Target {
        Target {
            container: "c".into(),
            id: format!("containerd://{id}"),
            memory_limit: None,
            wanted: Wanted::default(),
            agent: Agent::Absent,
        }
    }

    fn choose(names: &str) -> Value {
        json!({ "metadata": { "annotations": { "memlock.dev/containers": names } } })
    }

    #[test]
    fn the_chosen_containers_are_checked() {
        assert_eq!(assess(&pod(&json!({}))), Assessment::Check(vec![target("c1")]));
        let limited = json!({
            "metadata": { "annotations": {
                "memlock.dev/process": "ublk", "memlock.dev/device": "/dev/ublkb0", "memlock.dev/io-flusher": "true",
            } },
            "spec": { "containers": [{ "name": "c", "resources": { "limits": { "memory": "1Gi" } } }] },
        });
        let wanted = Wanted { process: Some("ublk".into()), device: Some("/dev/ublkb0".into()), io_flusher: true };
        let expected = Target { memory_limit: Some(1 << 30), wanted, ..target("c1") };
        assert_eq!(assess(&pod(&limited)), Assessment::Check(vec![expected]));
    }

    #[rstest]
    #[case::plain(json!({ "volumeMounts": [{ "name": "x", "mountPath": "/x" }, { "name": "memlock", "mountPath": "/memlock" }] }), Agent::Plain)]
    #[case::launcher(json!({ "command": ["/memlock/memlock-lock", "launch"], "volumeMounts": [{ "name": "memlock", "mountPath": "/memlock" }] }), Agent::Launcher)]
    #[case::flusher(json!({ "command": ["/memlock/memlock-flush"], "volumeMounts": [{ "name": "memlock", "mountPath": "/memlock" }] }), Agent::Plain)]
    #[case::elsewhere(json!({ "volumeMounts": [{ "name": "memlock", "mountPath": "/other" }] }), Agent::Absent)]
    #[case::another_volume(json!({ "volumeMounts": [{ "name": "other", "mountPath": "/memlock" }] }), Agent::Absent)]
    #[case::launcher_without_volume(json!({ "command": ["/memlock/memlock-lock"], "volumeMounts": null }), Agent::Absent)]
    fn the_agent_is_found_where_the_webhook_put_it(#[case] mut container: Value, #[case] agent: Agent) {
        container["name"] = json!("c");
        let pod = pod(&json!({ "spec": { "containers": [container] } }));
        assert_eq!(assess(&pod), Assessment::Check(vec![Target { agent, ..target("c1") }]));
        assert!(pod.spec.containers[0].volume_mounts.len() <= 1, "nothing else is kept");
    }

    #[rstest]
    #[case::one_waits(choose("c,d"), State::Pending, Reason::Pending, "d is not running")]
    #[case::unknown_container(choose("x"), State::Unknown, Reason::CannotCheck, "it has c, d")]
    #[case::no_status_yet(json!({ "status": null }), State::Pending, Reason::Pending, "c is not running")]
    #[case::finished(json!({ "status": { "phase": "Succeeded" } }), State::Unknown, Reason::Terminated, "finished")]
    #[case::sandboxed(json!({ "spec": { "runtimeClassName": "kata-qemu" } }), State::Unknown, Reason::CannotCheck, "kata-qemu")]
    #[case::bad_value(json!({ "metadata": { "annotations": { "memlock.dev/swap-device": "on" } } }), State::Unknown, Reason::CannotCheck, "allowed are")]
    fn what_cannot_be_checked_says_why(
        #[case] change: Value,
        #[case] state: State,
        #[case] reason: Reason,
        #[case] says: &str,
    ) {
        let Assessment::Settled(verdict) = assess(&pod(&change)) else { panic!("nothing to check here") };
        assert_eq!((verdict.state, verdict.reason), (state, reason));
        assert!(verdict.message.contains(says), "{}", verdict.message);
    }

    #[test]
    fn a_pod_that_waits_for_us_stays_managed() {
        let gate = json!({
            "metadata": { "annotations": { "memlock.dev/swap-device": "false" } },
            "spec": { "readinessGates": [{ "conditionType": "memlock.dev/LockVerified" }] },
        });
        assert_eq!(assess(&pod(&gate)), Assessment::Check(vec![target("c1")]));
    }

    #[test]
    fn opted_out_means_clean() {
        let out = pod(&json!({ "metadata": { "annotations": { "memlock.dev/swap-device": "false" } } }));
        assert_eq!(assess(&out), Assessment::Clean);
    }
}
