//! Intent + pod → what is to be done, with a reason and sentences for people.
//!
//! Denied is only what fails on every node; what the node decides is a warning.

use super::pod::{Container, Pod};
use crate::domain::{
    intent::{self, Intent, IntentError},
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
    /// `drop: [IPC_LOCK]` wins over any `add`.
    CapabilityDropped,
    /// Every chosen container already has the capability.
    AlreadyCapable,
    /// `IPC_LOCK` was added.
    CapabilityGranted,
    /// The annotations cannot be followed.
    BadIntent(&'static str),
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
            Self::CapabilityDropped => "CapabilityDropped",
            Self::AlreadyCapable => "AlreadyCapable",
            Self::CapabilityGranted => "CapabilityGranted",
            Self::BadIntent(reason) => reason,
        }
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
    /// Containers that serve the device, in the author's order.
    pub targets: Vec<String>,
    /// Those of them that get `IPC_LOCK`.
    pub grants: Vec<String>,
}

impl Decision {
    fn new(verb: Verb, reason: Reason, message: String) -> Self {
        Self { verb, reason, message, warnings: Vec::new(), targets: Vec::new(), grants: Vec::new() }
    }

    fn refused(error: &IntentError) -> Self {
        Self::new(Verb::Deny, Reason::BadIntent(error.reason()), error.to_string())
    }

    fn with(mut self, targets: &[&Container], warnings: Vec<String>) -> Self {
        self.targets = targets.iter().map(|c| c.name.clone()).collect();
        self.warnings = warnings;
        self
    }

    /// Whether our outputs on a copied manifest must go: the pod is ours to judge.
    #[must_use]
    pub fn is_managed(&self) -> bool {
        self.verb != Verb::Deny && !self.targets.is_empty()
    }
}

/// Decides for a pod that is being created.
#[must_use]
pub fn decide(pod: &Pod) -> Decision {
    if pod.is_mirror() {
        let message = "a mirror pod reflects a static pod; changing it changes nothing on the node";
        return Decision::new(Verb::Untouched, Reason::MirrorPod, message.to_owned());
    }
    let intent = match intent::parse(pod.annotations()) {
        Err(error) => return Decision::refused(&error),
        Ok(None) => {
            let message = format!("the pod did not opt in with {}: \"true\"", names::SWAP_DEVICE);
            let mut decision = Decision::new(Verb::Untouched, Reason::NotOptedIn, message);
            decision.warnings = intent::without_effect(pod.annotations());
            return decision;
        }
        Ok(Some(intent)) => intent,
    };
    match chosen(pod, &intent) {
        Ok(targets) => decide_targets(pod, &intent, &targets),
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

fn decide_targets(pod: &Pod, intent: &Intent, targets: &[&Container]) -> Decision {
    if pod.spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        let message = "spec.os.name is windows, which has no mlockall and no capabilities; run the swap device on Linux or remove the annotation memlock.dev/swap-device";
        return Decision::new(Verb::Deny, Reason::Windows, message.to_owned());
    }
    let mut warnings = intent::without_effect(pod.annotations());
    if intent.verify_only {
        let message = "the pod is checked but not changed (memlock.dev/verify-only)".to_owned();
        return Decision::new(Verb::Untouched, Reason::VerifyOnly, message).with(targets, warnings);
    }
    if let Some(container) = targets.iter().find(|c| c.drops(names::IPC_LOCK)) {
        let message = format!(
            "container {} drops IPC_LOCK by name, which wins over adding it, so its memory cannot be locked; remove IPC_LOCK from securityContext.capabilities.drop (drop: [ALL] may stay)",
            container.name
        );
        if intent.required {
            return Decision::new(Verb::Deny, Reason::CapabilityDropped, message);
        }
        warnings.push(message.clone());
        return Decision::new(Verb::Untouched, Reason::CapabilityDropped, message).with(targets, warnings);
    }
    warnings.extend(targets.iter().filter_map(|c| ineffective(pod, c)));

    let has_it = |c: &Container| c.is_privileged() || c.adds("ALL") || c.adds(names::IPC_LOCK);
    let grants: Vec<String> = targets.iter().filter(|c| !has_it(c)).map(|c| c.name.clone()).collect();
    if grants.is_empty() {
        let message =
            format!("{} may already lock: nothing was added", subject(targets.iter().map(|c| c.name.as_str())));
        return Decision::new(Verb::Untouched, Reason::AlreadyCapable, message).with(targets, warnings);
    }
    let message = format!(
        "{} got the capability IPC_LOCK; the daemon must still call mlockall itself: see whether it did with kubectl get pods -L {}",
        subject(grants.iter().map(String::as_str)),
        names::STATE
    );
    warnings.insert(0, message.clone());
    Decision { grants, ..Decision::new(Verb::Inject, Reason::CapabilityGranted, message).with(targets, warnings) }
}

/// Why the capability will probably not work in this container, where that can be seen.
fn ineffective(pod: &Pod, container: &Container) -> Option<String> {
    if pod.spec.host_users == Some(false) {
        return Some(format!(
            "container {} runs in a user namespace (hostUsers: false), where IPC_LOCK is without effect: locking fails unless the node raises its memlock limit; remove hostUsers: false",
            container.name
        ));
    }
    container.is_known_non_root(pod).then(|| {
        format!(
            "container {} does not run as root, and Kubernetes gives added capabilities to root only: locking fails unless the binary in the image carries cap_ipc_lock=ep or the node raises its memlock limit",
            container.name
        )
    })
}

fn subject<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let noun = if names.len() == 1 { "container" } else { "containers" };
    format!("{noun} {}", names.join(", "))
}
