//! The API client, and the deadline that each of its calls gets.

use std::{future::Future, time::Duration};

use anyhow::{Context, Result};
use kube::{Client, Config, client::ClientBuilder};
use thiserror::Error;

use super::lease::Leadership;

/// Deadline of an ordinary call.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);

const NOT_BUILT: &str = "the API client cannot be built from the configuration";

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
    /// The object is gone (404), is another one of the same name by now (409, and 422 for a uid
    /// in the body), or its namespace is going: nothing is left to do.
    #[must_use]
    pub fn is_moot(&self) -> bool {
        let Self::Api(kube::Error::Api(status)) = self else { return false };
        let terminating = || {
            let causes = status.details.iter().flat_map(|details| &details.causes);
            causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
        };
        matches!(status.code, 404 | 409 | 422) || (status.code == 403 && terminating())
    }
}

/// From the pod's service account, else from the kubeconfig.
pub async fn connect() -> Result<Client> {
    Client::try_from(config().await?).context(NOT_BUILT)
}

/// The same, for requests that only a leader may send.
pub async fn connect_as_leader(leadership: &Leadership) -> Result<Client> {
    Ok(ClientBuilder::try_from(config().await?).context(NOT_BUILT)?.with_layer(leadership).build())
}

async fn config() -> Result<Config> {
    let mut config = Config::infer()
        .await
        .context("found neither a service account nor a kubeconfig; run in a cluster or set KUBECONFIG")?;
    // kube repeats 429 and 5xx for minutes on its own; our callers have their own back-off.
    config.default_retry = false;
    Ok(config)
}

/// Runs a call under a deadline.
pub async fn within<T>(deadline: Duration, call: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(CallError::Deadline(deadline)),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case::gone(json!({ "code": 404 }), true)]
    #[case::conflict(json!({ "code": 409 }), true)]
    #[case::other_uid(json!({ "code": 422 }), true)]
    #[case::terminating(json!({ "code": 403, "details": { "causes": [{ "reason": "NamespaceTerminating" }] } }), true)]
    #[case::forbidden(json!({ "code": 403 }), false)]
    #[case::overloaded(json!({ "code": 429 }), false)]
    #[case::broken(json!({ "code": 500 }), false)]
    fn what_needs_no_second_try(#[case] status: Value, #[case] moot: bool) {
        let status: kube::core::Status = serde_json::from_value(status).unwrap();
        assert_eq!(CallError::Api(kube::Error::Api(status.boxed())).is_moot(), moot);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_an_answer_ends_at_its_deadline() {
        let outcome = within(CALL_DEADLINE, std::future::pending::<kube::Result<()>>()).await;
        assert!(matches!(outcome, Err(CallError::Deadline(CALL_DEADLINE))));
    }
}
