//! The init configuration: the volume with the agent, and the containers that run before the daemon.

use serde_json::{Value, json};

use super::{
    decide::{Decision, Launcher},
    notes,
    pod::{Container, Pod},
    settings::{Agent, Delivery},
};
use crate::domain::{intent::Intent, names};

/// Where `memlock-init` sees the volume: `/memlock` holds the image's own files.
const INSTALL_TARGET: &str = "/target";
/// Where the API server mounts the token of the pod's account (`DefaultAPITokenMountPath`), and how its volume's name begins.
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const TOKEN_VOLUME: &str = "kube-api-access-";
const DEFAULT_TERMINATION_LOG: &str = "/dev/termination-log";

/// The volume that holds the agent.
pub(super) fn volume(agent: &Agent) -> Value {
    match agent.delivery {
        Delivery::InitContainer => json!({ "name": names::AGENT_VOLUME, "emptyDir": {} }),
        Delivery::ImageVolume => {
            let policy = agent.pull_policy.as_ref().map(|policy| json!(policy));
            let image = object([("reference", Some(json!(agent.image))), ("pullPolicy", policy)]);
            json!({ "name": names::AGENT_VOLUME, "image": image })
        }
    }
}

/// How a container of the daemon's sees it.
pub(super) fn mount(agent: &Agent) -> Value {
    let folder = names::AGENT_MOUNT.trim_start_matches('/');
    object([
        ("name", Some(json!(names::AGENT_VOLUME))),
        ("mountPath", Some(json!(names::AGENT_MOUNT))),
        ("readOnly", Some(json!(true))),
        ("subPath", (agent.delivery == Delivery::ImageVolume).then(|| json!(folder))),
    ])
}

/// `memlock-init`, which copies the agent into the volume.
///
/// The copy of the launcher gets its capability there, which takes root and `SETFCAP`; the file
/// that runs carries none, or a container without `IPC_LOCK` could not start it.
pub(super) fn install(agent: &Agent, decision: &Decision, pod: &Pod, first: &Value) -> Value {
    let daemons = pod.containers().iter().chain(pod.sidecars().map(|(_, container)| container));
    let launchers: Vec<&str> = daemons.filter_map(|container| launcher(decision, container)).collect();
    let needed = [(names::LAUNCHER_FILE, "lock"), (names::FLUSHER_FILE, "flush")];
    let needed = needed.map(|(file, word)| (launchers.contains(&file), word));
    let flags = needed.into_iter().filter(|(needed, _)| *needed).flat_map(|(_, word)| ["--launcher", word]);
    let command: Vec<&str> = [names::AGENT_FILE, "install"].into_iter().chain(flags).chain([INSTALL_TARGET]).collect();
    let sets_capabilities = !launchers.is_empty();
    let capabilities = object([("add", sets_capabilities.then(|| json!(["SETFCAP"]))), ("drop", Some(json!(["ALL"])))]);
    let security = object([
        ("allowPrivilegeEscalation", Some(json!(false))),
        ("capabilities", Some(capabilities)),
        ("readOnlyRootFilesystem", Some(json!(true))),
        ("runAsNonRoot", sets_capabilities.then_some(Value::Bool(false))),
        ("runAsUser", sets_capabilities.then(|| json!(0))),
    ]);
    object([
        ("name", Some(json!(names::INSTALL_CONTAINER))),
        ("image", Some(json!(agent.image))),
        ("imagePullPolicy", agent.pull_policy.as_ref().map(|policy| json!(policy))),
        ("command", Some(json!(command))),
        ("resources", resources(first)),
        ("securityContext", Some(security)),
        ("volumeMounts", Some(json!([{ "name": names::AGENT_VOLUME, "mountPath": INSTALL_TARGET }]))),
    ])
}

/// `memlock-preflight`: the daemon's own image and security context, and nothing else of it.
///
/// `raw` is the daemon's container as it will be created, `first` that of the first daemon.
pub(super) fn preflight(
    name: &str,
    agent: &Agent,
    intent: &Intent,
    container: &Container,
    raw: &Value,
    first: &Value,
) -> Value {
    let command = json!([
        names::AGENT_FILE,
        "preflight",
        "--container",
        container.name,
        "--required",
        intent.required.to_string(),
        "--size",
        notes::size(container, intent),
    ]);
    object([
        ("name", Some(json!(name))),
        ("image", raw.get("image").cloned()),
        ("imagePullPolicy", raw.get("imagePullPolicy").cloned()),
        ("command", Some(command)),
        ("resources", resources(first)),
        ("securityContext", raw.get("securityContext").cloned()),
        ("volumeMounts", Some(json!([mount(agent)]))),
    ])
}

/// Mounts the token into a container of ours, where the API server has mounted it into the others. It would do so after us
/// (plugin `ServiceAccount`), and because that changes the pod it would ask every webhook about it once more. Where one
/// container has nothing at its place the mount of another is not the API server's, which leaves none out.
pub(super) fn mount_token(container: &mut Value, pod: &Pod) {
    if pod.spec.automount_service_account_token == Some(false) {
        return;
    }
    let all = pod.containers().iter().chain(pod.init_containers());
    let at_its_place = all.map(|other| other.mounts().find(|mount| mount.mount_path == TOKEN_PATH));
    let Some(mounted) = at_its_place.collect::<Option<Vec<_>>>() else { return };
    let mut tokens = mounted.into_iter().filter(|mount| mount.name.starts_with(TOKEN_VOLUME));
    if let (Some(token), Some(mounts)) = (tokens.next(), container["volumeMounts"].as_array_mut()) {
        mounts.push(json!({ "name": token.name, "mountPath": TOKEN_PATH, "readOnly": true }));
    }
}

/// The first of its names that is free.
pub(super) fn preflight_name(taken: &[String]) -> String {
    let numbered = (2..=taken.len() + 1).map(|n| format!("{}-{n}", names::PREFLIGHT_CONTAINER));
    let mut all = std::iter::once(names::PREFLIGHT_CONTAINER.to_owned()).chain(numbered);
    all.find(|name| !taken.contains(name)).unwrap_or_default()
}

/// What starts the container; of one that is chosen no longer the launcher still stands.
fn launcher<'c>(decision: &Decision, container: &'c Container) -> Option<&'c str> {
    let step = decision.steps.iter().find(|step| step.container == container.name);
    match step.and_then(|step| step.launcher.as_ref()) {
        Some(wanted) => Some(file(wanted)),
        None => container.launcher(),
    }
}

/// The file that it is.
fn file(launcher: &Launcher) -> &'static str {
    if launcher.io_flusher { names::FLUSHER_FILE } else { names::LAUNCHER_FILE }
}

/// What stands before the daemon's own command.
pub(super) fn launch(launcher: &Launcher, intent: &Intent, container: &Container) -> Vec<String> {
    let required = intent.required.to_string();
    let size = notes::size(container, intent);
    let mut words =
        vec![file(launcher), "launch", "--container", &container.name, "--required", &required, "--size", &size];
    if let Some(flags) = launcher.lock {
        words.extend(["--lock", flags.as_str()]);
    }
    if launcher.io_flusher {
        words.push("--io-flusher");
    }
    if let Some(path) = termination_log(container) {
        words.extend(["--termination-log", path]);
    }
    words.push("--");
    words.into_iter().map(str::to_owned).collect()
}

/// Where last words go, unless it is where everybody expects them.
fn termination_log(container: &Container) -> Option<&str> {
    container.termination_message_path.as_deref().filter(|path| !["", DEFAULT_TERMINATION_LOG].contains(path))
}

/// Variables that the preloaded library reads, besides `LD_PRELOAD`, in the order in which they are added.
pub(super) const VARIABLES: [&str; 5] =
    ["MEMLOCK_CONTAINER", "MEMLOCK_FLAGS", "MEMLOCK_REQUIRED", "MEMLOCK_PROCESS", "MEMLOCK_TERMINATION_LOG"];

/// Those of them that are set, with their values.
pub(super) fn variables(intent: &Intent, container: &Container) -> impl Iterator<Item = (&'static str, String)> {
    let flags = intent.lock_flags.as_str().to_owned();
    let log = termination_log(container).map(str::to_owned);
    let required = intent.required.to_string();
    let values = [Some(container.name.clone()), Some(flags), Some(required), intent.process.clone(), log];
    VARIABLES.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?)))
}

/// The value of the NRI plugin's annotation: YAML, of which JSON is a part.
pub(super) fn ulimits(bytes: u64) -> String {
    json!([{ "type": "RLIMIT_MEMLOCK", "soft": bytes, "hard": bytes }]).to_string()
}

/// The cpu and memory of the first container that serves the device: with them neither the quality of service
/// nor the pod's request changes, and what a `LimitRange` or `ResourceQuota` demands of it is met.
fn resources(first: &Value) -> Option<Value> {
    let copy = |kind: &str| {
        let given = first.get("resources")?.get(kind)?.as_object()?;
        let figure = |name: &'static str| (name, given.get(name).filter(|value| !value.is_null()).cloned());
        Some(object([figure("cpu"), figure("memory")])).filter(|figures| *figures != json!({}))
    };
    let copied = object([("limits", copy("limits")), ("requests", copy("requests"))]);
    (copied != json!({})).then_some(copied)
}

/// An object of those of the members that are there.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}
