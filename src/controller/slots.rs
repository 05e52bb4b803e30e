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
    /// Of those of a node, how many may be routine,
    pub(super) routine: usize,
    /// and how many beside a first one: a node that starts containers has no processor to spare.
    pub(super) beside_first: usize,
}

/// A slot that is taken.
#[derive(Debug)]
pub(super) struct Seat {
    node: Arc<str>,
    routine: bool,
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
    first: usize,
    routine: usize,
    doubtful: bool,
    queue: BTreeSet<Turn>,
}

impl Slots {
    pub(super) fn new(caps: Caps) -> Self {
        Self { caps, running: 0, nodes: BTreeMap::new(), open: BTreeSet::new() }
    }

    /// How many slots are taken.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.running
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
    pub(super) fn take(&mut self) -> Option<(Arc<PodKey>, Seat)> {
        if self.running >= self.caps.overall {
            return None;
        }
        let (turn, node) = self.open.first().cloned()?;
        self.running += 1;
        let seat = Seat { node, routine: turn.routine };
        self.change(&seat.node, |node| {
            *node.taken(seat.routine) += 1;
            node.queue.remove(&turn);
        });
        Some((turn.key, seat))
    }

    /// Gives a slot back, and says whether its owner hung; `None`: nobody knows.
    pub(super) fn free(&mut self, seat: &Seat, hung: impl Into<Option<bool>>) {
        self.running = self.running.saturating_sub(1);
        self.change(&seat.node, |node| {
            let taken = node.taken(seat.routine);
            *taken = taken.saturating_sub(1);
            node.doubtful = hung.into().unwrap_or(node.doubtful);
        });
    }

    /// Changes a node, keeps `open` true, and forgets the node when nothing is known of it.
    fn change(&mut self, name: &Arc<str>, change: impl FnOnce(&mut Node)) {
        let caps = self.caps;
        let node = self.nodes.entry(Arc::clone(name)).or_default();
        if let Some(turn) = node.next(caps) {
            self.open.remove(&(turn, Arc::clone(name)));
        }
        change(node);
        if let Some(turn) = node.next(caps) {
            self.open.insert((turn, Arc::clone(name)));
        }
        if node.first + node.routine == 0 && node.queue.is_empty() && !node.doubtful {
            self.nodes.remove(name);
        }
    }
}

impl Node {
    fn taken(&mut self, routine: bool) -> &mut usize {
        if routine { &mut self.routine } else { &mut self.first }
    }

    fn next(&self, caps: Caps) -> Option<Turn> {
        let all = if self.doubtful { PER_DOUBTFUL_NODE.min(caps.per_node) } else { caps.per_node };
        let routine = if self.first == 0 { caps.routine } else { caps.beside_first };
        let turn = self.queue.first().filter(|turn| !turn.routine || self.routine < routine)?;
        (self.first + self.routine < all).then(|| turn.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Bench {
        slots: Slots,
        seats: Vec<Seat>,
        start: Instant,
    }

    impl Bench {
        fn new(overall: usize, per_node: usize, routine: usize) -> Self {
            let slots = Slots::new(Caps { overall, per_node, routine, beside_first: 1 });
            Self { slots, seats: Vec::new(), start: Instant::now() }
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
            let mut names = Vec::new();
            while let Some((key, seat)) = self.slots.take() {
                names.push(key.name.clone());
                self.seats.push(seat);
            }
            names
        }

        /// Gives back the slot of this node that was taken first.
        fn free(&mut self, node: &str, hung: bool) {
            let at = self.seats.iter().position(|seat| *seat.node == *node).unwrap();
            self.slots.free(&self.seats.remove(at), hung);
        }
    }

    #[test]
    fn first_looks_come_before_the_longest_overdue() {
        let mut bench = Bench::new(9, 9, 9);
        bench.join("x", "overdue", true, 1);
        bench.join("y", "due", true, 2);
        bench.join("x", "new", false, 3);
        assert_eq!(bench.started(), ["new", "overdue", "due"]);
    }

    #[test]
    fn beside_first_looks_one_other_goes_on() {
        let mut bench = Bench::new(9, 6, 3);
        for (n, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            bench.join("x", name, true, n as u64);
        }
        bench.join("x", "new", false, 9);
        assert_eq!(bench.started(), ["new", "a"]);
        bench.free("x", false);
        assert_eq!(bench.started(), ["b", "c"], "the first look is over: three of them");
        for name in ["e", "f", "g", "h"] {
            bench.join("x", name, false, 9);
        }
        assert_eq!(bench.started(), ["e", "f", "g"], "first looks take every slot");
    }

    #[test]
    fn both_caps_hold_and_a_freed_slot_is_given_on() {
        let mut bench = Bench::new(3, 2, 2);
        for (n, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            bench.join("x", name, true, n as u64);
        }
        bench.join("y", "e", true, 8);
        bench.join("y", "f", true, 9);
        assert_eq!(bench.started(), ["a", "b", "e"], "two of node x, three overall");
        bench.free("y", false);
        assert_eq!(bench.started(), ["f"], "node x is full, whoever waits there");
        bench.free("x", false);
        assert_eq!(bench.started(), ["c"]);
    }

    #[test]
    fn a_node_that_hangs_gets_one_slot_until_it_answers() {
        let mut bench = Bench::new(9, 4, 4);
        for (n, name) in ["a", "b", "c", "d", "e", "f", "g"].into_iter().enumerate() {
            bench.join("x", name, true, n as u64);
        }
        assert_eq!(bench.started().len(), 4);
        for _ in 0..4 {
            bench.free("x", true);
        }
        assert_eq!(bench.started(), ["e"]);
        bench.free("x", false);
        assert_eq!(bench.started(), ["f", "g"]);
    }

    #[test]
    fn who_left_is_not_called_and_nothing_is_kept_of_quiet_nodes() {
        let mut bench = Bench::new(9, 1, 1);
        bench.join("x", "a", true, 1);
        bench.join("x", "b", true, 2);
        let a = bench.turn("a", true, 1);
        bench.slots.leave(&"x".into(), &a);
        assert_eq!(bench.started(), ["b"]);
        bench.free("x", false);
        assert!(bench.slots.nodes.is_empty() && bench.slots.open.is_empty() && bench.slots.running == 0);
    }
}
