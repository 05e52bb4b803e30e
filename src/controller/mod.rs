//! The verification flow: `watch` → `schedule` → `check` (exec → `domain`) → `report`.

mod assess;
mod check;
mod engine;
mod events;
mod metrics;
mod pod_view;
mod report;
mod schedule;
mod serve;
mod watch;

pub use serve::{Args, run};
