//! Time since boot, also while the machine slept.

use std::{fmt, sync::Arc, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// Cheap to clone. `Instant` would not do: it stands still while a virtual machine is suspended, and a leader that
/// wakes up would believe in a lease that ended long ago.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Clock {
    /// `CLOCK_BOOTTIME` (`clock_gettime(2)`): nobody can set it, and it counts suspended time.
    #[must_use]
    pub fn boot() -> Self {
        Self::new(|| {
            let time = clock_gettime(ClockId::Boottime);
            Duration::new(
                u64::try_from(time.tv_sec).unwrap_or_default(),
                u32::try_from(time.tv_nsec).unwrap_or_default(),
            )
        })
    }

    /// Any function that never goes back.
    pub fn new(now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Time since an arbitrary moment.
    #[must_use]
    pub fn now(&self) -> Duration {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_runs() {
        let clock = Clock::boot();
        let before = clock.now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(clock.now() > before && before > Duration::ZERO);
    }
}
