//! What decisions and patches ask of a pod.

use serde_json::Value;

use super::{
    pod::{Capabilities, Container, EnvVar, Pod, Volume, VolumeMount},
    row::User,
};
use crate::domain::{intent::Annotations, names, quantity};

impl Pod {
    /// Annotations, empty when there are none.
    #[must_use]
    pub fn annotations(&self) -> &Annotations {
        const NONE: &Annotations = &Annotations::new();
        self.metadata.annotations.as_ref().unwrap_or(NONE)
    }

    /// `name`, else the stem of the name to come.
    #[must_use]
    pub fn display_name(&self) -> &str {
        let given = |name: &'_ Option<String>| name.as_deref().is_some_and(|n| !n.is_empty());
        let chosen = if given(&self.metadata.name) { &self.metadata.name } else { &self.metadata.generate_name };
        chosen.as_deref().unwrap_or_default()
    }

    /// The API server's reflection of a static pod.
    #[must_use]
    pub fn is_mirror(&self) -> bool {
        self.annotations().contains_key(names::MIRROR_POD)
    }

    /// The namespace, or what stands for it in a command to be completed.
    pub(super) fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().filter(|name| !name.is_empty()).unwrap_or("NAMESPACE")
    }

    pub(super) fn init_containers(&self) -> &[Container] {
        self.spec.init_containers.as_deref().unwrap_or_default()
    }

    /// The init container that brings the agent.
    pub(super) fn install(&self) -> Option<usize> {
        self.init_containers().iter().position(|c| c.runs_agent("install"))
    }

    pub(super) fn has_install(&self) -> bool {
        self.install().is_some()
    }

    /// The init container that tries the lock for this one.
    pub(super) fn preflight(&self, container: &str) -> Option<usize> {
        let of = |c: &Container| {
            let words = c.command.as_deref().unwrap_or_default();
            words.windows(2).any(|pair| matches!(pair, [flag, name] if flag == "--container" && name == container))
        };
        self.init_containers().iter().position(|c| c.runs_agent("preflight") && of(c))
    }

    pub(super) fn volume(&self) -> Option<&Volume> {
        self.spec.volumes.as_deref().unwrap_or_default().iter().find(|volume| volume.name == names::AGENT_VOLUME)
    }

    /// A name that the agent needs is somebody else's: what it is.
    pub(super) fn foreign_name(&self) -> Option<String> {
        let named =
            |c: &Container| c.name == names::INSTALL_CONTAINER || c.name.starts_with(names::PREFLIGHT_CONTAINER);
        let mut containers = self.containers().iter().chain(self.init_containers());
        if let Some(container) = containers.find(|c| named(c) && !c.is_ours()) {
            return Some(format!("the container name {}", container.name));
        }
        let volume = self.volume().filter(|_| !self.has_own_volume());
        volume.map(|volume| format!("the volume name {}", volume.name))
    }

    /// The volume of our name holds the agent: an image that is mounted as ours is, or filled by our init container.
    pub(super) fn has_own_volume(&self) -> bool {
        let mounted = || self.containers().iter().chain(self.init_containers()).any(Container::has_mount);
        self.volume().is_some_and(|volume| self.has_install() || volume.image.is_some() && mounted())
    }

    pub(super) fn has_gate(&self) -> bool {
        let gates = self.spec.readiness_gates.as_deref().unwrap_or_default();
        gates.iter().any(|gate| gate.condition_type == names::LOCK_VERIFIED_CONDITION)
    }

    pub(super) fn containers(&self) -> &[Container] {
        self.spec.containers.as_deref().unwrap_or_default()
    }

    pub(super) fn sidecars(&self) -> impl Iterator<Item = (usize, &Container)> {
        self.init_containers().iter().enumerate().filter(|(_, c)| c.restart_policy.as_deref() == Some("Always"))
    }
}

impl Container {
    pub(super) fn capabilities(&self) -> Option<&Capabilities> {
        self.security_context.as_ref()?.capabilities.as_ref()
    }

    /// Only a spelling that works on every runtime: containerd upper-cases and
    /// prefixes, so that its `CAP_IPC_LOCK` becomes `CAP_CAP_IPC_LOCK` and is lost.
    pub(super) fn adds(&self, capability: &str) -> bool {
        let added = self.capabilities().and_then(|c| c.add.as_deref()).unwrap_or_default();
        added.iter().any(|entry| entry.eq_ignore_ascii_case(capability))
    }

    /// Any spelling: CRI-O honours the prefix, and a dropped capability cannot be had back.
    pub(super) fn drops(&self, capability: &str) -> bool {
        let dropped = self.capabilities().and_then(|c| c.drop.as_deref()).unwrap_or_default();
        dropped.iter().any(|entry| names::bare_capability(entry) == capability)
    }

    pub(super) fn is_privileged(&self) -> bool {
        self.security_context.as_ref().and_then(|s| s.privileged) == Some(true)
    }

    /// The image's own USER cannot be seen here.
    pub(super) fn user(&self, pod: &Pod) -> User {
        let own = self.security_context.as_ref();
        let defaults = pod.spec.security_context.as_ref();
        let uid = own.and_then(|s| s.run_as_user).or_else(|| defaults.and_then(|s| s.run_as_user));
        let non_root = own.and_then(|s| s.run_as_non_root).or_else(|| defaults.and_then(|s| s.run_as_non_root));
        match (uid, non_root) {
            (Some(0), _) => User::Root,
            (Some(_), _) | (None, Some(true)) => User::NonRoot,
            (None, _) => User::Unknown,
        }
    }

    /// The author's own program: what stands there without our launcher.
    pub(super) fn own_command(&self) -> &[String] {
        let command = self.command.as_deref().unwrap_or_default();
        if !is_launched(command) {
            return command;
        }
        let end = command.iter().position(|word| word == "--").map_or(command.len(), |n| n + 1);
        command.get(end..).unwrap_or_default()
    }

    /// The launcher that stands before the program.
    pub(super) fn launcher(&self) -> Option<&str> {
        self.command.as_deref().filter(|command| is_launched(command))?.first().map(String::as_str)
    }

    pub(super) fn has_launcher(&self) -> bool {
        self.launcher().is_some()
    }

    /// The variable that counts, with its place.
    pub(super) fn env(&self, name: &str) -> Option<(usize, &EnvVar)> {
        self.env.as_deref().unwrap_or_default().iter().enumerate().rfind(|(_, var)| var.name == name)
    }

    /// Our library stands first in `LD_PRELOAD`.
    pub(super) fn has_preload(&self) -> bool {
        let value = self.env("LD_PRELOAD").and_then(|(_, var)| var.value.as_deref()).unwrap_or_default();
        value.split([':', ' ']).next() == Some(names::PRELOAD_FILE)
    }

    /// Sees the agent's files.
    pub(super) fn has_mount(&self) -> bool {
        self.mounts().any(|mount| mount.name == names::AGENT_VOLUME && mount.mount_path == names::AGENT_MOUNT)
    }

    /// Something else is mounted where the agent's files would be.
    pub(super) fn hides_agent(&self) -> bool {
        let inside = |path: &str| path == names::AGENT_MOUNT || path.starts_with("/memlock/");
        self.mounts().any(|mount| mount.name != names::AGENT_VOLUME && inside(mount.mount_path.trim_end_matches('/')))
    }

    pub(super) fn mounts(&self) -> impl Iterator<Item = &VolumeMount> {
        self.volume_mounts.as_deref().unwrap_or_default().iter()
    }

    /// An init container of ours: its program is the agent with this verb.
    pub(super) fn runs_agent(&self, verb: &str) -> bool {
        matches!(self.command.as_deref(), Some([file, first, ..]) if file == names::AGENT_FILE && first == verb)
    }

    /// An init container of ours.
    pub(super) fn is_ours(&self) -> bool {
        self.runs_agent("install") || self.runs_agent("preflight")
    }

    /// In bytes; an absent request is the limit (`SetDefaults_Pod` of the API server).
    pub(super) fn memory_request(&self) -> Option<u64> {
        let asked = self.resources.as_ref().and_then(|r| bytes(r.requests.as_ref()?.get("memory")?));
        asked.or_else(|| self.memory_limit())
    }

    /// In bytes; `None`: no limit.
    pub(super) fn memory_limit(&self) -> Option<u64> {
        bytes(self.resources.as_ref()?.limits.as_ref()?.get("memory")?)
    }

    pub(super) fn has_exec_probe(&self) -> bool {
        let probes = [&self.liveness_probe, &self.readiness_probe, &self.startup_probe];
        probes.into_iter().flatten().any(|probe| probe.exec.is_some())
    }
}

fn is_launched(command: &[String]) -> bool {
    let launchers = [names::LAUNCHER_FILE, names::FLUSHER_FILE];
    matches!(command, [file, verb, ..] if launchers.contains(&file.as_str()) && verb == "launch")
}

fn bytes(quantity: &Value) -> Option<u64> {
    match quantity {
        Value::String(text) => quantity::parse(text),
        Value::Number(number) => quantity::parse(&number.to_string()),
        _ => None,
    }
}
