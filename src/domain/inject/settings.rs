//! What the installation says, as opposed to the pod's author.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// The level that a namespace enforces (`pod-security.kubernetes.io/enforce`).
///
/// Baseline and restricted both refuse `IPC_LOCK`, after every webhook has run
/// (`pod-security-admission/policy/check_capabilities_baseline.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Everything is allowed.
    #[default]
    Privileged,
    /// Baseline, or stricter.
    Baseline,
    /// Restricted.
    Restricted,
}

/// A word that is no level.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no Pod Security level: allowed are privileged, baseline and restricted")]
pub struct UnknownLevel(String);

impl Level {
    /// The value of the namespace's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        let all = [Self::Privileged, Self::Baseline, Self::Restricted];
        all.into_iter().find(|level| level.as_str() == text).ok_or_else(|| UnknownLevel(text.to_owned()))
    }
}

/// How the agent's files come into the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// An init container copies them into an `emptyDir`.
    InitContainer,
    /// The image itself is mounted (KEP-4639, on by default from Kubernetes 1.35).
    ImageVolume,
}

/// The image that carries the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its reference.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`; `None`: Kubernetes' default.
    pub pull_policy: Option<String>,
    /// How its files come into the pod.
    pub delivery: Delivery,
}

/// What the installation says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Of the pod's namespace.
    pub level: Level,
    /// `None`: the capability only, nothing of ours is pulled or mounted.
    pub agent: Option<Agent>,
}
