//! Whether this process leads, asked by every request that only a leader may send.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{Either, Ready, ready},
};
use thiserror::Error;
use tower::{BoxError, Layer, Service};

use super::Clock;

/// Cheap to clone; all clones see the same lease. As a layer of an API client it refuses what is sent without it.
#[derive(Debug, Clone)]
pub struct Leadership {
    /// Nanoseconds of `clock`; 0: not held.
    until: Arc<AtomicU64>,
    clock: Clock,
}

/// This process does not lead, or no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the request was not sent, because this process does not hold the lease; the leader sends its own")]
pub struct NotLeading;

impl Leadership {
    pub(super) fn new(clock: Clock) -> Self {
        Self { until: Arc::default(), clock }
    }

    /// True until the deadline of the last renewal. A process that was stopped and goes on sees the time that passed.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.clock.now() < Duration::from_nanos(self.until.load(Ordering::Acquire))
    }

    pub(super) fn hold(&self, until: Option<Duration>) {
        let nanos = until.map_or(0, |until| u64::try_from(until.as_nanos()).unwrap_or(u64::MAX));
        self.until.store(nanos, Ordering::Release);
    }
}

impl<S> Layer<S> for Leadership {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Guarded { leadership: self.clone(), inner }
    }
}

/// A client's transport that sends only while the lease is held.
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    leadership: Leadership,
    inner: S,
}

impl<S, Q> Service<Q> for Guarded<S>
where
    S: Service<Q, Error = BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Either<S::Future, Ready<Result<S::Response, BoxError>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        if self.leadership.is_held() {
            self.inner.call(request).left_future()
        } else {
            ready(Err(NotLeading.into())).right_future()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use tower::{ServiceExt, service_fn};

    use super::*;

    #[tokio::test]
    async fn requests_are_sent_only_while_the_lease_is_held() {
        let seconds = Arc::new(AtomicU32::new(100));
        let shared = seconds.clone();
        let leadership =
            Leadership::new(Clock::new(move || Duration::from_secs(shared.load(Ordering::Relaxed).into())));
        let ask = || leadership.layer(service_fn(|n: u8| ready(Ok::<_, BoxError>(n)))).oneshot(7);

        assert!(ask().await.unwrap_err().is::<NotLeading>(), "before the first claim");
        leadership.hold(Some(Duration::from_secs(110)));
        assert_eq!(ask().await.unwrap(), 7);
        seconds.store(110, Ordering::Relaxed);
        assert!(ask().await.unwrap_err().is::<NotLeading>(), "a process that was stopped beyond its deadline");
        leadership.hold(Some(Duration::from_mins(2)));
        leadership.hold(None);
        assert!(ask().await.unwrap_err().is::<NotLeading>(), "after the lease was given back");
    }
}
