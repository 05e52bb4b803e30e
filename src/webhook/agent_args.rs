//! Flags that say where the agent comes from; the offline commands take the same.

use crate::domain::inject::{Agent, Delivery};

/// Where the agent comes from.
#[derive(Debug, Clone, clap::Args)]
pub struct AgentArgs {
    /// Image that carries the agent in /memlock; empty: pods get the capability only.
    #[arg(long, env = "MEMLOCK_AGENT_IMAGE", default_value = "")]
    pub agent_image: String,
    /// When nodes pull it: Always, `IfNotPresent` or Never; empty: Kubernetes' default.
    #[arg(long, env = "MEMLOCK_AGENT_PULL_POLICY", default_value = "", value_parser = ["", "Always", "IfNotPresent", "Never"])]
    pub agent_pull_policy: String,
    /// How its files come into a pod; image-volume needs Kubernetes 1.35 on every node.
    #[arg(long, env = "MEMLOCK_AGENT_DELIVERY", default_value = "init-container")]
    pub agent_delivery: AgentDelivery,
}

/// How the agent's files come into a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum AgentDelivery {
    /// An init container copies them into an emptyDir.
    InitContainer,
    /// The image itself is mounted.
    ImageVolume,
}

impl AgentArgs {
    /// As the engine takes it.
    #[must_use]
    pub fn agent(&self) -> Option<Agent> {
        (!self.agent_image.is_empty()).then(|| Agent {
            image: self.agent_image.clone(),
            pull_policy: Some(self.agent_pull_policy.clone()).filter(|policy| !policy.is_empty()),
            delivery: match self.agent_delivery {
                AgentDelivery::InitContainer => Delivery::InitContainer,
                AgentDelivery::ImageVolume => Delivery::ImageVolume,
            },
        })
    }
}
