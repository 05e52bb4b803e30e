//! Runs the schedule: starts its steps as tasks and takes their ends back to it.

use std::pin::pin;

use anyhow::{Result, bail};
use futures::{Stream, StreamExt};
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::Value;
use tokio::{
    sync::mpsc::{self, UnboundedSender},
    task::JoinSet,
    time::Instant,
};
use tracing::{debug, info, warn};

use super::{
    assess::Target,
    check::{Checked, Checker},
    debug::Question,
    devices::News,
    events::Events,
    metrics::Metrics,
    pod_view::{PodKey, PodView},
    report::{Report, clean_patch},
    schedule::{Schedule, Step, Written},
    watch::Change,
};
use crate::{
    domain::{names::STATUS_MANAGER, verdict::State},
    platform::{
        client::{CALL_DEADLINE, within},
        runtime::{Readiness, Shutdown},
    },
};

/// What the steps need.
#[derive(Clone)]
pub(super) struct Engine {
    client: Client,
    checker: Checker,
    events: Events,
    metrics: Metrics,
    devices: UnboundedSender<News>,
}

/// How a step ended.
enum Done {
    Checked { key: PodKey, uid: String, targets: Vec<Target>, checked: Box<Checked> },
    Written { key: PodKey, uid: String, report: Option<Box<Report>>, outcome: Written },
}

impl Engine {
    pub(super) fn new(client: Client, events: Events, metrics: Metrics, devices: UnboundedSender<News>) -> Self {
        Self { checker: Checker::new(client.clone()), events, metrics, client, devices }
    }

    /// Follows the changes until shutdown is requested, then lets no step run on.
    pub(super) async fn run(
        self,
        changes: impl Stream<Item = Change>,
        mut questions: mpsc::Receiver<Question>,
        mut schedule: Schedule,
        readiness: Readiness,
        shutdown: Shutdown,
    ) -> Result<()> {
        let mut changes = pin!(changes);
        let mut tasks: JoinSet<Done> = JoinSet::new();
        loop {
            let now = Instant::now();
            for step in schedule.steps(now) {
                let engine = self.clone();
                tasks.spawn(async move { engine.perform(step).await });
            }
            if let Some(states) = schedule.states() {
                self.metrics.devices(states);
            }
            let due = schedule.next_due();
            tokio::select! {
                () = shutdown.requested() => return Ok(()),
                change = changes.next() => match change {
                    Some(change) => {
                        if matches!(change, Change::Listed(_)) {
                            readiness.open("pods");
                        }
                        self.tell(News::of(&change, schedule.runtime_classes()));
                        schedule.observe(change, Instant::now());
                    }
                    None => bail!("the watch of pods ended"),
                },
                Some(done) = tasks.join_next() => match done? {
                    Done::Checked { key, uid, targets, checked } => {
                        let news = News::checked(&key, &uid, &targets, &checked);
                        if schedule.checked(&key, &uid, &targets, *checked, Instant::now()) {
                            self.tell(news);
                        }
                    }
                    Done::Written { key, uid, report, outcome } => {
                        let wait = schedule.written(&key, &uid, report, outcome, Instant::now());
                        if let Some(wait) = wait {
                            self.metrics.verdict_after(wait);
                        }
                    }
                },
                Some(question) = questions.recv() => {
                    // Who asked may be gone by now.
                    let _ = question.send(schedule.answer(Instant::now(), Timestamp::now()));
                }
                () = sleep_until(due) => {}
            }
        }
    }

    /// Nobody listens only at the very end.
    fn tell(&self, news: News) {
        let _ = self.devices.send(news);
    }

    async fn perform(self, step: Step) -> Done {
        match step {
            Step::Check { key, uid, targets, before } => {
                let start = Instant::now();
                let checked = Box::new(self.checker.check(&key, &targets, &before).await);
                self.metrics.checked(checked.verdict.state, start.elapsed());
                debug!(namespace = key.namespace, pod = key.name, state = checked.verdict.label(), "checked");
                Done::Checked { key, uid, targets, checked }
            }
            Step::Write { key, pod, report, previous } => {
                let outcome = self.patch(&key, &report.patch(&pod, Timestamp::now())).await;
                if outcome == Written::Done {
                    self.announce(&key, &pod, &report, previous).await;
                }
                Done::Written { uid: pod.uid().to_owned(), key, report: Some(report), outcome }
            }
            Step::Clean { key, pod } => {
                let outcome =
                    if pod.carries_our_marks() { self.patch(&key, &clean_patch(&pod)).await } else { Written::Done };
                if outcome == Written::Done {
                    info!(namespace = key.namespace, pod = key.name, "opted out: our marks were taken off");
                }
                Done::Written { uid: pod.uid().to_owned(), key, report: None, outcome }
            }
        }
    }

    /// Logs each decision once, and tells an Event where the reason changed.
    async fn announce(&self, key: &PodKey, pod: &PodView, report: &Report, previous: &str) {
        let verdict = &report.verdict;
        info!(
            namespace = key.namespace,
            pod = key.name,
            state = verdict.label(),
            reason = verdict.reason.as_str(),
            previous,
            message = verdict.message,
        );
        // A restart that ends as it was before is no news: crash loops would fill the list.
        if verdict.state != State::Pending && previous != verdict.reason.as_str() {
            self.events.tell(pod, verdict).await;
        }
    }

    async fn patch(&self, key: &PodKey, body: &Value) -> Written {
        let pods: Api<PodView> = Api::namespaced(self.client.clone(), &key.namespace);
        let parameters = PatchParams { field_manager: Some(STATUS_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Strategic(body);
        let written = match within(CALL_DEADLINE, pods.patch_status(&key.name, &parameters, &patch)).await {
            Ok(_) => Written::Done,
            Err(error) if error.is_moot() => Written::Moot,
            Err(error) => {
                warn!(
                    namespace = key.namespace,
                    pod = key.name,
                    error = error.to_string(),
                    "the pod's status was not written; trying again"
                );
                Written::Failed
            }
        };
        self.metrics.wrote("pod", written);
        written
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
