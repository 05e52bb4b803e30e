//! Runs one command in a container, with a deadline and a cap on what is read.

use std::time::Duration;

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::{Api, Client, api::AttachParams, client::UpgradeConnectionError};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What standard error may hold; enough for `cat`'s complaints.
const MAX_STDERR: usize = 8 * 1024;

/// Where and what to run.
#[derive(Debug, Clone, Copy)]
pub struct Command<'a> {
    /// Namespace of the pod.
    pub namespace: &'a str,
    /// Name of the pod.
    pub pod: &'a str,
    /// Name of the container.
    pub container: &'a str,
    /// The program, found in the container's `PATH`, and its arguments. No shell.
    pub argv: &'a [&'a str],
    /// For everything together.
    pub deadline: Duration,
    /// Most bytes of standard output.
    pub max_output: usize,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Standard output, whole.
    pub stdout: Vec<u8>,
    /// Standard error, up to a few kB.
    pub stderr: String,
    /// Exit code of the program.
    pub code: i32,
}

/// Why nothing came back.
#[derive(Debug, Error)]
pub enum ExecError {
    /// Not done in time. The process in the container may still be running.
    #[error("the command did not end within {} s", .0.as_secs())]
    Deadline(Duration),
    /// More output than the command can have.
    #[error("the command printed more than {0} bytes")]
    TooMuchOutput(usize),
    /// The runtime could not start the program.
    #[error("the command could not be started: {0}")]
    NotStarted(String),
    /// The stream ended without the exit status.
    #[error("the connection to the container broke before the command ended")]
    Broken,
    /// A policy, or a right that is missing.
    #[error("the API server refused the command ({0})")]
    Refused(String),
    /// The API server gave another error, or did not answer.
    #[error(transparent)]
    Api(kube::Error),
    /// The stream could not be read.
    #[error("the output could not be read: {0}")]
    Io(#[from] std::io::Error),
}

impl ExecError {
    /// A bounded word.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Deadline(_) => "Deadline",
            Self::TooMuchOutput(_) => "TooMuchOutput",
            Self::NotStarted(_) => "NotStarted",
            Self::Broken | Self::Io(_) => "Broken",
            Self::Refused(_) => "Refused",
            Self::Api(_) => "Api",
        }
    }
}

impl From<kube::Error> for ExecError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if matches!(status.code, 403 | 422) => Self::Refused(status.message),
            // An answer whose words could not be read.
            kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(code))
                if matches!(code.as_u16(), 403 | 422) =>
            {
                Self::Refused(format!("HTTP status {code}"))
            }
            other => Self::Api(other),
        }
    }
}

/// Runs the command and closes the stream, whatever happens.
pub async fn exec(client: &Client, command: Command<'_>) -> Result<Output, ExecError> {
    match tokio::time::timeout(command.deadline, attached(client, command)).await {
        Ok(result) => result,
        Err(_) => Err(ExecError::Deadline(command.deadline)),
    }
}

async fn attached(client: &Client, command: Command<'_>) -> Result<Output, ExecError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), command.namespace);
    let parameters = AttachParams::default().container(command.container).stdin(false).stdout(true).stderr(true);
    // Dropped at the end of this function in every case, which aborts its task and closes the stream.
    let mut process = pods.exec(command.pod, command.argv.iter().copied(), &parameters).await?;
    let (Some(stdout), Some(stderr), Some(status)) = (process.stdout(), process.stderr(), process.take_status()) else {
        return Err(ExecError::Broken);
    };
    let reading = async { tokio::try_join!(read(stdout, command.max_output), read_some(stderr)) };
    tokio::pin!(reading);
    tokio::pin!(status);
    // The status follows the last byte; a stream that breaks drops its sender and never ends the readers.
    let (output, status) = tokio::select! {
        output = &mut reading => (output?, status.await),
        status = &mut status => match status {
            None => return Err(ExecError::Broken),
            some => (reading.await?, some),
        },
    };
    let (stdout, stderr) = output;
    let code = exit_code(&status.ok_or(ExecError::Broken)?)?;
    Ok(Output { stdout, stderr, code })
}

async fn read(stream: impl AsyncRead + Unpin, cap: usize) -> Result<Vec<u8>, ExecError> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    stream.take(limit).read_to_end(&mut bytes).await?;
    if bytes.len() > cap { Err(ExecError::TooMuchOutput(cap)) } else { Ok(bytes) }
}

/// Keeps the beginning and reads on to the end, so that the program is not held up.
async fn read_some(mut stream: impl AsyncRead + Unpin) -> Result<String, ExecError> {
    let mut kept = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Ok(String::from_utf8_lossy(&kept).into_owned());
        }
        let room = MAX_STDERR.saturating_sub(kept.len());
        kept.extend(chunk.iter().take(count.min(room)));
    }
}

/// The exit code as the kubelet reports it: a `NonZeroExitCode` failure with the code as a cause.
fn exit_code(status: &Status) -> Result<i32, ExecError> {
    if status.status.as_deref() == Some("Success") {
        return Ok(0);
    }
    let causes = status.details.as_ref().and_then(|d| d.causes.as_deref()).unwrap_or_default();
    let code = causes
        .iter()
        .find(|c| c.reason.as_deref() == Some("ExitCode"))
        .and_then(|c| c.message.as_deref()?.parse().ok());
    code.ok_or_else(|| {
        ExecError::NotStarted(status.message.clone().unwrap_or_else(|| "no reason was given".to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::success(json!({"status": "Success"}), Ok(0))]
    #[case::failed(json!({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [{"reason": "ExitCode", "message": "1"}]}}), Ok(1))]
    #[case::not_started(json!({"status": "Failure", "reason": "InternalError", "message": "exec: \"cat\": executable file not found in $PATH"}), Err("NotStarted"))]
    #[case::nonsense(json!({}), Err("NotStarted"))]
    fn exit_codes(#[case] status: serde_json::Value, #[case] expected: Result<i32, &str>) {
        let status: Status = serde_json::from_value(status).unwrap();
        assert_eq!(exit_code(&status).map_err(|e| e.reason()), expected);
    }

    #[rstest]
    #[case::by_a_policy(422, "Refused")]
    #[case::for_want_of_a_right(403, "Refused")]
    #[case::no_kubelet(500, "Api")]
    fn who_refuses_is_told_from_who_fails(#[case] code: u16, #[case] reason: &str) {
        let status: kube::core::Status = serde_json::from_value(json!({ "code": code, "message": "no" })).unwrap();
        assert_eq!(ExecError::from(kube::Error::Api(status.boxed())).reason(), reason);
    }

    #[rstest]
    #[case::at_the_cap(16, true)]
    #[case::above(17, false)]
    #[tokio::test]
    async fn output_is_capped(#[case] length: usize, #[case] fits: bool) {
        assert_eq!(read(vec![b'x'; length].as_slice(), 16).await.is_ok(), fits);
    }
}
