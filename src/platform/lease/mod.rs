//! One leader at a time, by a `Lease` of the API server: [`Lease::lead`] runs work while it is held.
//!
//! Three rules make it safe. Every write names the version that was read, so two contenders cannot both succeed.
//! A record is judged by how long this process has seen it unchanged, never by the times that somebody else's clock
//! wrote into it. The holder gives up by its own clock, earlier than anybody may take over, whether or not the API
//! server answers; its requests go through a [`Leadership`], which refuses them from that moment on.

mod clock;
mod election;
mod lead;
mod leadership;
mod metrics;

pub use clock::Clock;
pub use election::Timing;
pub use lead::{Lease, LeaseError};
pub use leadership::{Leadership, NotLeading};
pub use metrics::Metrics;
