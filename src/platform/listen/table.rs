//! Who is connected, in which stage and since when.

use std::{
    cmp::Reverse,
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::metrics::{Closed, Metrics};

/// How long an idle connection that was asked to go may take to do so.
const FAREWELL: Duration = Duration::from_secs(10);
/// A request that is younger keeps its connection: it is work, not an attempt to hold a place.
const WORK: Duration = Duration::from_secs(1);

/// How many connections there may be, and how long each stage may last.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// From the connection to the end of its TLS handshake.
    pub handshake: Duration,
    /// From the first byte of a request to the end of its headers; HTTP/1 only, HTTP/2 has pings.
    pub headers: Duration,
    /// Without a request.
    pub idle: Duration,
    /// From the headers of a request to its answer.
    pub request: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Handshake,
    Idle,
    Headers,
    Request,
}

/// All connections of a listener.
#[derive(Debug)]
pub(super) struct Table {
    limits: Limits,
    metrics: Metrics,
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    next: u64,
    each: HashMap<u64, Arc<Connection>>,
    /// By the address they come from, those that are strangers.
    strangers: HashMap<IpAddr, Weak<()>>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Connection {
    state: Mutex<State>,
    /// To be closed when what is under way has ended.
    pub(super) leave: CancellationToken,
    /// To be closed at once.
    pub(super) drop: CancellationToken,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    since: Instant,
    requests: usize,
    /// Until it has had an answer to something that this process serves, which what only holds a place never has. As many
    /// of them exist as strangers from its address.
    stranger: Option<Arc<()>>,
    /// When it was last of use: since it came, or since its last answer.
    useful: Instant,
}

/// A place in the table, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    table: Arc<Table>,
    id: u64,
    pub(super) connection: Arc<Connection>,
}

impl Table {
    pub(super) fn new(limits: Limits, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self { limits, metrics, rows: Mutex::default() })
    }

    /// A place for one more. When all are taken, that goes which has been of no use for longest: those first that never
    /// were, and of them those from the address that has most; none when all of them are at work.
    pub(super) fn enter(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let mut rows = lock(&self.rows);
        if rows.each.len() >= self.limits.connections && !self.displace(&mut rows) {
            self.metrics.closed(Closed::Refused);
            return None;
        }
        let id = rows.next;
        rows.next += 1;
        let connection = Arc::new(Connection::new(rows.stranger(from)));
        rows.each.insert(id, connection.clone());
        self.metrics.open.inc();
        Some(Place { table: self.clone(), id, connection })
    }

    /// Frees a place, as when the process has no file descriptors left.
    pub(super) fn make_room(&self) {
        self.displace(&mut lock(&self.rows));
    }

    fn displace(&self, rows: &mut Rows) -> bool {
        let now = Instant::now();
        let ranks = rows.each.iter().filter_map(|(id, connection)| Some((connection.rank(now)?, *id)));
        let Some((_, id)) = ranks.min() else { return false };
        if let Some(connection) = rows.each.remove(&id) {
            connection.drop.cancel();
            lock(&connection.state).stranger = None;
            self.metrics.open.dec();
            self.metrics.closed(Closed::Displaced);
        }
        true
    }

    /// Closes what has been in a stage for too long.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        let mut rows = lock(&self.rows);
        for connection in rows.each.values() {
            connection.sweep(&self.limits, now, &self.metrics);
        }
        rows.strangers.retain(|_, strangers| strangers.strong_count() > 0);
    }

    /// Asks all to go when what is under way has ended, or at once.
    pub(super) fn close_all(&self, at_once: bool) {
        for connection in lock(&self.rows).each.values() {
            if at_once { connection.drop.cancel() } else { connection.leave.cancel() }
        }
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.rows).each.len()
    }
}

impl Rows {
    fn stranger(&mut self, from: IpAddr) -> Arc<()> {
        let others = self.strangers.entry(from).or_default();
        others.upgrade().unwrap_or_else(|| {
            let first = Arc::new(());
            *others = Arc::downgrade(&first);
            first
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if lock(&self.table.rows).each.remove(&self.id).is_some() {
            self.table.metrics.open.dec();
        }
    }
}

impl Connection {
    fn new(stranger: Arc<()>) -> Self {
        let now = Instant::now();
        let state = State { stage: Stage::Handshake, since: now, requests: 0, stranger: Some(stranger), useful: now };
        Self { state: Mutex::new(state), leave: CancellationToken::new(), drop: CancellationToken::new() }
    }

    /// The handshake is done.
    pub(super) fn ready(&self) {
        lock(&self.state).enter(Stage::Idle, Instant::now());
    }

    /// Bytes came; the first ones after an answer begin a request.
    pub(super) fn heard(&self) {
        let mut state = lock(&self.state);
        if state.stage == Stage::Idle {
            state.enter(Stage::Headers, Instant::now());
        }
    }

    /// A request with all of its headers is there.
    pub(super) fn begin(self: &Arc<Self>) -> Work {
        let mut state = lock(&self.state);
        state.requests += 1;
        state.enter(Stage::Request, Instant::now());
        Work { connection: self.clone(), served: false }
    }

    /// The lowest goes first; `None`: does not go.
    fn rank(&self, now: Instant) -> Option<(bool, Reverse<usize>, Instant)> {
        let state = lock(&self.state);
        let at_work = state.stage == Stage::Request && now.duration_since(state.since) < WORK;
        let strangers = state.stranger.as_ref().map_or(0, Arc::strong_count);
        (!at_work).then_some((state.stranger.is_none(), Reverse(strangers), state.useful))
    }

    fn sweep(&self, limits: &Limits, now: Instant, metrics: &Metrics) {
        let state = lock(&self.state);
        let (longest, reason) = match state.stage {
            Stage::Handshake => (limits.handshake, Closed::Handshake),
            Stage::Headers => (limits.headers, Closed::Headers),
            Stage::Request => (limits.request, Closed::Request),
            Stage::Idle => (limits.idle, Closed::Idle),
        };
        let lasted = now.duration_since(state.since);
        // What is idle is told, so that HTTP/2 says goodbye.
        if state.stage == Stage::Idle && lasted >= longest && !self.leave.is_cancelled() {
            metrics.closed(reason);
            self.leave.cancel();
        } else if state.stage == Stage::Idle && lasted >= longest + FAREWELL {
            self.drop.cancel();
        } else if state.stage != Stage::Idle && lasted >= longest && !self.drop.is_cancelled() {
            metrics.closed(reason);
            self.drop.cancel();
        }
    }
}

impl State {
    fn enter(&mut self, stage: Stage, now: Instant) {
        self.stage = stage;
        self.since = now;
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Work {
    connection: Arc<Connection>,
    served: bool,
}

impl Work {
    /// Answered, and with something that this process is there for.
    pub(super) fn served(mut self) {
        self.served = true;
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = lock(&self.connection.state);
        state.requests -= 1;
        if self.served {
            state.stranger = None;
            state.useful = now;
        }
        if state.requests == 0 {
            state.enter(Stage::Idle, now);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
