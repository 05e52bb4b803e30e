//! How long to wait between two looks into the same containers.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use kube::runtime::{utils::Backoff, watcher::DefaultBackoff};

use super::check::Ended;

/// Pauses between the tries of a watch: up to 30 s, and short again when it has gone well for two minutes. kube's own begin
/// anew at each list, because a watcher says that it begins one before that can fail.
#[derive(Default)]
pub(super) struct OfWatch(DefaultBackoff);

impl Iterator for OfWatch {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next()
    }
}

impl Backoff for OfWatch {
    fn reset(&mut self) {}
}

/// Pauses after the first checks of a container: it is looked at when it starts and again
/// 2, 5, 15 and 60 s later, because daemons lock after they have set up.
const FIRST_PAUSES: [Duration; 4] =
    [Duration::from_secs(2), Duration::from_secs(3), Duration::from_secs(10), Duration::from_secs(45)];
/// After a look that failed, doubled each time up to the interval.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// Shortest pause after an exec that did not end, doubled each time: its process may still hang in the container.
const AFTER_HANG: Duration = Duration::from_mins(5);
/// Where that doubling ends.
const LONGEST: Duration = Duration::from_hours(1);
/// Before a lock that was just seen, and is gone at the next look, is looked for once more: a program that somebody runs
/// in the container for a moment is a process of it, without a lock. With the look itself two seconds.
pub(super) const BEFORE_A_LOSS: Duration = Duration::from_millis(1_500);
/// That, with two looks and a write.
const TO_BE_SURE: Duration = Duration::from_secs(2);
/// Over how long looks are spread at containers whose locks were seen before the controller was restarted.
const SPREAD: Duration = Duration::from_mins(1);

/// Looks after which only the interval counts.
pub(super) const FIRST_CHECKS: usize = FIRST_PAUSES.len();

/// The pause after the `turn`th look, with so many before it in a row that did not go through.
pub(super) fn after(ended: Ended, turn: usize, failures: u32, interval: Duration) -> Duration {
    match ended {
        Ended::Spared | Ended::Through | Ended::Unread => {
            let routine = routine(interval);
            FIRST_PAUSES.get(turn).copied().unwrap_or(routine).min(routine)
        }
        Ended::Failed => doubled(AFTER_FAILURE, failures).min(interval),
        Ended::Hung => doubled(interval.max(AFTER_HANG), failures).min(interval.max(LONGEST)),
    }
}

/// So that a loss is told within the interval: jitter, and the look that makes sure of it, are part of that.
fn routine(interval: Duration) -> Duration {
    interval.saturating_sub(TO_BE_SURE).max(interval / 2) * 10 / 11
}

/// The pause, twice as long after each failure.
pub(super) fn doubled(pause: Duration, failures: u32) -> Duration {
    pause.saturating_mul(1 << failures.min(16))
}

/// Spreads pods over a tenth around the pause, the same way each time.
pub(super) fn jittered(pause: Duration, uid: &str, turn: usize) -> Duration {
    pause.saturating_mul(thousandths(uid, turn) / 5 + 900) / 1000
}

/// A moment for this pod within the first minute, or the interval: thousands must not begin at once.
pub(super) fn spread(uid: &str, interval: Duration) -> Duration {
    SPREAD.min(interval).saturating_mul(thousandths(uid, 0)) / 1000
}

fn thousandths(uid: &str, turn: usize) -> u32 {
    let mut hasher = DefaultHasher::new();
    (uid, turn).hash(&mut hasher);
    u32::try_from(hasher.finish() % 1000).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_watch_that_keeps_failing_is_tried_ever_less_often() {
        let mut pauses = OfWatch::default();
        let mut last = Duration::ZERO;
        for _ in 0..10 {
            last = pauses.next().unwrap();
            // The watcher says that it begins a list.
            pauses.reset();
        }
        assert!(last >= Duration::from_secs(15), "{last:?}");
    }

    const INTERVAL: Duration = Duration::from_mins(5);

    #[rstest]
    #[case::a_start(Ended::Through, &[2, 3, 10, 45, 270, 270])]
    #[case::failures(Ended::Failed, &[2, 4, 8, 16, 32, 64, 128, 256, 300, 300])]
    #[case::hangs(Ended::Hung, &[300, 600, 1200, 2400, 3600, 3600])]
    fn pauses_grow_to_a_cap(#[case] ended: Ended, #[case] seconds: &[u64]) {
        let failed = |turn: u32| if ended == Ended::Through { 0 } else { turn };
        let pauses = (0..).zip(0..).take(seconds.len()).map(|(n, turn)| after(ended, n, failed(turn), INTERVAL));
        assert_eq!(pauses.map(|pause| pause.as_secs()).collect::<Vec<_>>(), seconds);
    }

    #[test]
    fn no_pause_is_longer_than_the_interval_unless_a_process_may_hang() {
        let interval = Duration::from_secs(10);
        assert!((0..9).all(|n| after(Ended::Through, n, 0, interval) <= interval));
        assert!((0..9).all(|n| after(Ended::Failed, 0, n, interval) <= interval));
        assert_eq!(after(Ended::Hung, 0, 0, interval), AFTER_HANG);
        assert_eq!(after(Ended::Hung, 0, u32::MAX, Duration::from_hours(24)), Duration::from_hours(24));
    }

    #[rstest]
    #[case(1)]
    #[case(10)]
    #[case(300)]
    fn a_loss_is_told_within_the_interval(#[case] seconds: u64) {
        let interval = Duration::from_secs(seconds);
        let pause = after(Ended::Through, FIRST_CHECKS, 0, interval);
        let longest = (0..1_000).map(|turn| jittered(pause, "uid", turn)).max().unwrap();
        let sure = TO_BE_SURE.min(interval / 2);
        assert!(longest + sure <= interval && longest + sure > interval * 9 / 10, "{longest:?}");
    }

    #[test]
    fn pods_are_spread_evenly() {
        let mut seconds = [0; 60];
        for n in 0..6_000 {
            let at = spread(&format!("uid-{n}"), INTERVAL);
            seconds[usize::try_from(at.as_secs()).unwrap()] += 1;
        }
        assert!(seconds.iter().all(|count| (60..140).contains(count)), "{seconds:?}");
    }
}
