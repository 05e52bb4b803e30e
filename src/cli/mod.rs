//! The commands of `memlock-operator`, and those of the kubectl plugin.

mod changes;
mod cluster;
mod compose;
mod engines;
mod explain;
mod inject;
mod manifest;
mod misplaced;
mod note;
mod offline;

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::{Parser, Subcommand};
pub use cluster::Plugin;
use explain::ExplainArgs;
use inject::{InjectArgs, UninjectArgs};
pub use inject::{Output, Rewrite, rewrite};

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
    /// Answer the API server's admission reviews: give opted-in pods what they need to lock.
    Webhook(webhook::Args),
    /// Watch opted-in pods, check their locked memory and report it on the pod.
    Controller(controller::Args),
    /// Write manifests and Compose files with what the webhook would add.
    ///
    /// Exit code 0: done; 1: a pod was refused, and nothing was printed; 2: wrong usage or unreadable input.
    Inject(InjectArgs),
    /// Write manifests and Compose files without what inject added.
    ///
    /// Exit codes as for inject.
    Uninject(UninjectArgs),
    /// Say what inject or the webhook would do, and why; nothing is changed.
    ///
    /// Exit code 0: done; 1: something would be refused; 2: wrong usage or unreadable input.
    Explain(ExplainArgs),
}

impl Cli {
    /// Runs a command that only reads and writes files: no log, no cluster, no cryptography.
    /// `None`: it is one for [`run`].
    #[must_use]
    pub fn run_offline(&self) -> Option<ExitCode> {
        match &self.command {
            Command::Inject(args) => Some(inject::inject(args)),
            Command::Uninject(args) => Some(inject::uninject(args)),
            Command::Explain(args) => Some(explain::explain(args)),
            Command::Webhook(_) | Command::Controller(_) => None,
        }
    }
}

/// Runs a command that serves until it is told to stop.
pub async fn run(cli: Cli) -> Result<()> {
    telemetry::install(&cli.telemetry)?;
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow!("a cryptographic provider was already chosen"))?;
    match cli.command {
        Command::Webhook(args) => webhook::run(args).await,
        Command::Controller(args) => controller::run(args).await,
        Command::Inject(_) | Command::Uninject(_) | Command::Explain(_) => Ok(()),
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
