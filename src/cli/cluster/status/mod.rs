//! `status`: each container that serves a swap device, and whether its memory is locked.

mod collect;
#[cfg(test)]
pub(super) mod fake;
mod join;
mod show;
mod watch;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use collect::{Scope, collect};
use jiff::Timestamp;
pub(super) use join::rows_of_pod;
use show::Table;

use super::{connect::Cluster, failure::Failure, table::Color};

/// `kubectl memlock status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Pods by name; default: all that opted in.
    #[arg(value_name = "POD")]
    pods: Vec<String>,
    /// In all namespaces.
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "pods"])]
    all_namespaces: bool,
    /// Only pods with these labels, as for kubectl.
    #[arg(short = 'l', long, conflicts_with = "pods")]
    selector: Option<String>,
    /// Only pods on this node.
    #[arg(long, value_name = "NAME", conflicts_with = "pods")]
    node: Option<String>,
    /// Go on and print each row again when it changes.
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    shape: Shape,
}

#[derive(Debug, Clone, Args)]
struct Shape {
    /// How it is printed.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    /// The table without its first line, and without the sentence that sums it up.
    #[arg(long)]
    no_headers: bool,
    /// Column by which the rows stand; default: the name.
    #[arg(long, value_enum, default_value = "name", value_name = "COLUMN")]
    sort_by: Order,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A line for each container.
    Table,
    /// With node, device, swap and the sentence.
    Wide,
    /// A v1 List of the objects, as kubectl prints one.
    Json,
    /// The same in YAML.
    Yaml,
    /// What kubectl takes as an argument.
    Name,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    /// Namespace and name.
    Name,
    /// The worst first.
    State,
    /// The youngest first.
    Age,
    /// By node.
    Node,
}

/// Exit codes as kubectl's: 0, also when there is nothing to show; 1 when something was asked for in vain.
pub(super) async fn status(args: &StatusArgs, cluster: &Cluster, color: Color) -> Result<ExitCode, Failure> {
    if args.watch && args.pods.len() > 1 {
        return Err(Failure::Usage("only one pod can be watched by name; watch all of them with -l".to_owned()));
    }
    let scope = Scope {
        namespace: (!args.all_namespaces).then(|| cluster.namespace.clone()),
        selector: args.selector.clone(),
        node: args.node.clone(),
        pods: args.pods.iter().map(|pod| pod.strip_prefix("pod/").unwrap_or(pod).to_owned()).collect(),
    };
    let mut found = collect(cluster, &scope).await?;
    show::sort(&mut found.rows, args.shape.sort_by);
    let mut table = Table::new(&args.shape, args.all_namespaces, color.paints(&io::stdout()));
    let now = Timestamp::now();
    let mut text = String::new();
    let mut said = found.notes;
    if found.rows.is_empty() && found.failures.is_empty() && (table.is_table() || args.shape.output == Output::Name) {
        let place = scope.namespace.as_deref();
        let nothing =
            place.map_or("No resources found".to_owned(), |name| format!("No resources found in {name} namespace."));
        said.push(nothing);
    } else if args.watch || !found.rows.is_empty() || !table.is_table() {
        text = table.print(&found.rows, now);
        said.extend(show::summary(&found.rows).filter(|_| table.is_table() && !args.shape.no_headers && !args.watch));
    }
    // Before the sentences, which otherwise could stand in the middle of it.
    let open = write(&text);
    say(&said);
    let failed = !found.failures.is_empty();
    say(&found.failures.iter().map(ToString::to_string).collect::<Vec<_>>());
    if args.watch && open && !failed {
        watch::watch(cluster, &scope, &found.rows, found.unread, &mut table).await;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// To standard output; `false`: whoever read it has seen enough.
fn write(text: &str) -> bool {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// To standard error.
fn say(sentences: &[String]) {
    let mut error = io::stderr().lock();
    for sentence in sentences {
        // Nobody is left to be told when standard error is closed.
        let _ = writeln!(error, "{sentence}");
    }
}
