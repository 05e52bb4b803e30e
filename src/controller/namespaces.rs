//! Several watches, one for each namespace, that look like one.
//!
//! Each of them says when it has listed everything; together they have only when all of them have, and what is left is
//! what any of them knows.

use std::collections::HashSet;

use super::{pod_view::PodKey, watch::Change};

/// What each watch knows, `None` until it has listed.
#[derive(Debug)]
pub(super) struct Namespaces(Vec<Option<HashSet<PodKey>>>);

impl Namespaces {
    /// For so many watches.
    pub(super) fn new(watches: usize) -> Self {
        Self(vec![None; watches])
    }

    /// A change of the watch with this number, as a change of all.
    pub(super) fn merge(&mut self, watch: usize, change: Change) -> Option<Change> {
        if self.0.len() == 1 {
            // The whole cluster: nothing has to be remembered.
            return Some(change);
        }
        let known = self.0.get_mut(watch)?;
        match &change {
            Change::Seen(pod) => drop(known.as_mut().map(|known| known.insert(pod.key()))),
            Change::Gone(key) => drop(known.as_mut().map(|known| known.remove(key))),
            Change::Listed(left) => {
                *known = Some(left.clone());
                let all: Option<Vec<_>> = self.0.iter().map(Option::as_ref).collect();
                return all.map(|all| Change::Listed(all.into_iter().flatten().cloned().collect()));
            }
        }
        Some(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: &str, name: &str) -> PodKey {
        PodKey { namespace: namespace.into(), name: name.into() }
    }

    fn listed(change: Option<Change>) -> Option<Vec<String>> {
        let Some(Change::Listed(left)) = change else { return None };
        let mut left: Vec<_> = left.into_iter().map(|key| format!("{}/{}", key.namespace, key.name)).collect();
        left.sort();
        Some(left)
    }

    #[test]
    fn everything_is_listed_when_every_watch_has_listed() {
        let mut namespaces = Namespaces::new(2);
        assert_eq!(listed(namespaces.merge(0, Change::Listed([key("a", "1"), key("a", "2")].into()))), None);
        assert_eq!(listed(namespaces.merge(1, Change::Listed([key("b", "1")].into()))).unwrap(), ["a/1", "a/2", "b/1"]);
    }

    #[test]
    fn a_watch_that_lists_again_takes_nothing_from_the_others() {
        let mut namespaces = Namespaces::new(2);
        namespaces.merge(0, Change::Listed([key("a", "1"), key("a", "2")].into()));
        namespaces.merge(1, Change::Listed(HashSet::new()));
        assert!(matches!(namespaces.merge(0, Change::Gone(key("a", "1"))), Some(Change::Gone(_))));
        assert_eq!(listed(namespaces.merge(1, Change::Listed([key("b", "1")].into()))).unwrap(), ["a/2", "b/1"]);
    }

    #[test]
    fn a_watch_of_the_whole_cluster_is_passed_on() {
        let mut namespaces = Namespaces::new(1);
        assert_eq!(listed(namespaces.merge(0, Change::Listed([key("a", "1")].into()))).unwrap(), ["a/1"]);
    }
}
