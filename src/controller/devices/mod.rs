//! One `SwapDevice` for each chosen container: pods, checks and what stands → what is written.
//!
//! Apart from the checks and the pods' own status, so that nothing here can hold them up.

mod content;
mod ledger;
mod size;
mod subject;
mod watch;
mod writer;

use std::{collections::HashSet, pin::pin, time::Duration};

use anyhow::{Result, bail};
use futures::StreamExt;
use jiff::Timestamp;
use kube::Client;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
    time::Instant,
};
use tracing::{debug, info, warn};

use self::{content::Said, ledger::Ledger, subject::Subject, watch::watch, writer::Made};
use super::{
    assess::Target,
    check::Checked,
    metrics::Metrics,
    pod_view::PodKey,
    schedule::Written,
    status::{fnv, short_id},
    watch::Change,
};
use crate::{
    api::SwapDevice,
    platform::{client::CallError, runtime::Shutdown},
};

/// Longest name of an object.
const MAX_NAME: usize = 253;
/// Of it, what stands for the rest of a longer one.
const TAIL: usize = "-0123456789abcdef".len();

/// `namespace/name` of a `SwapDevice`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct DeviceName {
    namespace: Box<str>,
    name: Box<str>,
}

impl DeviceName {
    fn of(pod: &PodKey, container: &str) -> Self {
        let mut name = format!("{}.{container}", pod.name);
        if name.len() > MAX_NAME {
            let tail = format!("-{:016x}", fnv(&name));
            name.truncate(MAX_NAME - TAIL);
            // No part of a name ends with these before another begins.
            name.truncate(name.trim_end_matches(['.', '-']).len());
            name.push_str(&tail);
        }
        Self { namespace: pod.namespace.as_str().into(), name: name.into() }
    }

    /// What all names for containers of the pod begin with; those of few other pods do.
    fn beginning(pod: &PodKey) -> Self {
        let mut name = format!("{}.", pod.name);
        if name.len() >= MAX_NAME - TAIL {
            name.truncate(MAX_NAME - TAIL);
            name.truncate(name.trim_end_matches(['.', '-']).len());
        }
        Self { namespace: pod.namespace.as_str().into(), name: name.into() }
    }

    fn of_object(device: &SwapDevice) -> Self {
        Self {
            namespace: device.metadata.namespace.as_deref().unwrap_or_default().into(),
            name: device.metadata.name.as_deref().unwrap_or_default().into(),
        }
    }
}

/// What the engine tells.
#[derive(Debug)]
pub(super) enum News {
    Pod(Subject),
    Gone(PodKey),
    Pods(HashSet<PodKey>),
    Checked(PodKey, String, Vec<(String, Said)>),
}

impl News {
    /// What the watch of pods saw.
    pub(super) fn of(change: &Change, runtime_classes: &[String]) -> Self {
        match change {
            Change::Seen(pod) => Self::Pod(Subject::of(pod, runtime_classes)),
            Change::Gone(key) => Self::Gone(key.clone()),
            Change::Listed(left) => Self::Pods(left.clone()),
        }
    }

    /// The verdicts on these runs of the containers.
    pub(super) fn checked(key: &PodKey, uid: &str, targets: &[Target], checked: &Checked) -> Self {
        let said = checked.containers.iter().map(|(container, verdict)| {
            let target = targets.iter().find(|target| target.container == *container);
            let id = target.and_then(|target| target.id.as_deref()).map(|id| short_id(id).into());
            (container.clone(), Said::new(id, verdict.clone()))
        });
        Self::Checked(key.clone(), uid.to_owned(), said.collect())
    }
}

/// Where the engine tells it. Never full: what waits is less than what the engine itself holds.
pub(super) fn channel() -> (UnboundedSender<News>, UnboundedReceiver<News>) {
    unbounded_channel()
}

/// Writes what the news say until shutdown is requested.
pub(super) async fn run(
    client: Client,
    namespaces: Vec<String>,
    mut news: UnboundedReceiver<News>,
    interval: Duration,
    metrics: Metrics,
    shutdown: Shutdown,
) -> Result<()> {
    let mut objects = pin!(watch(&client, &namespaces));
    let mut ledger = Ledger::new(interval, namespaces.len().max(1));
    let mut tasks: JoinSet<Made> = JoinSet::new();
    let mut complaints = HashSet::new();
    loop {
        for step in ledger.steps(Instant::now(), Timestamp::now()) {
            tasks.spawn(writer::make(client.clone(), step));
        }
        let due = ledger.next_due();
        tokio::select! {
            () = shutdown.requested() => return Ok(()),
            told = news.recv() => match told {
                Some(told) => take(&mut ledger, told),
                // The engine has ended; whoever ended it ends us.
                None => shutdown.requested().await,
            },
            seen = objects.next() => match seen {
                Some(seen) => ledger.seen(seen, Instant::now()),
                None => bail!("the watch of SwapDevices ended"),
            },
            Some(made) = tasks.join_next() => {
                let Made { name, ended, error } = made?;
                metrics.wrote("swapdevice", outcome(error.as_ref()));
                debug!(namespace = &*name.namespace, name = &*name.name, failed = error.is_some(), "SwapDevice");
                ledger.ended(&name, ended, Instant::now());
                complain(&mut complaints, &ledger, &name, error.as_ref());
            },
            () = sleep_until(due) => {}
        }
    }
}

fn take(ledger: &mut Ledger, news: News) {
    let now = Instant::now();
    match news {
        News::Pod(subject) => ledger.pod(subject, now),
        News::Gone(key) => ledger.gone(&key, now),
        News::Pods(left) => ledger.pods_are(&left, now),
        News::Checked(key, uid, containers) => ledger.checked(&key, &uid, containers, now),
    }
}

fn outcome(error: Option<&CallError>) -> Written {
    match error {
        None => Written::Done,
        Some(error) if error.is_moot() || error.is_conflict() => Written::Moot,
        Some(_) => Written::Failed,
    }
}

/// Says each kind of failure once, until all is written again.
fn complain(said: &mut HashSet<Option<u16>>, ledger: &Ledger, name: &DeviceName, error: Option<&CallError>) {
    let Some(error) = error else {
        if !said.is_empty() && ledger.failing() == 0 {
            said.clear();
            info!("all SwapDevices are written again");
        }
        return;
    };
    // A conflict is looked at and tried again; a namespace that is going takes its objects along.
    let code = writer::code(error);
    let quiet = error.is_conflict() || code != Some(404) && error.is_moot() || writer::lacks_namespace(error);
    if !quiet && said.insert(code) {
        let remedy = match code {
            Some(404) => "is the definition swapdevices.memlock.dev installed (crds.enabled)?",
            Some(403) => "has the controller's account its rights, and the namespace room in its quota?",
            Some(422) => "is the definition swapdevices.memlock.dev of this release?",
            _ => "the verdicts on the pods are not affected",
        };
        warn!(
            namespace = &*name.namespace,
            name = &*name.name,
            error = error.to_string(),
            remedy,
            "a SwapDevice was not written; it is tried again, and others that fail alike are not named"
        );
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod heap_tests;
