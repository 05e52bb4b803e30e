//! The commands that ask a cluster: `kubectl memlock status | check | explain`, with the rights of whoever types them.

mod check;
mod complete;
mod connect;
mod explain;
mod failure;
mod proxy;
mod status;
mod table;

use std::{
    future::Future,
    io::{self, Write as _},
    process::ExitCode,
};

use check::CheckArgs;
use clap::{Parser, Subcommand};
use complete::CompleteArgs;
use connect::ConnectArgs;
use explain::ExplainArgs;
use failure::Failure;
use status::StatusArgs;
use table::{Color, Tone};

use super::inject::{self, InjectArgs, UninjectArgs};

/// Shows which swap-device containers have their memory locked, and whether memlock-operator is healthy.
#[derive(Debug, Parser)]
#[command(name = "kubectl-memlock", bin_name = "kubectl memlock", version, propagate_version = true)]
pub struct Plugin {
    #[command(subcommand)]
    command: Command,
    /// When to use colour; the variable `NO_COLOR` is heeded.
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    color: Color,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show each container that serves a swap device, and whether its memory is locked.
    ///
    /// Exit code 0: asked and answered, also when there is nothing to show; 1: not; 2: wrong usage.
    Status(StatusArgs),
    /// See whether the installation is healthy, line by line with what to do.
    ///
    /// Exit code 0: all well; 1: something is wrong; 2: wrong usage, or no cluster; 3: nothing was found wrong, but not
    /// everything could be looked at.
    Check(CheckArgs),
    /// Say what was injected into a pod and why, what is known of its memory, and what to do.
    ///
    /// Also of a pod that was refused, from what its owner was told. Exit code 0: explained; 1: not; 2: wrong usage.
    Explain(ExplainArgs),
    /// Write manifests and Compose files with what the webhook would add; no cluster needed.
    Inject(InjectArgs),
    /// Write manifests and Compose files without what inject added; no cluster needed.
    Uninject(UninjectArgs),
    /// Print the script by which kubectl completes this plugin's words.
    Completion,
    #[command(name = complete::COMMAND, hide = true)]
    Complete(CompleteArgs),
}

/// What clap exits with.
const WRONG_USAGE: u8 = 2;
/// As wrong usage: what was asked for cannot be answered.
const NO_CLUSTER: u8 = 2;

impl Plugin {
    /// Runs the command and says it all in the exit code.
    #[must_use]
    pub fn run(&self) -> ExitCode {
        match &self.command {
            Command::Status(args) => self.ask(ExitCode::FAILURE, async {
                let cluster = self.connect.connect().await?;
                Box::pin(status::status(args, &cluster, self.color)).await
            }),
            Command::Explain(args) => self.ask(ExitCode::FAILURE, async {
                let cluster = self.connect.connect().await?;
                Box::pin(explain::explain(args, &cluster)).await
            }),
            // An error here means that nothing could be checked, which is not the same as something wrong.
            Command::Check(args) => {
                self.ask(ExitCode::from(NO_CLUSTER), Box::pin(check::check(args, &self.connect, self.color)))
            }
            Command::Inject(args) => inject::inject(args),
            Command::Uninject(args) => inject::uninject(args),
            Command::Completion => complete::script(),
            Command::Complete(args) => complete::complete(args),
        }
    }

    fn ask(&self, otherwise: ExitCode, answer: impl Future<Output = Result<ExitCode, Failure>>) -> ExitCode {
        // One thread: a command waits for the server and for little else.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let outcome = runtime
            .map_err(|error| Failure::InVain(format!("no thread can be had from the system ({error}); try again")));
        match outcome.and_then(|runtime| runtime.block_on(answer)) {
            Ok(code) => code,
            Err(failure) => {
                let error = io::stderr();
                let words = Tone::Bad.paint(&failure.to_string(), self.color.paints(&error));
                // Nobody is left to be told when standard error is closed.
                let _ = writeln!(error.lock(), "{words}");
                if matches!(failure, Failure::Usage(_)) { ExitCode::from(WRONG_USAGE) } else { otherwise }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use rstest::rstest;

    use super::*;

    #[test]
    fn flags_do_not_contradict_each_other() {
        Plugin::command().debug_assert();
    }

    #[rstest]
    #[case(&["status", "-n", "a", "-A"])]
    #[case(&["status", "pod", "-l", "app=x"])]
    #[case(&["status", "pod", "-A"])]
    #[case(&["status", "-o", "xml"])]
    #[case(&["explain"])]
    #[case(&["explain", "a", "b", "c"])]
    #[case(&["status", "--request-timeout", "soon"])]
    #[case(&[])]
    fn what_makes_no_sense_is_refused(#[case] words: &[&str]) {
        assert!(Plugin::try_parse_from(["kubectl-memlock"].iter().chain(words)).is_err(), "{words:?}");
    }

    #[rstest]
    #[case(&["explain", "svc/x"], WRONG_USAGE)]
    #[case(&["explain", "a/b/c"], WRONG_USAGE)]
    #[case(&["status", "-w", "a", "b"], WRONG_USAGE)]
    #[case(&["status", "--as-group", "g"], WRONG_USAGE)]
    #[case(&["status", "a"], 1)]
    #[case(&["check"], NO_CLUSTER)]
    fn what_only_we_can_tell_makes_no_sense_has_the_same_exit_code(#[case] words: &[&str], #[case] code: u8) {
        let nobody = ["kubectl-memlock", "--kubeconfig", "/dev/null", "--server", "https://127.0.0.1:1"];
        let plugin = Plugin::try_parse_from(nobody.iter().chain(words)).unwrap();
        assert_eq!(plugin.run(), ExitCode::from(code), "{words:?}");
    }

    #[rstest]
    #[case(&["status", "a", "b", "-n", "x", "-o", "wide", "--no-headers"])]
    #[case(&["status", "-A", "-l", "app=x", "--node", "n", "-w", "--sort-by", "state"])]
    #[case(&["--context", "c", "status", "--as", "jane", "--as-group", "a", "--as-group", "b", "--request-timeout", "5s"])]
    #[case(&["explain", "sts/ublk", "-c", "ublk", "--live", "--kubeconfig", "f"])]
    #[case(&["check", "-n", "memlock-system", "-o", "json", "--color", "never"])]
    #[case(&["inject", "-f", "-"])]
    fn what_people_type_is_taken(#[case] words: &[&str]) {
        let parsed = Plugin::try_parse_from(["kubectl-memlock"].iter().chain(words));
        assert!(parsed.is_ok(), "{}", parsed.unwrap_err());
    }
}
