//! The verification flow: `watch` → `schedule` → `check` (exec → `domain`) → `report`.

mod assess;
mod check;
mod engine;
mod entry;
mod events;
mod live;
mod metrics;
mod packed;
mod pause;

mod namespaces;
mod pod_view;
mod report;
mod schedule;
mod serve;
mod slots;
mod watch;

pub use live::look;
pub use serve::{Args, run};
