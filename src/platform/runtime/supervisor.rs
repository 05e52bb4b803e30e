//! Joins every long-running task: one that ends early ends the process.

use std::{future::Future, time::Duration};

use anyhow::{Context, Error, Result, anyhow};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::{JoinError, JoinSet},
};
use tracing::{info, warn};

use super::Shutdown;

/// Longest time that tasks may take to stop; less than the pods' grace period of 30 s.
const STOP_DEADLINE: Duration = Duration::from_secs(25);

/// Owner of the process's tasks.
#[derive(Debug, Default)]
pub struct Supervisor {
    tasks: JoinSet<(&'static str, Result<()>)>,
    shutdown: Shutdown,
}

impl Supervisor {
    /// Without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The request to stop that its tasks must follow.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Starts a task that must last until shutdown is requested.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = Result<()>> + Send + 'static) {
        self.tasks.spawn(async move { (name, task.await) });
    }

    /// Runs until SIGTERM or SIGINT (`Ok`) or until a task ends early (`Err`). A second signal
    /// gives up waiting for the tasks.
    pub async fn run(mut self) -> Result<()> {
        let (sender, signals) = mpsc::channel(2);
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        self.tasks.spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                if sender.send(name).await.is_err() {
                    return ("signals", Ok(()));
                }
            }
        });
        self.run_until(signals).await
    }

    async fn run_until(mut self, mut signals: mpsc::Receiver<&'static str>) -> Result<()> {
        let outcome = tokio::select! {
            Some(signal) = signals.recv() => {
                info!(signal, "stopping");
                Ok(())
            }
            Some(ended) = self.tasks.join_next() => Err(ended_early(ended)),
        };
        self.shutdown.request();
        let all = async {
            // The signal task lasts as long as somebody listens.
            while self.tasks.len() > 1 {
                if let Some(Ok((name, Err(error)))) = self.tasks.join_next().await {
                    warn!(task = name, error = format!("{error:#}"), "a task failed while stopping");
                }
            }
        };
        tokio::select! {
            () = all => info!("stopped"),
            Some(signal) = signals.recv() => warn!(signal, "stopping at once"),
            () = tokio::time::sleep(STOP_DEADLINE) => warn!(seconds = STOP_DEADLINE.as_secs(), "giving up on tasks that do not stop"),
        }
        outcome
    }
}

fn ended_early(ended: Result<(&'static str, Result<()>), JoinError>) -> Error {
    match ended {
        Ok((name, Ok(()))) => anyhow!("task {name} ended although nobody asked it to"),
        Ok((name, Err(error))) => error.context(format!("task {name} failed")),
        Err(error) => anyhow!("a task panicked: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supervised(
        task: impl Future<Output = Result<()>> + Send + 'static,
    ) -> (Supervisor, mpsc::Sender<&'static str>, mpsc::Receiver<&'static str>) {
        let (sender, receiver) = mpsc::channel(2);
        let mut supervisor = Supervisor::new();
        supervisor.spawn("forever", std::future::pending());
        supervisor.spawn("task", task);
        (supervisor, sender, receiver)
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ends_early_ends_the_process() {
        let (supervisor, _sender, signals) = supervised(async { Ok(()) });
        let error = supervisor.run_until(signals).await.unwrap_err();
        assert!(error.to_string().contains("task ended although nobody asked"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_ends_the_process() {
        let (supervisor, _sender, signals) = supervised(async { panic!("boom") });
        assert!(supervisor.run_until(signals).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_signal_asks_the_tasks_and_waits_for_them() {
        let (supervisor, sender, signals) = supervised(std::future::pending());
        let shutdown = supervisor.shutdown();
        sender.send("SIGTERM").await.unwrap();
        let before = tokio::time::Instant::now();
        supervisor.run_until(signals).await.unwrap();
        assert!(shutdown.is_requested());
        assert_eq!(before.elapsed().as_secs(), STOP_DEADLINE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_gives_up_at_once() {
        let (supervisor, sender, signals) = supervised(std::future::pending());
        sender.send("SIGTERM").await.unwrap();
        sender.send("SIGTERM").await.unwrap();
        let before = tokio::time::Instant::now();
        supervisor.run_until(signals).await.unwrap();
        assert_eq!(before.elapsed().as_secs(), 0);
    }
}
