//! The commands of `memlock-operator`.

use anyhow::{Result, anyhow};
use clap::{Parser, Subcommand};

use crate::{controller, platform::telemetry, webhook};

/// Makes annotated swap-device pods able to lock their memory, and says whether they did.
#[derive(Debug, Parser)]
#[command(name = "memlock-operator", version, about)]
pub struct Cli {
    #[command(flatten)]
    telemetry: telemetry::Args,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer the API server's admission reviews: give opted-in pods IPC_LOCK.
    Webhook(webhook::Args),
    /// Watch opted-in pods, check their locked memory and report it on the pod.
    Controller(controller::Args),
}

/// Runs the command that was asked for, until it is told to stop.
pub async fn run(cli: Cli) -> Result<()> {
    telemetry::install(&cli.telemetry)?;
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow!("a cryptographic provider was already chosen"))?;
    match cli.command {
        Command::Webhook(args) => webhook::run(args).await,
        Command::Controller(args) => controller::run(args).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
