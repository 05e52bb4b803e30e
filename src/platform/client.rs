//! The API client, and the deadline that each of its calls gets.

use std::{future::Future, time::Duration};

use anyhow::{Context, Result};
use kube::{Client, Config, client::ClientBuilder, core::response::StatusCause};
use thiserror::Error;

use super::lease::Leadership;

/// Deadline of an ordinary call.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// Longest time that a connection may be silent while something is read from it.
const SILENCE: Duration = Duration::from_mins(5);

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
    /// The object is gone, is another one of the same name by now, or its namespace is going: nothing is left to do.
    ///
    /// By what the answer says, and not by its code alone: 422 is also what an admission policy answers, and 409
    /// may be contention.
    #[must_use]
    pub fn is_moot(&self) -> bool {
        let Self::Api(kube::Error::Api(status)) = self else { return false };
        let cause =
            |fits: fn(&StatusCause) -> bool| status.details.iter().flat_map(|details| &details.causes).any(fits);
        match status.code {
            404 => true,
            403 => cause(|cause| cause.reason == "NamespaceTerminating"),
            // A uid in the body of a patch is an immutable field; in a replace or a delete it is a precondition.
            422 => cause(|cause| cause.field == "metadata.uid"),
            409 => status.message.contains("UID in precondition"),
            _ => false,
        }
    }

    /// Somebody else wrote first, or made an object of the name.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if status.code == 409)
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
    // Of a server that died without a word nobody else tells a list or the opening of a watch. A watch that is open has
    // something to read each minute, and every other call a deadline of its own.
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
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
    #[case::other_uid(json!({ "code": 422, "details": { "causes": [{ "reason": "FieldValueInvalid", "field": "metadata.uid" }] } }), true)]
    #[case::other_uid_by_precondition(json!({ "code": 409, "message": "Operation cannot be fulfilled on pods \"p\": Precondition failed: UID in precondition: u-1, UID in object meta: u-2" }), true)]
    #[case::contention(json!({ "code": 409, "message": "Operation cannot be fulfilled on pods \"p\": the object has been modified; please apply your changes to the latest version and try again" }), false)]
    #[case::denied_by_a_policy(json!({ "code": 422, "message": "pods \"p\" is forbidden: ValidatingAdmissionPolicy 'x' with binding 'x' denied request: no" }), false)]
    #[case::another_field(json!({ "code": 422, "details": { "causes": [{ "reason": "FieldValueInvalid", "field": "metadata.labels" }] } }), false)]
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
