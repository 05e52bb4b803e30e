//! The request to stop, shared by every task.

use tokio_util::sync::CancellationToken;

/// Cheap to clone; all clones see the same request.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// Asks every task to stop.
    pub fn request(&self) {
        self.0.cancel();
    }

    /// Resolves once stopping was asked for.
    pub async fn requested(&self) {
        self.0.cancelled().await;
    }

    /// Whether stopping was asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// The request itself, for what takes it as such.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.0.clone()
    }

    /// Runs the future, or gives it up when stopping is asked for first.
    pub async fn unless_stopped<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        self.0.run_until_cancelled(future).await
    }
}
