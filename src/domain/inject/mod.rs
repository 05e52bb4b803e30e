//! What a pod needs to be able to lock: [`decide()`] says what and why by the table in `row`,
//! [`patch()`] writes it as operations on the raw object, [`uninject()`] takes it back.

mod decide;
mod init;
mod notes;
mod patch;
mod pod;
mod record;
mod row;
mod settings;
mod undo;
mod writer;

#[cfg(test)]
mod properties;

pub use decide::{Decision, Launcher, Reason, Step, Verb, decide};
use json_patch::Patch;
pub use patch::patch;
pub use pod::Pod;
pub use row::Row;
use serde::Deserialize;
use serde_json::Value;
pub use settings::{Agent, Delivery, Level, Settings, UnknownLevel};
pub use undo::{UndoError, uninject};

/// What was decided about a pod, and the patch that makes it so.
#[derive(Debug, Clone, PartialEq)]
pub struct Injection {
    /// The pod's name, or the stem of the name to come.
    pub pod: String,
    /// What and why.
    pub decision: Decision,
    /// RFC 6902 operations on the object that was given.
    pub patch: Patch,
}

/// Decides about a pod or pod template (`metadata` and `spec`) and writes the patch.
pub fn inject(raw: &Value, settings: &Settings) -> Result<Injection, serde_json::Error> {
    let pod = Pod::deserialize(raw)?;
    let decision = decide(&pod, settings);
    let patch = patch(&decision, raw, &pod, settings);
    Ok(Injection { pod: pod.display_name().to_owned(), decision, patch })
}
