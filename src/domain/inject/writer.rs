//! RFC 6902 operations, each applied to the object as it is written, so that the next one sees what stands there.
//!
//! Parents first and once, keys escaped by the pointer type: what stands in the object stays as it is.

use json_patch::{
    AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation,
    jsonptr::{PointerBuf, Token},
};
use serde_json::Value;

use super::record::Was;

/// The object so far and how it came to be.
pub(super) struct Writer<'a> {
    object: &'a mut Value,
    operations: Vec<PatchOperation>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(object: &'a mut Value) -> Self {
        Self { object, operations: Vec::new() }
    }

    /// How many operations there are so far.
    pub(super) fn written(&self) -> usize {
        self.operations.len()
    }

    pub(super) fn into_patch(self) -> Patch {
        Patch(self.operations)
    }

    pub(super) fn get(&self, path: &[&str]) -> Option<&Value> {
        self.object.pointer(pointer(path).as_str())
    }

    /// Makes a parent that is not there; says what stood in its place if it had to.
    pub(super) fn ensure(&mut self, path: &[&str], empty: Value) -> Option<Was> {
        let was = match self.get(path) {
            None => Was::Absent,
            Some(Value::Null) => Was::Null,
            Some(_) => return None,
        };
        self.put(path, empty);
        Some(was)
    }

    /// Sets the member of an object.
    pub(super) fn put(&mut self, path: &[&str], value: Value) {
        if let (Some(Value::Object(parent)), Some((key, _))) = self.split(path) {
            let replaces = parent.insert(key.to_owned(), value.clone()).is_some();
            let path = pointer(path);
            self.operations.push(if replaces {
                PatchOperation::Replace(ReplaceOperation { path, value })
            } else {
                PatchOperation::Add(AddOperation { path, value })
            });
        }
    }

    /// Puts a value before the `index`-th of a list; beyond the end: after the last.
    pub(super) fn insert(&mut self, list: &[&str], index: usize, value: Value) {
        let Some(Value::Array(entries)) = self.object.pointer_mut(pointer(list).as_str()) else { return };
        let end = index >= entries.len();
        let token = if end { "-".to_owned() } else { index.to_string() };
        entries.insert(index.min(entries.len()), value.clone());
        let path = pointer(&[list, &[&token]].concat());
        self.operations.push(PatchOperation::Add(AddOperation { path, value }));
    }

    /// Takes a member or an entry away.
    pub(super) fn remove(&mut self, path: &[&str]) {
        let gone = match self.split(path) {
            (Some(Value::Object(parent)), Some((key, _))) => parent.remove(key).is_some(),
            (Some(Value::Array(entries)), Some((_, Some(index)))) if index < entries.len() => {
                entries.remove(index);
                true
            }
            _ => false,
        };
        if gone {
            self.operations.push(PatchOperation::Remove(RemoveOperation { path: pointer(path) }));
        }
    }

    /// The parent, and the last word as a key and as an index.
    fn split<'s, 'p>(&'s mut self, path: &'p [&'p str]) -> (Option<&'s mut Value>, Option<(&'p str, Option<usize>)>) {
        let Some((last, parents)) = path.split_last() else { return (None, None) };
        (self.object.pointer_mut(pointer(parents).as_str()), Some((last, last.parse().ok())))
    }
}

fn pointer(path: &[&str]) -> PointerBuf {
    PointerBuf::from_tokens(path.iter().copied().map(Token::new))
}
