//! Request bodies in memory, all of them together: no more than a fixed sum.
//!
//! Beyond it the largest is given up, so that a few large ones cannot keep an ordinary review out. Nor can they take its
//! time: of the long ones two are read and answered at a time, and what waits for its turn stays in its socket.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::body::{Body, HttpBody};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Largest sum in bytes; two of the largest bodies, or 2,000 ordinary ones.
pub(super) const ALL_BODIES: usize = 16 * 1024 * 1024;
/// A longer one waits for its turn; an ordinary review is 30 times shorter.
const LONG: usize = 256 * 1024;
/// Long ones at a time.
const TURNS: usize = 2;
/// Longest time to wait for a turn.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// First allocation for a body of unknown length.
const FIRST: usize = 16 * 1024;

/// Cheap to clone; all clones share the sum and the turns.
#[derive(Debug, Clone)]
pub(super) struct Bodies {
    held: Arc<Mutex<Held>>,
    turns: Arc<Semaphore>,
}

impl Default for Bodies {
    fn default() -> Self {
        Self { held: Arc::default(), turns: Arc::new(Semaphore::new(TURNS)) }
    }
}

#[derive(Debug, Default)]
struct Held {
    sum: usize,
    next: u64,
    each: HashMap<u64, Share>,
}

#[derive(Debug)]
struct Share {
    bytes: usize,
    give_up: CancellationToken,
}

/// A body that was read to its end. Counts until it is dropped.
#[derive(Debug)]
pub(super) struct Whole {
    bytes: Vec<u8>,
    turn: Option<OwnedSemaphorePermit>,
    _room: Room,
}

/// Why a body was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// Larger than one may be.
    TooLarge,
    /// The largest when all together became too many.
    NoRoom,
    /// Long, and others were for too long.
    NoTurn,
    /// The connection broke.
    Broken,
}

#[derive(Debug)]
struct Room {
    bodies: Bodies,
    id: u64,
    give_up: CancellationToken,
}

impl Whole {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Gives its memory back, but not yet its turn.
    pub(super) fn clear(&mut self) {
        self.bytes = Vec::new();
    }

    /// Whether reading it as a review takes so long that others would wait for the thread.
    pub(super) fn is_long(&self) -> bool {
        self.turn.is_some()
    }
}

impl Bodies {
    /// Reads a body of at most `longest` bytes.
    pub(super) async fn read(&self, mut body: Body, longest: usize) -> Result<Whole, Cut> {
        let room = self.enter();
        let declared = body.size_hint().exact().and_then(|length| usize::try_from(length).ok());
        if declared.is_some_and(|length| length > longest) {
            return Err(Cut::TooLarge);
        }
        let mut bytes = Vec::new();
        // Before its first byte is read, if its length is known.
        let mut turn = self.turn(declared.unwrap_or_default()).await?;
        loop {
            let frame = tokio::select! {
                biased;
                () = room.give_up.cancelled() => return Err(Cut::NoRoom),
                frame = body.frame() => frame,
            };
            let Some(frame) = frame else { return Ok(Whole { bytes, turn, _room: room }) };
            let Ok(data) = frame.map_err(|_| Cut::Broken)?.into_data() else { continue };
            let length = bytes.len() + data.len();
            if length > longest {
                return Err(Cut::TooLarge);
            }
            if turn.is_none() {
                turn = self.turn(length).await?;
            }
            // Pages that are not written to are not there: what is declared costs nothing before it comes.
            if bytes.capacity() < length {
                let room = declared.unwrap_or((2 * length).max(FIRST)).max(length);
                bytes.reserve_exact(room - bytes.len());
            }
            room.grow(data.len())?;
            bytes.extend_from_slice(&data);
        }
    }

    /// `None`: it is so short that it needs none.
    async fn turn(&self, length: usize) -> Result<Option<OwnedSemaphorePermit>, Cut> {
        if length <= LONG {
            return Ok(None);
        }
        match tokio::time::timeout(LONGEST_WAIT, self.turns.clone().acquire_owned()).await {
            Ok(Ok(turn)) => Ok(Some(turn)),
            _ => Err(Cut::NoTurn),
        }
    }

    fn enter(&self) -> Room {
        let mut held = self.lock();
        let id = held.next;
        held.next += 1;
        let give_up = CancellationToken::new();
        held.each.insert(id, Share { bytes: 0, give_up: give_up.clone() });
        Room { bodies: self.clone(), id, give_up }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn leave(&mut self, id: u64) -> Option<Share> {
        let share = self.each.remove(&id)?;
        self.sum -= share.bytes;
        Some(share)
    }
}

impl Room {
    fn grow(&self, bytes: usize) -> Result<(), Cut> {
        let mut held = self.bodies.lock();
        let Some(share) = held.each.get_mut(&self.id) else { return Err(Cut::NoRoom) };
        share.bytes += bytes;
        held.sum += bytes;
        while held.sum > ALL_BODIES {
            let Some(largest) = held.each.iter().max_by_key(|(id, share)| (share.bytes, **id)).map(|(id, _)| *id)
            else {
                break;
            };
            if let Some(share) = held.leave(largest) {
                share.give_up.cancel();
            }
            if largest == self.id {
                return Err(Cut::NoRoom);
            }
        }
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.bodies.lock().leave(self.id);
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use tokio::task::JoinSet;

    use super::*;

    const LONGEST: usize = 8 << 20;

    fn sum(bodies: &Bodies) -> (usize, usize) {
        let held = bodies.lock();
        (held.sum, held.each.len())
    }

    #[tokio::test]
    async fn the_largest_is_given_up_and_the_small_ones_are_read() {
        let bodies = Bodies::default();
        let small = bodies.read(Body::from(vec![b' '; 7_400]), LONGEST).await.unwrap();
        let first = bodies.read(Body::from(vec![b' '; LONGEST - 1]), LONGEST).await.unwrap();
        // It waits for its end, which does not come.
        let (sender, chunks) = futures::channel::mpsc::unbounded::<Result<Bytes, std::io::Error>>();
        let mut waiting = JoinSet::new();
        waiting.spawn({
            let bodies = bodies.clone();
            async move { bodies.read(Body::from_stream(chunks), LONGEST).await }
        });
        sender.unbounded_send(Ok(Bytes::from(vec![b' '; LONGEST]))).unwrap();
        assert_eq!(
            waiting.join_next().await.unwrap().unwrap().unwrap_err(),
            Cut::NoRoom,
            "the largest one itself went over the sum"
        );
        assert_eq!(sum(&bodies), (7_400 + LONGEST - 1, 2));

        let another = bodies.read(Body::from(vec![b' '; 7_400]), LONGEST).await.unwrap();
        assert_eq!(another.bytes().len(), 7_400);
        drop((small, first, another));
        assert_eq!(sum(&bodies), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_one_waits_for_its_turn_and_a_short_one_does_not() {
        let bodies = Bodies::default();
        let read = |length| {
            let bodies = bodies.clone();
            async move { bodies.read(Body::from(vec![b' '; length]), LONGEST).await }
        };
        let held = [read(LONG + 1).await.unwrap(), read(LONG + 1).await.unwrap()];
        assert!(held.iter().all(Whole::is_long));
        assert!(!read(LONG).await.unwrap().is_long());
        assert_eq!(read(LONG + 1).await.unwrap_err(), Cut::NoTurn);
        let unsized_body = Body::from_stream(futures::stream::iter([Ok::<_, std::io::Error>(vec![b' '; LONG + 1])]));
        assert_eq!(bodies.read(unsized_body, LONGEST).await.unwrap_err(), Cut::NoTurn);
        drop(held);
        assert!(read(LONG + 1).await.unwrap().is_long());
    }

    #[tokio::test]
    async fn one_that_only_holds_room_makes_room() {
        let bodies = Bodies::default();
        let (sender, chunks) = futures::channel::mpsc::unbounded::<Result<Bytes, std::io::Error>>();
        let mut holding = JoinSet::new();
        holding.spawn({
            let bodies = bodies.clone();
            async move { bodies.read(Body::from_stream(chunks), LONGEST).await }
        });
        sender.unbounded_send(Ok(Bytes::from(vec![b' '; LONGEST]))).unwrap();
        while sum(&bodies).0 < LONGEST {
            tokio::task::yield_now().await;
        }
        let first = bodies.read(Body::from(vec![b' '; LONGEST - 100]), LONGEST).await.unwrap();
        let review = bodies.read(Body::from(vec![b' '; 7_400]), LONGEST).await.unwrap();
        assert_eq!(holding.join_next().await.unwrap().unwrap().unwrap_err(), Cut::NoRoom);
        assert_eq!(sum(&bodies), (first.bytes().len() + review.bytes().len(), 2));
    }
}
