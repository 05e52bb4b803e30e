//! Who may run now: a bounded number a node and overall, those who wait for a first verdict before all others.
//!
//! Every operation costs O(log n), also while a node has all its slots taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::time::Instant;

use super::pod_view::PodKey;

/// Slots of a node whose last check hung: enough to see that it is back, too few to hold up the others.
const PER_DOUBTFUL_NODE: usize = 1;

/// How many at the same time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caps {
    pub(super) overall: usize,
    pub(super) per_node: usize,
}

/// A place in the queue: first looks at new containers, then the longest overdue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    pub(super) routine: bool,
    pub(super) due: Instant,
    pub(super) key: Arc<PodKey>,
}

/// The slots, and the queues before them.
#[derive(Debug)]
pub(super) struct Slots {
    caps: Caps,
    running: usize,
    /// A tree, which gives its memory back after a rush; thousands of nodes wait at a start, and none an hour later.
    nodes: BTreeMap<Arc<str>, Node>,
    /// The first in the queue of each node with a free slot.
    open: BTreeSet<(Turn, Arc<str>)>,
}

#[derive(Debug, Default)]
struct Node {
    running: usize,
    doubtful: bool,
    queue: BTreeSet<Turn>,
}

impl Slots {
    pub(super) fn new(caps: Caps) -> Self {
        Self { caps, running: 0, nodes: BTreeMap::new(), open: BTreeSet::new() }
    }

    /// Queues up for a slot of the node.
    pub(super) fn join(&mut self, node: &Arc<str>, turn: Turn) {
        self.change(node, |node| {
            node.queue.insert(turn);
        });
    }

    /// Leaves the queue.
    pub(super) fn leave(&mut self, node: &Arc<str>, turn: &Turn) {
        self.change(node, |node| {
            node.queue.remove(turn);
        });
    }

    /// Gives a free slot, of this node, to whose turn it is; [`Slots::free`] must follow.
    pub(super) fn take(&mut self) -> Option<(Arc<PodKey>, Arc<str>)> {
        if self.running >= self.caps.overall {
            return None;
        }
        let (turn, node) = self.open.first().cloned()?;
        self.running += 1;
        self.change(&node, |node| {
            node.running += 1;
            node.queue.remove(&turn);
        });
        Some((turn.key, node))
    }

    /// Gives a slot back, and says whether its owner hung.
    pub(super) fn free(&mut self, node: &Arc<str>, hung: bool) {
        self.running = self.running.saturating_sub(1);
        self.change(node, |node| {
            node.running = node.running.saturating_sub(1);
            node.doubtful = hung;
        });
    }

    /// Changes a node, keeps `open` true, and forgets the node when nothing is known of it.
    fn change(&mut self, name: &Arc<str>, change: impl FnOnce(&mut Node)) {
        let per_node = self.caps.per_node;
        let node = self.nodes.entry(Arc::clone(name)).or_default();
        if let Some(turn) = node.next(per_node) {
            self.open.remove(&(turn, Arc::clone(name)));
        }
        change(node);
        if let Some(turn) = node.next(per_node) {
            self.open.insert((turn, Arc::clone(name)));
        }
        if node.running == 0 && node.queue.is_empty() && !node.doubtful {
            self.nodes.remove(name);
        }
    }
}

impl Node {
    fn next(&self, per_node: usize) -> Option<Turn> {
        let cap = if self.doubtful { PER_DOUBTFUL_NODE.min(per_node) } else { per_node };
        if self.running < cap { self.queue.first().cloned() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Bench {
        slots: Slots,
        start: Instant,
    }

    impl Bench {
        fn new(overall: usize, per_node: usize) -> Self {
            Self { slots: Slots::new(Caps { overall, per_node }), start: Instant::now() }
        }

        fn turn(&self, name: &str, routine: bool, due: u64) -> Turn {
            let key = Arc::new(PodKey { namespace: "n".to_owned(), name: name.to_owned() });
            Turn { routine, due: self.start + Duration::from_secs(due), key }
        }

        fn join(&mut self, node: &str, name: &str, routine: bool, due: u64) {
            let turn = self.turn(name, routine, due);
            self.slots.join(&node.into(), turn);
        }

        /// Names of all that may start now.
        fn started(&mut self) -> Vec<String> {
            std::iter::from_fn(|| self.slots.take()).map(|(key, _)| key.name.clone()).collect()
        }
    }

    #[test]
    fn first_looks_come_before_the_longest_overdue() {
        let mut bench = Bench::new(9, 9);
        bench.join("x", "overdue", true, 1);
        bench.join("y", "due", true, 2);
        bench.join("x", "new", false, 3);
        assert_eq!(bench.started(), ["new", "overdue", "due"]);
    }

    #[test]
    fn both_caps_hold_and_a_freed_slot_is_given_on() {
        let mut bench = Bench::new(3, 2);
        for (n, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            bench.join("x", name, true, n as u64);
        }
        bench.join("y", "e", true, 8);
        bench.join("y", "f", true, 9);
        assert_eq!(bench.started(), ["a", "b", "e"], "two of node x, three overall");
        bench.slots.free(&"y".into(), false);
        assert_eq!(bench.started(), ["f"], "node x is full, whoever waits there");
        bench.slots.free(&"x".into(), false);
        assert_eq!(bench.started(), ["c"]);
    }

    #[test]
    fn a_node_that_hangs_gets_one_slot_until_it_answers() {
        let mut bench = Bench::new(9, 4);
        for (n, name) in ["a", "b", "c", "d", "e", "f", "g"].into_iter().enumerate() {
            bench.join("x", name, true, n as u64);
        }
        assert_eq!(bench.started().len(), 4);
        for _ in 0..4 {
            bench.slots.free(&"x".into(), true);
        }
        assert_eq!(bench.started(), ["e"]);
        bench.slots.free(&"x".into(), false);
        assert_eq!(bench.started(), ["f", "g"]);
    }

    #[test]
    fn who_left_is_not_called_and_nothing_is_kept_of_quiet_nodes() {
        let mut bench = Bench::new(9, 1);
        bench.join("x", "a", true, 1);
        bench.join("x", "b", true, 2);
        let a = bench.turn("a", true, 1);
        bench.slots.leave(&"x".into(), &a);
        assert_eq!(bench.started(), ["b"]);
        bench.slots.free(&"x".into(), false);
        assert!(bench.slots.nodes.is_empty() && bench.slots.open.is_empty() && bench.slots.running == 0);
    }
}
