//! The operator's one binary.

use std::process::ExitCode;

use clap::Parser;
use memlock_operator::cli::{Cli, run};
use tracing::error;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            error!(error = format!("{cause:#}"), "stopped by an error");
            ExitCode::FAILURE
        }
    }
}
