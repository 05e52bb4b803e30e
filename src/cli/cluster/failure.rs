//! What went wrong with the cluster, in kubectl's words where kubectl has them.

use std::{error::Error, io, time::Duration};

use kube::core::Status;
use thiserror::Error;

use crate::platform::client::CallError;

/// One sentence on standard error.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// Nobody listens there.
    #[error("The connection to the server {0} was refused - did you specify the right host or port?")]
    Refused(String),
    /// No answer that could be read.
    #[error("Unable to connect to the server: {0}")]
    Unreachable(String),
    /// The server said no.
    #[error("Error from server ({}): {}", reason(.0), .0.message)]
    Server(Box<Status>),
    /// What was asked for makes no sense, whatever the server would say.
    #[error("error: {0}")]
    Usage(String),
    /// What was asked for cannot be had: it is not there, or the kubeconfig does not lead to it.
    #[error("error: {0}")]
    InVain(String),
}

impl Failure {
    /// A failed call to the server of this name.
    pub(super) fn of(error: CallError, server: &str) -> Self {
        match error {
            CallError::Deadline(deadline) => Self::late(deadline),
            CallError::Api(kube::Error::Api(status)) => Self::Server(status),
            CallError::Api(error) if is_refused(&error) => Self::Refused(server.to_owned()),
            CallError::Api(error) => Self::Unreachable(innermost(&error)),
        }
    }

    fn late(deadline: Duration) -> Self {
        let seconds = deadline.as_secs_f32();
        Self::Unreachable(format!(
            "no answer within {seconds} s; look whether it is overloaded, or give it longer with --request-timeout"
        ))
    }

    /// The object or the kind is not there.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Server(status) if status.code == 404)
    }

    /// The caller may not do this.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Server(status) if matches!(status.code, 401 | 403))
    }

    /// Whether any further call would fail alike.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Unreachable(_))
            || matches!(self, Self::Server(status) if status.code == 401)
    }
}

fn reason(status: &Status) -> &str {
    if status.reason.is_empty() { "Unknown" } else { &status.reason }
}

fn is_refused(error: &kube::Error) -> bool {
    let mut at: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = at {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        at = error.source();
    }
    false
}

/// The cause of all causes says what happened; those around it say only where.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_server_speaks_as_through_kubectl() {
        let status: Status =
            serde_json::from_value(json!({ "code": 404, "reason": "NotFound", "message": "pods \"x\" not found" }))
                .unwrap();
        let failure = Failure::of(CallError::Api(kube::Error::Api(status.boxed())), "s");
        assert_eq!(failure.to_string(), "Error from server (NotFound): pods \"x\" not found");
        assert!(failure.is_not_found() && !failure.is_forbidden() && !failure.is_unreachable());
    }

    #[test]
    fn a_refused_connection_is_found_below_other_errors() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let failure = Failure::of(CallError::Api(kube::Error::Service(refused.into())), "127.0.0.1:1");
        let said = "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?";
        assert_eq!(failure.to_string(), said);
        assert!(failure.is_unreachable());
    }
}
