//! What a pod needs to be able to lock: [`decide()`] says what and why by the table in `row`,
//! [`patch()`] writes it as operations on the raw object, [`uninject()`] takes it back.

mod decide;
mod init;
mod notes;
mod patch;
mod pod;
mod reading;
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
    inject_in_place(&mut parts(raw), settings)
}

/// The same for an object that nobody needs as it was: the patch is applied to it, which spares its copy.
pub fn inject_in_place(raw: &mut Value, settings: &Settings) -> Result<Injection, serde_json::Error> {
    let pod = Pod::deserialize(&*raw)?;
    let decision = decide(&pod, settings);
    let patch = patch(&decision, raw, &pod, settings);
    Ok(Injection { pod: pod.display_name().to_owned(), decision, patch })
}

/// A copy of what decisions read and patches touch: not the rest of the metadata, whose managed fields are a third of a
/// pod.
fn parts(raw: &Value) -> Value {
    let Value::Object(object) = raw else { return raw.clone() };
    let metadata = object.get("metadata").map(|metadata| match metadata {
        Value::Object(members) => {
            let read = ["name", "namespace", "generateName", "annotations", "labels"].into_iter();
            read.filter_map(|key| Some((key.to_owned(), members.get(key)?.clone()))).collect()
        }
        other => other.clone(),
    });
    let spec = object.get("spec").cloned();
    let members = [("metadata", metadata), ("spec", spec)].into_iter();
    members.filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}
