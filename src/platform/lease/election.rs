//! What to do next about a lease: a pure function of what was read, what was written, and when.
//!
//! All times are those of one clock of this process that never goes back.

use std::time::Duration;

/// Shape of an election; that of the Kubernetes components by default.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// A record that was seen unchanged for so long may be taken over.
    pub life: Duration,
    /// The holder ends its work so long after the start of its last successful write. Shorter than `life`: what
    /// it had already sent gets the difference to arrive.
    pub give_up: Duration,
    /// Between two renewals, and between two looks of those who wait.
    pub pause: Duration,
    /// Deadline of each call.
    pub call: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            life: Duration::from_secs(15),
            give_up: Duration::from_secs(10),
            pause: Duration::from_secs(2),
            call: Duration::from_secs(4),
        }
    }
}

/// The lease as the API server showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Empty: nobody.
    pub(super) holder: String,
    /// How often the holder changed.
    pub(super) transitions: i32,
    /// Changes with every write.
    pub(super) version: String,
    /// How long its holder wants to be trusted.
    pub(super) life: Duration,
}

/// Why a holder leads no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// No write succeeded in time.
    Deadline,
    /// Somebody else stands in the record.
    TakenOver,
    /// The object is gone, so that anybody may make it anew.
    Deleted,
}

/// The next thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Read the record.
    Read,
    /// Write ourselves into the record that was read last, or into a new one.
    Write { transitions: i32 },
    /// Nothing for so long.
    Wait(Duration),
    /// Stop all work, at once.
    Lost(Loss),
}

/// One contender's view.
#[derive(Debug)]
pub(super) struct Election {
    identity: String,
    timing: Timing,
    /// Between 0 and 1; spreads contenders that started together.
    jitter: fn() -> f64,
    /// What was read last (`None`: no object), and since when it has been seen so.
    seen: Option<(Option<Record>, Duration)>,
    /// Whether `seen` is recent enough to write over it.
    current: bool,
    due: Duration,
    held_until: Option<Duration>,
    loss: Option<Loss>,
}

impl Election {
    pub(super) fn new(identity: String, timing: Timing, jitter: fn() -> f64) -> Self {
        Self { identity, timing, jitter, seen: None, current: false, due: Duration::ZERO, held_until: None, loss: None }
    }

    /// The deadline of a holder.
    pub(super) fn held_until(&self) -> Option<Duration> {
        self.held_until
    }

    pub(super) fn next(&self, now: Duration) -> Next {
        match (self.loss, self.held_until) {
            (Some(loss), _) => return Next::Lost(loss),
            (None, Some(until)) if now >= until => return Next::Lost(Loss::Deadline),
            _ => {}
        }
        let due = self.held_until.map_or(self.due, |until| self.due.min(until));
        if now < due {
            return Next::Wait(due.saturating_sub(now));
        }
        if !self.current {
            return Next::Read;
        }
        let before = self.seen.as_ref().and_then(|(record, _)| record.as_ref());
        let stays = before.is_none_or(|record| record.holder == self.identity);
        let transitions = before.map_or(0, |record| record.transitions);
        Next::Write { transitions: if stays { transitions } else { transitions.saturating_add(1) } }
    }

    /// The record was read; `None`: there is none.
    pub(super) fn read(&mut self, record: Option<Record>, now: Duration) {
        if self.held_until.is_some() {
            match record {
                None => self.loss = Some(Loss::Deleted),
                Some(record) if record.holder != self.identity => self.loss = Some(Loss::TakenOver),
                Some(record) => {
                    self.seen = Some((Some(record), now));
                    self.current = true;
                    self.due = now;
                }
            }
            return;
        }
        self.seen = Some(match self.seen.take() {
            Some((known, since)) if known == record => (known, since),
            _ => (record, now),
        });
        self.current = self.may_claim(now);
        self.due = if self.current { now } else { now + self.spread(self.timing.pause) };
    }

    /// Our write was accepted, and this is what stands now. `started`: before it was sent.
    pub(super) fn wrote(&mut self, record: Record, started: Duration, now: Duration) {
        self.seen = Some((Some(record), now));
        self.current = true;
        self.held_until = Some(started + self.timing.give_up);
        self.due = started + self.spread(self.timing.pause);
    }

    /// Our write was refused, because the record is another one by now.
    pub(super) fn refused(&mut self, now: Duration) {
        self.current = false;
        self.due = now + self.spread(self.timing.pause / 8);
    }

    /// A call gave no answer, or an error. A write may have been made all the same: the next one says.
    pub(super) fn failed(&mut self, now: Duration) {
        self.current &= self.held_until.is_some();
        let pause = if self.held_until.is_some() { self.timing.pause / 4 } else { self.timing.pause };
        self.due = now + self.spread(pause);
    }

    fn may_claim(&self, now: Duration) -> bool {
        let Some((record, since)) = &self.seen else { return false };
        let unchanged = now.saturating_sub(*since);
        match record {
            // Whoever held it until it was deleted may not have noticed yet; and an uninstall that took it away is about
            // to end this process, and must not find it made anew.
            None => unchanged >= self.timing.life,
            // Free, or our own claim, whose answer was lost.
            Some(record) if record.holder.is_empty() || record.holder == self.identity => true,
            Some(record) => unchanged >= record.life.max(self.timing.life),
        }
    }

    fn spread(&self, pause: Duration) -> Duration {
        pause.mul_f64(1.0 + 0.2 * (self.jitter)())
    }
}

#[cfg(test)]
#[path = "election_tests.rs"]
mod tests;
