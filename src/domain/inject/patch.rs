//! Changes → RFC 6902 operations on the raw object of this very review.
//!
//! Parents first and once, keys escaped by the pointer type, `add` at the end of
//! lists: what stands in the object stays as it is.

use json_patch::{
    AddOperation, Patch, PatchOperation, RemoveOperation,
    jsonptr::{PointerBuf, Token},
};
use serde_json::{Value, json};

use super::{
    plan::{Change, ContainerPath},
    pod::{Container, Pod},
};
use crate::domain::names;

/// Writes the changes as a patch.
#[must_use]
pub fn patch(changes: &[Change], pod: &Pod) -> Patch {
    let mut writer = Writer { operations: Vec::new() };
    for change in changes {
        match change {
            Change::GrantIpcLock(path) => writer.grant(*path, pod),
            Change::Record(value) => writer.annotate(value),
            Change::StripStatus => writer.remove(&["metadata", "annotations", names::STATUS]),
            Change::StripState => writer.remove(&["metadata", "labels", names::STATE]),
        }
    }
    Patch(writer.operations)
}

struct Writer {
    operations: Vec<PatchOperation>,
}

impl Writer {
    fn grant(&mut self, path: ContainerPath, pod: &Pod) {
        let (list, index, container) = match path {
            ContainerPath::Main(n) => ("containers", n, pod.containers().get(n)),
            ContainerPath::Sidecar(n) => {
                ("initContainers", n, pod.spec.init_containers.as_ref().and_then(|all| all.get(n)))
            }
        };
        let index = index.to_string();
        let base = ["spec", list, &index, "securityContext"];
        let security = container.and_then(|c| c.security_context.as_ref());
        if security.is_none() {
            self.add(&base, json!({}));
        }
        let base = [&base[..], &["capabilities"]].concat();
        let capabilities = container.and_then(Container::capabilities);
        if capabilities.is_none() {
            self.add(&base, json!({}));
        }
        let base = [&base[..], &["add"]].concat();
        if capabilities.and_then(|c| c.add.as_ref()).is_some() {
            self.add(&[&base[..], &["-"]].concat(), json!(names::IPC_LOCK));
        } else {
            self.add(&base, json!([names::IPC_LOCK]));
        }
    }

    /// A pod that opted in has annotations: no parent is missing here.
    fn annotate(&mut self, value: &str) {
        self.add(&["metadata", "annotations", names::INJECTED], json!(value));
    }

    fn add(&mut self, path: &[&str], value: Value) {
        self.operations.push(PatchOperation::Add(AddOperation { path: pointer(path), value }));
    }

    fn remove(&mut self, path: &[&str]) {
        self.operations.push(PatchOperation::Remove(RemoveOperation { path: pointer(path) }));
    }
}

fn pointer(path: &[&str]) -> PointerBuf {
    PointerBuf::from_tokens(path.iter().copied().map(Token::new))
}
