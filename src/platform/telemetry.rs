//! Logs: one line a decision, JSON in a cluster, text on a terminal.

use std::io::IsTerminal;

use anyhow::{Result, anyhow};
use tracing_subscriber::EnvFilter;

/// Shape of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Flags that every process has.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Shape of the log lines on standard error.
    #[arg(long, env = "MEMLOCK_LOG_FORMAT", value_enum, default_value = "text", global = true)]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or a filter such as info,kube=debug.
    #[arg(long, env = "MEMLOCK_LOG", default_value = "info", global = true)]
    pub log: String,
}

/// Starts logging. Once a process.
pub fn install(args: &Args) -> Result<()> {
    let filter = EnvFilter::try_new(&args.log)
        .map_err(|e| anyhow!("--log {:?} is no filter ({e}): give for example info", args.log))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Json => builder.json().flatten_event(true).with_target(false).try_init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
    }
    .map_err(|e| anyhow!("cannot start logging: {e}"))
}
