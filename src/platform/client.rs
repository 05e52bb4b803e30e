//! The API client, and the deadline that each of its calls gets.

use std::{future::Future, time::Duration};

use anyhow::{Context, Result};
use kube::{Client, Config};
use thiserror::Error;

/// Deadline of an ordinary call.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// Why a call to the API server gave nothing.
#[derive(Debug, Error)]
pub enum CallError {
    /// No answer in time.
    #[error("the API server did not answer within {} s", .0.as_secs())]
    Deadline(Duration),
    /// The answer was an error.
    #[error(transparent)]
    Api(#[from] kube::Error),
}

impl CallError {
    /// HTTP status of the answer, where there was one.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Api(kube::Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }
}

/// From the pod's service account, else from the kubeconfig.
pub async fn connect() -> Result<Client> {
    let mut config = Config::infer()
        .await
        .context("found neither a service account nor a kubeconfig; run in a cluster or set KUBECONFIG")?;
    // kube repeats 429 and 5xx for minutes on its own; our callers have their own back-off.
    config.default_retry = false;
    Client::try_from(config).context("the API client cannot be built from the configuration")
}

/// Runs a call under a deadline.
pub async fn within<T>(deadline: Duration, call: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(CallError::Deadline(deadline)),
    }
}
