//! `check`: whether the installation is healthy, line by line with what to do.

mod certificate;
mod finding;
mod installation;
mod policies;
mod resource;
mod rights;
mod serving;
mod trial;
mod workloads;

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use finding::{Finding, Mark};
use installation::Installation;

use super::{
    connect::{Cluster, ConnectArgs},
    failure::Failure,
    table::Color,
};

/// `kubectl memlock check`; the namespace of the installation is looked for unless it is given.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// How it is printed.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    /// Namespace in which a pod is tried, which is never created; default: one that the webhook serves.
    #[arg(long, value_name = "NAME")]
    trial_namespace: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A line for each finding.
    Table,
    /// One object, for programs.
    Json,
}

/// What was found, shown as soon as it is known.
struct Report {
    findings: Vec<Finding>,
    json: bool,
    paints: bool,
    shows_progress: bool,
}

impl Report {
    /// A word on a terminal that something takes its time.
    fn begin(&self, what: &str) {
        if self.shows_progress {
            let mut error = io::stderr().lock();
            let _ = write!(error, "\r\u{1b}[K… {what}").and_then(|()| error.flush());
        }
    }

    fn add(&mut self, findings: impl IntoIterator<Item = Finding>) {
        if self.shows_progress {
            let _ = write!(io::stderr().lock(), "\r\u{1b}[K");
        }
        for finding in findings {
            if !self.json {
                let _ = writeln!(io::stdout().lock(), "{}", finding.line(self.paints));
            }
            self.findings.push(finding);
        }
    }

    fn end(self) -> ExitCode {
        if self.json {
            let _ = writeln!(io::stdout().lock(), "{}", finding::to_json(&self.findings));
        } else {
            let _ = writeln!(io::stderr().lock(), "{}", finding::summary(&self.findings));
        }
        ExitCode::from(finding::exit_code(&self.findings))
    }
}

pub(super) async fn check(args: &CheckArgs, connect: &ConnectArgs, color: Color) -> Result<ExitCode, Failure> {
    let cluster = connect.connect().await?;
    let json = args.output == Output::Json;
    let shows_progress = !json && io::stderr().is_terminal();
    let mut report = Report { findings: Vec::new(), json, paints: color.paints(&io::stdout()), shows_progress };

    report.begin("the API server");
    report.add([reachable(&cluster).await?]);
    report.begin("the installation");
    let (installation, found) = installation::find(&cluster, connect.named_namespace()).await?;
    report.add(found);
    report.add([resource::check(&cluster).await?]);
    // Without an installation the rest would say the same in other words.
    let Some(installation) = installation else { return Ok(report.end()) };
    rest(args, &cluster, &installation, &mut report).await?;
    Ok(report.end())
}

async fn rest(
    args: &CheckArgs,
    cluster: &Cluster,
    installation: &Installation,
    report: &mut Report,
) -> Result<(), Failure> {
    report.begin("the webhook configuration and its certificate");
    let (serving, found) = serving::read(cluster, installation).await?;
    report.add(found);
    report.add(certificate::check(cluster, installation, serving.as_ref()).await?);
    report.begin("the webhook, with a pod that is never created");
    let namespaces = serving::namespaces(cluster).await?;
    report.add([trial::check(
        cluster,
        args.trial_namespace.as_deref(),
        installation,
        serving.as_ref(),
        namespaces.as_deref(),
    )
    .await?]);
    report.begin("policies");
    report.add(policies::check(cluster).await?);
    report.begin("the controller's rights");
    report.add([rights::check(cluster, installation).await?]);
    report.begin("annotated workloads");
    report.add(workloads::check(cluster, installation, serving.as_ref(), namespaces.as_deref()).await?);
    Ok(())
}

async fn reachable(cluster: &Cluster) -> Result<Finding, Failure> {
    let version = match cluster.ask(cluster.client.apiserver_version()).await {
        Err(failure) if failure.is_unreachable() => return Err(failure),
        other => other,
    };
    Ok(match version {
        Ok(version) => Finding::new(
            "server",
            Mark::Good,
            format!("{} answers, Kubernetes {}", cluster.server, version.git_version),
        ),
        Err(failure) => Finding::unreadable("server", &failure),
    })
}

/// Only what makes every further question useless is an error; the rest is an answer of its own.
fn readable<T>(answer: Result<T, Failure>) -> Result<Result<T, Failure>, Failure> {
    match answer {
        Err(failure) if failure.is_unreachable() => Err(failure),
        other => Ok(other),
    }
}
