//! A pod as the API server shows it → what there is to do about it.

use std::borrow::Cow;

use super::pod_view::{Container, PodView};
use crate::domain::{
    intent::{self, Annotations, IntentError, LockBy},
    names,
    probe::AGENT_WITH_CAPABILITY,
    quantity,
    verdict::{Verdict, Wanted},
};

/// The webhook should have changed a pod and did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missed {
    /// One that came past it.
    Pod,
    /// One that the kubelet starts whatever admission says.
    StaticPod,
}

impl Missed {
    /// Why, and what to do.
    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Self::Pod => {
                "the webhook has not changed this pod: it was created before the webhook stood, annotated later, or let through with a warning; create it anew and read the warnings"
            }
            Self::StaticPod => {
                "no webhook can change a static pod: add IPC_LOCK to securityContext.capabilities.add in its manifest on the node"
            }
        }
    }
}

/// One container that is to be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) container: String,
    /// `containerd://…`: another one after each restart; `None`: it does not run.
    pub(super) id: Option<String>,
    /// In bytes; `None`: no limit.
    pub(super) memory_limit: Option<u64>,
    /// What else the author asked for.
    pub(super) wanted: Wanted,
    /// What of the agent is in there.
    pub(super) agent: Agent,
    /// `None`: as the webhook should have left it.
    pub(super) missed: Option<Missed>,
}

impl Target {
    /// What is said while it does not run. Without the kubelet's word for why, which changes with every turn of a crash
    /// loop.
    pub(super) fn pending(&self) -> Verdict {
        let pending =
            Verdict::pending(format!("container {} is not running; it is checked as soon as it runs", self.container));
        match self.missed {
            Some(missed) => pending.not_injected(missed.sentence()),
            None => pending,
        }
    }
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
    Settled(Box<Verdict>),
    /// Some of the chosen containers run: check them.
    Check(Vec<Target>),
}

/// Assesses a pod of interest. `classes` are the runtime classes that are known to share the node's kernel: what `/proc`
/// says under a kernel of its own (gVisor, Kata) does not hold for the node's memory, and a name tells nothing.
pub(super) fn assess(pod: &PodView, classes: &[String]) -> Assessment {
    let targets = match choose(pod) {
        Ok(None) => return Assessment::Clean,
        Ok(Some(targets)) => Ok(targets),
        Err(error) => Err(error),
    };
    if matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return Assessment::Settled(Verdict::terminated().into());
    }
    let targets = match targets {
        Ok(targets) => targets,
        Err(error) => return Assessment::Settled(Verdict::unknown(error.to_string()).into()),
    };
    let foreign = |class: &&str| !classes.iter().any(|known| known == class);
    if let Some(class) = pod.spec.runtime_class_name.as_deref().filter(foreign) {
        let verdict = Verdict::unknown(format!(
            "the pod's runtime class {class} is not known to share the node's kernel, and under a kernel of its own a lock says nothing of the node's memory; if it shares it, add it to controller.runtimeClasses of the chart (--runtime-classes), else run swap devices with the default runtime"
        ));
        return Assessment::Settled(verdict.into());
    }
    match targets.first() {
        Some(first) if targets.iter().all(|target| target.id.is_none()) => Assessment::Settled(first.pending().into()),
        _ => Assessment::Check(targets),
    }
}

/// The containers that the author chose; `None`: opted out.
pub(super) fn choose(pod: &PodView) -> Result<Option<Vec<Target>>, IntentError> {
    const NONE: &Annotations = &Annotations::new();
    let annotations = pod.metadata.annotations.as_ref().unwrap_or(NONE);
    let asked_for = annotations.get(names::SWAP_DEVICE).is_some_and(|value| value != "false");
    // A pod that opted out and still waits for us would never be Ready: it stays managed.
    let mut opted_in = Cow::Borrowed(annotations);
    if pod.waits_for_us() && !asked_for {
        opted_in.to_mut().insert(names::SWAP_DEVICE.to_owned(), "true".to_owned());
    }
    let annotations = opted_in.as_ref();
    let Some(intent) = intent::parse(annotations)? else { return Ok(None) };
    let sidecars = pod.spec.init_containers.iter().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let known: Vec<&str> = pod.spec.containers.iter().chain(sidecars).map(|c| c.name.as_str()).collect();
    let names = intent.targets(annotations, &known)?;
    let injected = !asked_for || intent.verify_only;
    let by_agent = intent.lock_by == LockBy::Agent;
    let wanted = Wanted::from(intent);
    let target = |name: &str| {
        let agent = agent(pod, name);
        let may_lock = container(pod, name).is_some_and(|c| c.security_context.may_lock);
        let complete = injected || may_lock && !(by_agent && agent == Agent::Absent);
        let missed = if pod.annotation(names::MIRROR_POD).is_some() { Missed::StaticPod } else { Missed::Pod };
        Target {
            container: name.to_owned(),
            id: running(pod, name),
            memory_limit: memory_limit(pod, name),
            wanted: wanted.clone(),
            agent,
            missed: (!complete).then_some(missed),
        }
    };
    Ok(Some(names.into_iter().map(target).collect()))
}

fn running(pod: &PodView, name: &str) -> Option<String> {
    let mut statuses = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
    let status = statuses.find(|s| s.name == name)?;
    status.state.running.as_ref().and(status.container_id.clone())
}

fn container<'a>(pod: &'a PodView, name: &str) -> Option<&'a Container> {
    pod.spec.containers.iter().chain(&pod.spec.init_containers).find(|c| c.name == name)
}

/// The container's, or the pod's for all of its containers: whichever is smaller.
fn memory_limit(pod: &PodView, name: &str) -> Option<u64> {
    let resources = [container(pod, name).map(|container| &container.resources), Some(&pod.spec.resources)];
    let limits = resources.into_iter().flatten().filter_map(|r| quantity::parse(r.limits.memory.as_deref()?));
    limits.min()
}

/// A program with a file capability does not even start where the container may not have that capability: it is only
/// chosen where the daemon itself was started by it.
fn agent(pod: &PodView, name: &str) -> Agent {
    let Some(container) = container(pod, name).filter(|c| !c.volume_mounts.is_empty()) else { return Agent::Absent };
    let [launcher, _] = AGENT_WITH_CAPABILITY;
    if container.command.first().is_some_and(|first| first == launcher) { Agent::Launcher } else { Agent::Plain }
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
            "spec": { "containers": [{ "name": "c", "securityContext": { "capabilities": { "add": ["IPC_LOCK"] } } }, { "name": "d" }] },
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
            id: Some(format!("containerd://{id}")),
            memory_limit: None,
            wanted: Wanted::default(),
            agent: Agent::Absent,
            missed: None,
        }
    }

    fn only(names: &str) -> Value {
        json!({ "metadata": { "annotations": { "memlock.dev/containers": names } } })
    }

    #[test]
    fn the_chosen_containers_are_checked() {
        assert_eq!(assess(&pod(&json!({})), &[]), Assessment::Check(vec![target("c1")]));
        let limited = json!({
            "metadata": { "annotations": {
                "memlock.dev/process": "ublk", "memlock.dev/device": "/dev/ublkb0", "memlock.dev/io-flusher": "true",
            } },
            "spec": { "containers": [{
                "name": "c", "resources": { "limits": { "memory": "1Gi" } }, "securityContext": { "privileged": true },
            }] },
        });
        let wanted = Wanted { process: Some("ublk".into()), device: Some("/dev/ublkb0".into()), io_flusher: true };
        let expected = Target { memory_limit: Some(1 << 30), wanted, ..target("c1") };
        assert_eq!(assess(&pod(&limited), &[]), Assessment::Check(vec![expected]));
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
        container["securityContext"] = json!({ "capabilities": { "add": ["ALL"] } });
        let pod = pod(&json!({ "spec": { "containers": [container] } }));
        assert_eq!(assess(&pod, &[]), Assessment::Check(vec![Target { agent, ..target("c1") }]));
        assert!(pod.spec.containers[0].volume_mounts.len() <= 1, "nothing else is kept");
    }

    #[rstest]
    #[case::not_running(only("d"), State::Pending, Reason::NotInjected, "d is not running")]
    #[case::unknown_container(only("x"), State::Unknown, Reason::CannotCheck, "it has c, d")]
    #[case::no_status_yet(json!({ "status": null }), State::Pending, Reason::Pending, "c is not running")]
    #[case::finished(json!({ "status": { "phase": "Succeeded" } }), State::Unknown, Reason::Terminated, "finished")]
    #[case::another_runtime(json!({ "spec": { "runtimeClassName": "secure" } }), State::Unknown, Reason::CannotCheck, "controller.runtimeClasses")]
    #[case::bad_value(json!({ "metadata": { "annotations": { "memlock.dev/swap-device": "on" } } }), State::Unknown, Reason::CannotCheck, "allowed are")]
    fn what_cannot_be_checked_says_why(
        #[case] change: Value,
        #[case] state: State,
        #[case] reason: Reason,
        #[case] says: &str,
    ) {
        let Assessment::Settled(verdict) = assess(&pod(&change), &[]) else { panic!("nothing to check here") };
        assert_eq!((verdict.state, verdict.reason), (state, reason));
        assert!(verdict.message.contains(says), "{}", verdict.message);
    }

    #[rstest]
    #[case::default_runtime(json!({}), true)]
    #[case::known(json!({ "spec": { "runtimeClassName": "crun" } }), true)]
    #[case::the_name_tells_nothing(json!({ "spec": { "runtimeClassName": "secure" } }), false)]
    #[case::whole_names_only(json!({ "spec": { "runtimeClassName": "crun-vm" } }), false)]
    fn only_runtimes_that_are_known_to_share_the_kernel_are_checked(#[case] change: Value, #[case] checked: bool) {
        let known = ["nvidia".to_owned(), "crun".to_owned()];
        assert_eq!(matches!(assess(&pod(&change), &known), Assessment::Check(_)), checked);
    }

    #[rstest]
    #[case::none(json!(null), json!(null), None)]
    #[case::of_the_container("1Gi".into(), json!(null), Some(1 << 30))]
    #[case::of_the_pod(json!(null), "64Mi".into(), Some(64 << 20))]
    #[case::the_smaller_one("1Gi".into(), "64Mi".into(), Some(64 << 20))]
    #[case::whichever_it_is("32Mi".into(), "64Mi".into(), Some(32 << 20))]
    fn the_smaller_memory_limit_counts(#[case] container: Value, #[case] whole: Value, #[case] limit: Option<u64>) {
        let container = json!({ "name": "c", "resources": { "limits": { "memory": container } } });
        let change = json!({ "spec": { "containers": [container], "resources": { "limits": { "memory": whole } } } });
        assert_eq!(choose(&pod(&change)).unwrap().unwrap()[0].memory_limit, limit);
    }

    #[test]
    fn a_container_that_waits_keeps_no_other_from_being_checked() {
        let Assessment::Check(targets) = assess(&pod(&only("c,d")), &[]) else { panic!("c runs") };
        let ids: Vec<_> = targets.iter().map(|target| target.id.as_deref()).collect();
        assert_eq!(ids, [Some("containerd://c1"), None]);
        assert_eq!(targets[1].pending().state, State::Pending);
    }

    #[rstest]
    #[case::nothing(json!({}), Some(Missed::Pod))]
    #[case::capability(json!({ "securityContext": { "capabilities": { "add": ["NET_ADMIN", "ipc_lock"] } } }), None)]
    #[case::lost_by_containerd(json!({ "securityContext": { "capabilities": { "add": ["CAP_IPC_LOCK"] } } }), Some(Missed::Pod))]
    #[case::dropped(json!({ "securityContext": { "capabilities": { "add": ["IPC_LOCK"], "drop": ["cap_ipc_lock"] } } }), Some(Missed::Pod))]
    #[case::all(json!({ "securityContext": { "capabilities": { "add": ["ALL"] } } }), None)]
    #[case::privileged(json!({ "securityContext": { "privileged": true } }), None)]
    fn what_the_webhook_missed_is_known_by_the_object(#[case] mut container: Value, #[case] missed: Option<Missed>) {
        container["name"] = json!("c");
        let spec = json!({ "containers": [container] });
        let found = |annotations: Value| {
            let change = json!({ "metadata": { "annotations": annotations }, "spec": spec });
            choose(&pod(&change)).unwrap().unwrap()[0].missed
        };
        assert_eq!(found(json!({})), missed);
        assert_eq!(found(json!({ "kubernetes.io/config.mirror": "x" })), missed.map(|_| Missed::StaticPod));
        assert_eq!(found(json!({ "memlock.dev/verify-only": "true" })), None, "nothing was to be changed");
        assert_eq!(found(json!({ "memlock.dev/lock-by": "agent" })), Some(Missed::Pod), "nor is the agent there");
    }

    #[test]
    fn a_pod_that_waits_for_us_stays_managed() {
        let gate = json!({
            "metadata": { "annotations": { "memlock.dev/swap-device": "false" } },
            "spec": { "readinessGates": [{ "conditionType": "memlock.dev/LockVerified" }] },
        });
        assert_eq!(assess(&pod(&gate), &[]), Assessment::Check(vec![target("c1")]));
    }

    #[test]
    fn opted_out_means_clean() {
        let out = pod(&json!({ "metadata": { "annotations": { "memlock.dev/swap-device": "false" } } }));
        assert_eq!(assess(&out, &[]), Assessment::Clean);
    }
}
