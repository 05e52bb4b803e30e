//! The operator's one binary.

use std::process::ExitCode;

use clap::Parser;
use memlock_operator::cli::{Cli, run};
use tracing::error;

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.run_offline().unwrap_or_else(|| serve(cli))
}

#[tokio::main]
async fn serve(cli: Cli) -> ExitCode {
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            error!(error = format!("{cause:#}"), "stopped by an error");
            ExitCode::FAILURE
        }
    }
}
