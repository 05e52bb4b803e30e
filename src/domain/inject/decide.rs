//! Intent + pod → what is to be done, with a reason and sentences for people.
//!
//! Denied is only what fails on every node; what the node decides is a warning.

use super::{
    notes,
    pod::{Container, Pod},
    row::{Preload, Row, Situation, row},
    settings::{Level, Settings},
};
use crate::domain::{
    annotations,
    intent::{self, CapabilitySource, Intent, IntentError, LockBy, LockFlags},
    names,
};

/// What the webhook answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Allowed; nothing of the daemon's changes.
    Untouched,
    /// Allowed with a patch.
    Inject,
    /// Refused.
    Deny,
}

/// Why, as a bounded word for audit annotations, logs and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No opt-in annotation, or `false`.
    NotOptedIn,
    /// A static pod's reflection.
    MirrorPod,
    /// Windows has no capabilities.
    Windows,
    /// The author asked for checks only.
    VerifyOnly,
    /// The annotations cannot be followed.
    BadIntent(&'static str),
    /// By the row of the first chosen container, or of the one that is refused.
    Row(Row),
}

impl Reason {
    /// The word itself.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotOptedIn => "NotOptedIn",
            Self::MirrorPod => "MirrorPod",
            Self::Windows => "Windows",
            Self::VerifyOnly => "VerifyOnly",
            Self::BadIntent(reason) => reason,
            Self::Row(row) => row.as_str(),
        }
    }
}

/// What the launcher does before it becomes the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launcher {
    /// Lock the daemon when it is started, with these flags.
    pub lock: Option<LockFlags>,
    /// Set `PR_SET_IO_FLUSHER`.
    pub io_flusher: bool,
}

/// What is done for one chosen container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub container: String,
    /// The row of the table that fits.
    pub row: Row,
    /// One sentence: what, where, why, what to do.
    pub message: String,
    /// Capabilities that it needs and does not have.
    pub capabilities: Vec<&'static str>,
    /// Its program is started by the launcher.
    pub launcher: Option<Launcher>,
    /// Its program is locked by the preloaded library.
    pub preload: bool,
    /// The lock is tried before it starts.
    pub preflight: bool,
}

impl Step {
    /// Whether files of ours are needed in the container.
    #[must_use]
    pub fn needs_agent(&self) -> bool {
        self.launcher.is_some() || self.preload || self.preflight
    }
}

/// The answer to one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What happens.
    pub verb: Verb,
    /// Why.
    pub reason: Reason,
    /// One sentence: what, where, why, what to do.
    pub message: String,
    /// Sentences shown by kubectl, `message` among them when it helps.
    pub warnings: Vec<String>,
    /// One a container that serves the device, in the author's order; empty unless the pod is judged.
    pub steps: Vec<Step>,
    /// What the author asks for, where that could be read.
    pub intent: Option<Intent>,
}

impl Decision {
    fn new(verb: Verb, reason: Reason, message: impl Into<String>) -> Self {
        Self { verb, reason, message: message.into(), warnings: Vec::new(), steps: Vec::new(), intent: None }
    }

    fn refused(error: &IntentError) -> Self {
        Self::new(Verb::Deny, Reason::BadIntent(error.reason()), error.to_string())
    }

    /// Whether our outputs on a copied manifest must go: the pod is ours to judge.
    #[must_use]
    pub fn is_managed(&self) -> bool {
        self.verb != Verb::Deny && self.intent.is_some()
    }
}

/// Decides for a pod that is being created.
#[must_use]
pub fn decide(pod: &Pod, settings: &Settings) -> Decision {
    if pod.is_mirror() {
        let message = "a mirror pod reflects a static pod; changing it changes nothing on the node";
        return Decision::new(Verb::Untouched, Reason::MirrorPod, message);
    }
    let intent = match intent::parse(pod.annotations()) {
        Err(error) => return Decision::refused(&error),
        Ok(None) => {
            let message = format!("the pod did not opt in with {}: \"true\"", names::SWAP_DEVICE);
            let warnings = annotations::unknown(pod.annotations());
            return Decision { warnings, ..Decision::new(Verb::Untouched, Reason::NotOptedIn, message) };
        }
        Ok(Some(intent)) => intent,
    };
    match chosen(pod, &intent) {
        Ok(targets) => decide_targets(pod, intent, &targets, settings),
        Err(error) => Decision::refused(&error),
    }
}

fn chosen<'a>(pod: &'a Pod, intent: &Intent) -> Result<Vec<&'a Container>, IntentError> {
    if pod.containers().is_empty() {
        return Err(IntentError::NoContainers);
    }
    let all: Vec<&Container> = pod.containers().iter().chain(pod.sidecars().map(|(_, c)| c)).collect();
    let known: Vec<&str> = all.iter().map(|c| c.name.as_str()).collect();
    let names = intent.targets(pod.annotations(), &known)?;
    Ok(names.iter().filter_map(|name| all.iter().copied().find(|c| c.name == *name)).collect())
}

fn decide_targets(pod: &Pod, intent: Intent, targets: &[&Container], settings: &Settings) -> Decision {
    if pod.spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        let message = "spec.os.name is windows, which has no mlockall and no capabilities; run the swap device on Linux or remove the annotation memlock.dev/swap-device";
        return Decision::new(Verb::Deny, Reason::Windows, message);
    }
    let mut warnings = annotations::unknown(pod.annotations());
    if intent.verify_only {
        let message = "the pod is checked but not changed (memlock.dev/verify-only)";
        let decision = Decision::new(Verb::Untouched, Reason::VerifyOnly, message);
        return Decision { warnings, intent: Some(intent), ..decision };
    }
    let steps: Vec<Step> = targets.iter().map(|container| step(pod, &intent, container, settings)).collect();
    if let Some(refusal) = steps.iter().find(|step| step.row.is_refusal() && intent.required) {
        let decision = Decision::new(Verb::Deny, Reason::Row(refusal.row), refusal.message.clone());
        return Decision { warnings, ..decision };
    }
    for (step, container) in steps.iter().zip(targets) {
        warnings.push(step.message.clone());
        if !matches!(step.row, Row::PodSecurity | Row::CapabilityDropped) {
            warnings.extend(notes::on(pod, container, &intent, step));
        }
    }
    let acts = intent.readiness_gate
        || intent.limit.is_some()
        || steps.iter().any(|step| !step.capabilities.is_empty() || step.needs_agent());
    let verb = if acts { Verb::Inject } else { Verb::Untouched };
    let reason = Reason::Row(steps.first().map_or(Row::AlreadyCapable, |step| step.row));
    let messages: Vec<&str> = steps.iter().map(|step| step.message.as_str()).collect();
    Decision { warnings, intent: Some(intent), ..Decision::new(verb, reason, messages.join("; ")) }.with(steps)
}

impl Decision {
    fn with(mut self, steps: Vec<Step>) -> Self {
        self.steps = steps;
        self
    }
}

fn step(pod: &Pod, intent: &Intent, container: &Container, settings: &Settings) -> Step {
    let wanted: &[&'static str] =
        if intent.io_flusher { &[names::IPC_LOCK, names::SYS_RESOURCE] } else { &[names::IPC_LOCK] };
    let all = container.is_privileged() || container.adds("ALL");
    let agent = intent.agent && settings.agent.is_some();
    let foreign = foreign_name(pod, container, intent);
    let situation = Situation {
        refused: settings.level != Level::Privileged,
        dropped: wanted.iter().any(|capability| container.drops(capability)),
        all,
        user: container.user(pod),
        command: !container.own_command().is_empty(),
        lock_by: intent.lock_by,
        capability: intent.capability,
        agent,
        preload: match container.env("LD_PRELOAD") {
            Some((_, var)) if var.value_from.is_some() => Preload::Referenced,
            _ => Preload::Free,
        },
        flush: intent.io_flusher && !container.own_command().is_empty(),
        taken: foreign.is_some(),
    };
    let row = row(&situation);
    let useless = matches!(row, Row::PodSecurity | Row::CapabilityDropped);
    let ours = agent && intent.capability == CapabilitySource::Grant && !row.is_refusal();
    let locks = row == Row::LauncherLocks;
    let flushes = situation.flush && ours;
    let launched = locks || row == Row::LauncherRaises || flushes;
    let missing = |capability: &&'static str| !all && !useless && !container.adds(capability);
    Step {
        container: container.name.clone(),
        row,
        message: notes::sentence(pod, container, intent, settings, row, foreign.as_deref()),
        capabilities: wanted.iter().copied().filter(missing).collect(),
        launcher: launched.then(|| Launcher { lock: locks.then_some(intent.lock_flags), io_flusher: flushes }),
        preload: row == Row::PreloadLocks,
        preflight: ours && !launched && row != Row::AlreadyCapable,
    }
}

fn foreign_name(pod: &Pod, container: &Container, intent: &Intent) -> Option<String> {
    let variable = || {
        let preload = intent.lock_by == LockBy::Agent && container.own_command().is_empty();
        let mut set = container.env.as_deref().unwrap_or_default().iter();
        let foreign = set.find(|var| preload && !container.has_preload() && var.name.starts_with("MEMLOCK_"));
        foreign.map(|var| format!("the environment variable {}", var.name))
    };
    let path = || container.hides_agent().then(|| format!("the path {}", names::AGENT_MOUNT));
    pod.foreign_name().or_else(path).or_else(variable)
}
