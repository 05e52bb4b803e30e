//! Connections that anybody may open: [`serve()`] takes them, one table holds how many there are, in which stage each
//! is and since when, and closes those that take too long or stand in the way.
//!
//! Every deadline below a request is here, kept by one sweep over the table instead of a timer a connection.

mod bind;
mod metrics;
mod serve;
mod table;
mod watched;

pub use bind::bind;
pub use metrics::Metrics;
pub use serve::{Config, serve};
pub use table::Limits;
