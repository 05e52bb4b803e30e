//! The verification flow: `watch` → `schedule` → `check` (exec → `domain`) → `report`.

mod assess;
mod check;
mod debug;
mod devices;
mod engine;
mod entry;
mod events;
mod live;
mod metrics;
mod namespaces;
mod packed;
mod past;
mod pause;
mod pod_view;
mod report;
mod schedule;
mod serve;
mod slots;
mod status;
mod watch;

pub use live::look;
pub use serve::{Args, run};
