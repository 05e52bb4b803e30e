//! The admission flow: bytes → [`review`] → `domain` → [`respond`].
//!
//! Knows the domain, never the cluster: no client, no rights, no state, no side effects.

mod agent_args;
mod bodies;
mod metrics;
mod object;
mod respond;
mod review;
mod router;
mod serve;
mod values;

pub use agent_args::{AgentArgs, AgentDelivery};
pub use metrics::Metrics;
pub use router::{MAX_BODY, router};
pub use serve::{Args, run};
