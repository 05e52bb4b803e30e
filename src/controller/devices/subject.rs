//! A pod as the API server shows it → the containers that get a `SwapDevice`.

use super::content::Qos;
use crate::{
    controller::{
        assess::{self, Assessment},
        pod_view::{PodKey, PodView},
        status::short_id,
    },
    domain::verdict::{State, Verdict},
};

/// What of a pod of interest goes into `SwapDevice`s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::controller) struct Subject {
    pub(super) key: PodKey,
    pub(super) uid: Box<str>,
    pub(super) node: Option<Box<str>>,
    pub(super) device: Option<Box<str>>,
    pub(super) qos: Option<Qos>,
    /// None where the pod opted out, or names what it does not have.
    pub(super) containers: Vec<Container>,
}

/// One of its chosen containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) name: Box<str>,
    /// Beginning of its id; `None`: it does not run.
    pub(super) id: Option<Box<str>>,
    /// What is said without a check; `None`: it is checked.
    pub(super) settled: Option<Verdict>,
}

impl Subject {
    pub(in crate::controller) fn of(pod: &PodView, runtime_classes: &[String]) -> Self {
        let targets = assess::choose(pod).ok().flatten().unwrap_or_default();
        let verdict = match assess::assess(pod, runtime_classes) {
            // Each waits by itself.
            Assessment::Settled(verdict) if verdict.state != State::Pending => Some(*verdict),
            _ => None,
        };
        let device = targets.first().and_then(|target| target.wanted.device.as_deref()).map(Into::into);
        let containers = targets.iter().map(|target| Container {
            name: target.container.as_str().into(),
            id: target.id.as_deref().map(|id| short_id(id).into()),
            settled: verdict.clone().or_else(|| target.id.is_none().then(|| target.pending())),
        });
        Self {
            key: pod.key(),
            uid: pod.uid().into(),
            node: pod.spec.node_name.as_deref().map(Into::into),
            device,
            qos: pod.status.qos_class.as_deref().and_then(Qos::parse),
            containers: containers.collect(),
        }
    }
}
