//! `explain POD`: what was injected and why, what is known of its memory, and what to do.

mod live;
mod pod;
mod refused;
mod subject;

use std::{fmt::Write as _, io::Write as _, process::ExitCode};

use clap::Args;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{Api, ResourceExt, api::ListParams};
use refused::Refusal;
use serde_json::Value;
use subject::{Subject, Workload};

use super::{connect::Cluster, failure::Failure, table::printable};
use crate::{
    api::SwapDevice,
    cli::{explain::in_words, manifest::kinds, misplaced},
    domain::{
        inject::{self, Level},
        names,
    },
};

/// Pods of a workload that are explained; the others are like them.
const MOST_PODS: usize = 5;

/// `kubectl memlock explain`.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// A pod, or TYPE/NAME: a pod, a workload, or a swapdevice.
    #[arg(value_name = "POD | TYPE/NAME", num_args = 1..=2, required = true)]
    subject: Vec<String>,
    /// Only this container.
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Look into the container now. Executes the controller's own check in it, with your rights, and is charged to the
    /// container's memory as the controller's checks are.
    #[arg(long)]
    live: bool,
    /// Runtime classes whose containers share the node's kernel, as the controller was told them
    /// (controller.runtimeClasses); a pod of another class is not looked into.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "live")]
    runtime_classes: Vec<String>,
}

/// Lines below a head.
#[derive(Debug, Default)]
struct Page(String);

impl Page {
    fn head(&mut self, title: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        let _ = writeln!(self.0, "{}", printable(title));
    }

    fn line(&mut self, label: &str, text: &str) {
        let _ = writeln!(self.0, "  {label:<10} {}", printable(text));
    }

    fn lines<'a>(&mut self, lines: impl IntoIterator<Item = (&'a str, String)>) {
        for (label, text) in lines {
            self.line(label, &text);
        }
    }

    /// The answer to a side question; who may not ask it has all the rest explained.
    fn aside<T: Default>(&mut self, answer: Result<T, Failure>, plural: &str, lost: &str) -> Result<T, Failure> {
        match answer {
            Err(failure) if may_not(&failure) => {
                self.line("warning", &format!("{lost}: {failure}; ask for the right to list {plural}"));
                Ok(T::default())
            }
            answer => answer,
        }
    }
}

/// The right is lacking for this, and not for everything.
fn may_not(failure: &Failure) -> bool {
    failure.is_forbidden() && !failure.is_unreachable()
}

/// Exit code 0: explained; 1: there is nothing of the name.
pub(super) async fn explain(args: &ExplainArgs, cluster: &Cluster) -> Result<ExitCode, Failure> {
    let mut page = Page::default();
    let mut asked = Asked { cluster, args, container: args.container.clone(), now: Timestamp::now() };
    match subject::parse(&args.subject)? {
        Subject::Pod(name) => asked.pod_or_refusal(&mut page, &name).await?,
        Subject::SwapDevice(name) => {
            let api: Api<SwapDevice> = cluster.api(Some(&cluster.namespace));
            let device = cluster.ask(api.get(&name)).await?;
            asked.container = Some(device.spec.container);
            asked.pod_or_refusal(&mut page, &device.spec.pod).await?;
        }
        Subject::Workload(kind, name) => asked.workload(&mut page, subject::read(cluster, kind, &name).await?).await?,
    }
    let mut out = std::io::stdout().lock();
    // Whoever closed it has seen enough.
    let _ = out.write_all(page.0.as_bytes()).and_then(|()| out.flush());
    Ok(ExitCode::SUCCESS)
}

struct Asked<'a> {
    cluster: &'a Cluster,
    args: &'a ExplainArgs,
    container: Option<String>,
    now: Timestamp,
}

impl Asked<'_> {
    async fn pod_or_refusal(&self, page: &mut Page, name: &str) -> Result<(), Failure> {
        let api: Api<Pod> = self.cluster.api(Some(&self.cluster.namespace));
        let missing = match self.cluster.ask(api.get(name)).await {
            Ok(pod) => return self.pod(page, &pod).await,
            Err(failure) if failure.is_not_found() => failure,
            Err(failure) => return Err(failure),
        };
        let refusals = match refused::all(self.cluster).await {
            Ok(refusals) => refusals,
            Err(failure) if may_not(&failure) => {
                let hint = "whether its owner was refused a pod of this name cannot be told without the right to list events; ask for that right";
                return Err(Failure::InVain(format!("{missing}; {hint}")));
            }
            Err(failure) => return Err(failure),
        };
        let fitting: Vec<&Refusal> = refusals.iter().filter(|refusal| refusal.may_concern(name)).collect();
        if fitting.is_empty() {
            let hint = "no owner was refused a pod of this name either; name the owner to see more: kubectl memlock explain TYPE/NAME";
            return Err(Failure::InVain(format!("{missing}; {hint}")));
        }
        page.head(&format!(
            "Pod {}/{name} does not exist: it was refused when it was to be created",
            self.cluster.namespace
        ));
        for refusal in fitting {
            page.lines(refusal.in_words(self.now));
        }
        Ok(())
    }

    async fn pod(&self, page: &mut Page, pod: &Pod) -> Result<(), Failure> {
        let level = self.level().await;
        let api: Api<SwapDevice> = self.cluster.api(Some(&self.cluster.namespace));
        // Without the kind, or the right to read it, the pod itself says what is known.
        let devices = match self.cluster.list(&api, ListParams::default()).await {
            Ok(devices) => devices,
            Err(failure) if failure.is_unreachable() => return Err(failure),
            Err(_) => Vec::new(),
        };
        page.head(&pod::title(pod));
        page.lines(pod::injected(pod, level));
        let verdicts = pod::verdicts(pod, &devices, self.container.as_deref(), self.now);
        if let (Some(name), true) = (&self.container, verdicts.is_empty()) {
            let sentence = format!(
                "container {name} of pod {} does not serve a swap device; see which do in {}",
                pod.name_any(),
                names::CONTAINERS
            );
            return Err(Failure::InVain(sentence));
        }
        page.lines(verdicts);
        if self.args.live {
            let (only, classes) = (self.container.as_deref(), &self.args.runtime_classes);
            page.lines(live::look_in_words(self.cluster, pod, only, classes).await);
        }
        Ok(())
    }

    async fn workload(&self, page: &mut Page, mut workload: Workload) -> Result<(), Failure> {
        let settings = pod::settings(None, self.level().await);
        for place in kinds::places(&workload.object) {
            page.head(&place.title);
            let slip = misplaced::sentence(&workload.object, &place);
            let Some(template) = workload.object.pointer(&place.pointer) else { continue };
            match inject::inject(template, &settings) {
                Ok(injection) => page.lines(in_words(template, &injection, slip)),
                Err(error) => page.line("warning", &format!("its pod template cannot be read: {error}")),
            }
        }
        let between = subject::between(self.cluster, &workload).await;
        workload.add(page.aside(
            between,
            workload.plural_between(),
            "its pods, and refusals of them, are not known",
        )?);
        let refusals = refused::all(self.cluster).await;
        let refusals = page.aside(refusals, "events", "whether its pods were refused is not known")?;
        for refusal in refusals.iter().filter(|refusal| workload.owns(&refusal.owner_uid)) {
            page.lines(refusal.in_words(self.now));
        }
        let pods = subject::pods(self.cluster, &workload).await;
        let pods = page.aside(pods, "pods", "its pods are not explained")?;
        for pod in pods.iter().take(MOST_PODS) {
            self.pod(page, pod).await?;
        }
        if let Some(more @ 1..) = pods.len().checked_sub(MOST_PODS) {
            page.head(&format!("{more} more pods of it; name one to have it explained"));
        }
        Ok(())
    }

    /// As the namespace says it; who may not read it sees the decision for a privileged one.
    async fn level(&self) -> Level {
        let api: Api<Namespace> = Api::all(self.cluster.client.clone());
        let namespace = self.cluster.ask(api.get(&self.cluster.namespace)).await.ok();
        let label = namespace.as_ref().and_then(|namespace| namespace.labels().get(names::POD_SECURITY_ENFORCE));
        // A value that is no level counts as restricted for Pod Security.
        label.map_or(Level::Privileged, |label| label.parse().unwrap_or(Level::Restricted))
    }
}

/// An object as the engine reads it.
fn raw(pod: &Pod) -> Value {
    serde_json::json!(pod)
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
