//! The admission flow: bytes → [`review`] → `domain` → [`respond`].
//!
//! Knows the domain, never the cluster: no client, no rights, no state, no side effects.

mod metrics;
mod respond;
mod review;
mod router;
mod serve;

pub use metrics::Metrics;
pub use router::{MAX_BODY, MUTATE_PATH, router};
pub use serve::{Args, run};
