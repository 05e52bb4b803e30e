//! What a pod needs to be able to lock: [`decide()`] says what and why, [`plan()`]
//! lists the changes, [`patch()`] writes them as operations on the raw object.

mod decide;
mod patch;
mod plan;
mod pod;

#[cfg(test)]
mod properties;

pub use decide::{Decision, Reason, Verb, decide};
pub use patch::patch;
pub use plan::{Change, ContainerPath, plan};
pub use pod::{Capabilities, Container, Metadata, Pod, PodSecurityContext, PodSpec, SecurityContext};
