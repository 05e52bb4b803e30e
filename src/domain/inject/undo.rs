//! What an injection changed → the operations that take it back.

use json_patch::Patch;
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

use super::{
    init, parts,
    patch::locate,
    pod::{Container, Pod},
    record::{ContainerRecord, Made, Record, Was},
    writer::Writer,
};
use crate::domain::names;

/// Why an injection cannot be taken back.
#[derive(Debug, Error)]
pub enum UndoError {
    /// It is no pod.
    #[error("the pod cannot be read ({0}): correct the manifest")]
    BadPod(#[from] serde_json::Error),
    /// Written by hand, or by a version that is newer.
    #[error(
        "annotation memlock.dev/injected cannot be read, so what was changed is not known: use the version that wrote it, or take the changes back by hand and remove the annotation"
    )]
    BadRecord,
}

impl UndoError {
    /// A bounded word.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BadPod(_) => "BadPod",
            Self::BadRecord => "BadRecord",
        }
    }
}

/// Takes back what [`super::inject()`] did to a pod or pod template; empty where it did nothing.
///
/// Changes that others made meanwhile stay.
pub fn uninject(raw: &Value) -> Result<Patch, UndoError> {
    let pod = Pod::deserialize(raw)?;
    let record = match pod.annotations().get(names::INJECTED) {
        None => return Ok(Patch(Vec::new())),
        Some(text) => Record::read(text).ok_or(UndoError::BadRecord)?.borne_out(&pod),
    };
    let mut object = parts(raw);
    let mut undo = Undo { writer: Writer::new(&mut object), pod: &pod };
    for container in pod.containers().iter().chain(pod.sidecars().map(|(_, container)| container)) {
        undo.container(container, record.containers.get(&container.name));
    }
    undo.pod(&record);
    Ok(undo.writer.into_patch())
}

struct Undo<'a> {
    writer: Writer<'a>,
    pod: &'a Pod,
}

impl Undo<'_> {
    fn container(&mut self, container: &Container, record: Option<&ContainerRecord>) {
        let Some((list, index, _)) = locate(self.pod, &container.name) else { return };
        let index = index.to_string();
        let base = ["spec", list, &index];
        for capability in record.into_iter().flat_map(|record| &record.capabilities) {
            let list = [&base[..], &["securityContext", "capabilities", "add"]].concat();
            self.remove_last(&list, |entry| entry == capability);
        }
        if container.has_launcher() {
            self.writer.put(&[&base[..], &["command"]].concat(), json!(container.own_command()));
        }
        if container.has_mount() && self.pod.has_own_volume() {
            let ours = |mount: &Value| mount["name"] == names::AGENT_VOLUME && mount["mountPath"] == names::AGENT_MOUNT;
            self.remove_last(&[&base[..], &["volumeMounts"]].concat(), ours);
        }
        if container.has_preload() {
            let env = [&base[..], &["env"]].concat();
            self.unload(&env, container);
            for name in init::VARIABLES.into_iter().rev() {
                self.remove_last(&env, |var| var["name"] == name);
            }
        }
        if let Some(record) = record {
            self.unmake(&base, &record.made);
        }
    }

    fn unload(&mut self, env: &[&str], container: &Container) {
        let Some((index, var)) = container.env("LD_PRELOAD") else { return };
        let index = index.to_string();
        let at = [env, &[index.as_str()]].concat();
        match var.value.as_deref().unwrap_or_default().split_once(':') {
            Some((_, theirs)) => self.writer.put(&[&at[..], &["value"]].concat(), json!(theirs)),
            None => self.writer.remove(&at),
        }
    }

    fn pod(&mut self, record: &Record) {
        for (index, _) in self.pod.init_containers().iter().enumerate().rev().filter(|(_, c)| c.is_ours()) {
            self.writer.remove(&["spec", "initContainers", &index.to_string()]);
        }
        if self.pod.has_own_volume() {
            self.remove_last(&["spec", "volumes"], |volume| volume["name"] == names::AGENT_VOLUME);
        }
        if record.gate {
            let ours = |gate: &Value| gate["conditionType"] == names::LOCK_VERIFIED_CONDITION;
            self.remove_last(&["spec", "readinessGates"], ours);
        }
        let ours = |key: &&String| key.starts_with(names::NRI_ULIMITS) || *key == names::CONTAINERS;
        for key in record.annotations.iter().filter(ours) {
            self.writer.remove(&["metadata", "annotations", key]);
        }
        self.unmake(&[], &record.made);
        self.writer.remove(&["metadata", "annotations", names::INJECTED]);
    }

    fn remove_last(&mut self, list: &[&str], ours: impl Fn(&Value) -> bool) {
        let entries = self.writer.get(list).and_then(Value::as_array);
        if let Some(index) = entries.and_then(|entries| entries.iter().rposition(ours)) {
            self.writer.remove(&[list, &[index.to_string().as_str()]].concat());
        }
    }

    /// Parents that were made go when nothing is left in them, the inner ones first.
    fn unmake(&mut self, base: &[&str], made: &Made) {
        for (path, was) in made.iter().rev() {
            let path: Vec<&str> = base.iter().copied().chain(path.split('/')).collect();
            let empty = match self.writer.get(&path) {
                Some(Value::Object(members)) => members.is_empty(),
                Some(Value::Array(entries)) => entries.is_empty(),
                Some(Value::String(text)) => text.is_empty(),
                _ => false,
            };
            match was {
                Was::Absent if empty => self.writer.remove(&path),
                Was::Null if empty => self.writer.put(&path, Value::Null),
                Was::Absent | Was::Null => {}
            }
        }
    }
}
