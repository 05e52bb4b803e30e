//! Readiness as a set of named gates: ready when every one is open.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Cheap to clone; all clones share the gates.
#[derive(Debug, Clone)]
pub struct Readiness {
    gates: Arc<Mutex<BTreeMap<&'static str, bool>>>,
}

impl Readiness {
    /// Every gate starts closed.
    pub fn new(names: impl IntoIterator<Item = &'static str>) -> Self {
        Self { gates: Arc::new(Mutex::new(names.into_iter().map(|name| (name, false)).collect())) }
    }

    /// Opens a gate.
    pub fn open(&self, name: &'static str) {
        self.set(name, true);
    }

    /// Closes a gate.
    pub fn close(&self, name: &'static str) {
        self.set(name, false);
    }

    /// Names of the gates that are closed.
    #[must_use]
    pub fn waiting_for(&self) -> Vec<&'static str> {
        let gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.iter().filter(|(_, open)| !**open).map(|(name, _)| *name).collect()
    }

    fn set(&self, name: &'static str, open: bool) {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner).insert(name, open);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_gate_is_open() {
        let readiness = Readiness::new(["a", "b"]);
        let shared = readiness.clone();
        shared.open("b");
        assert_eq!(readiness.waiting_for(), ["a"]);
        shared.open("a");
        assert!(readiness.waiting_for().is_empty());
        shared.close("b");
        assert_eq!(readiness.waiting_for(), ["b"]);
    }
}
