//! The operator's one binary.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use memlock_operator::cli::{Cli, run};
use tracing::error;

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.run_offline().unwrap_or_else(|| serve(cli))
}

/// Most threads that take turns at what there is to do. One alone would make probes wait for a large review; one for each
/// processor of a large node would cost memory for nothing.
const THREADS: usize = 2;

fn serve(cli: Cli) -> ExitCode {
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(THREADS));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let ended = runtime.context("cannot start threads").and_then(|runtime| runtime.block_on(run(cli)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            error!(error = format!("{cause:#}"), "stopped by an error");
            ExitCode::FAILURE
        }
    }
}
