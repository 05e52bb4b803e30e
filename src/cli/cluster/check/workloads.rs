//! Annotated workloads: whether their pods can get what they ask for.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
    core::PartialObjectMeta,
};
use serde_json::Value;

use super::{
    finding::{Finding, Mark},
    installation::Installation,
    readable,
    serving::{Labels, Serving},
};
use crate::{
    cli::{
        cluster::{connect::Cluster, failure::Failure},
        manifest::kinds::{self, Place},
        misplaced,
    },
    domain::{
        inject::{self, Agent, Delivery, Level, Reason, Row, Settings, Verb},
        names,
    },
};

const CHECK: &str = "workloads";
/// Most lines; more of the same helps nobody.
const MOST: usize = 20;
/// Names in one line.
const NAMED: usize = 3;

const KINDS: [(&str, &str, &str); 7] = [
    ("apps", "Deployment", "deployments"),
    ("apps", "StatefulSet", "statefulsets"),
    ("apps", "DaemonSet", "daemonsets"),
    ("apps", "ReplicaSet", "replicasets"),
    ("", "ReplicationController", "replicationcontrollers"),
    ("batch", "Job", "jobs"),
    ("batch", "CronJob", "cronjobs"),
];

pub(super) async fn check(
    cluster: &Cluster,
    installation: &Installation,
    serving: Option<&Serving>,
    namespaces: Option<&[(String, Labels)]>,
) -> Result<Vec<Finding>, Failure> {
    let mut objects = Vec::new();
    let mut unreadable = Vec::new();
    for (group, kind, plural) in KINDS {
        let api = api(cluster, group, kind, plural);
        match readable(cluster.find(&api, ListParams::default(), is_annotated).await)? {
            Ok(found) => objects.extend(found.iter().map(|object| of_kind(object, group, kind))),
            Err(_) => unreadable.push(plural),
        }
    }
    match readable(bare_pods(cluster).await)? {
        Ok(found) => objects.extend(found),
        Err(_) => unreadable.push("pods"),
    }
    let levels = namespaces.map(|namespaces| Levels::new(serving, namespaces));
    let mut findings = judge(&objects, levels.as_ref(), installation);
    if !unreadable.is_empty() {
        // Nothing seen is not nothing there.
        findings.retain(|finding| finding.mark != Mark::Good || !objects.is_empty());
        let sentence = format!("not allowed to list {} in all namespaces", unreadable.join(", "));
        findings.push(Finding::new(CHECK, Mark::Unknown, sentence).remedy("let somebody with that right check it"));
    }
    Ok(findings)
}

fn api(cluster: &Cluster, group: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        api_version: version(group),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    Api::all_with(cluster.client.clone(), &resource)
}

fn version(group: &str) -> String {
    if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") }
}

/// Items of a list do not say their kind.
fn of_kind(object: &DynamicObject, group: &str, kind: &str) -> Value {
    let mut raw = serde_json::json!(object);
    if let Some(map) = raw.as_object_mut() {
        map.insert("apiVersion".to_owned(), version(group).into());
        map.insert("kind".to_owned(), kind.into());
    }
    raw
}

/// Nobody else writes it, and it says our word on itself or in its template.
fn is_annotated(object: &DynamicObject) -> bool {
    let says = |annotations: Option<&Value>| annotations.is_some_and(|found| found.get(names::SWAP_DEVICE).is_some());
    let inside = [
        "/spec/template/metadata/annotations",
        "/spec/jobTemplate/spec/template/metadata/annotations",
        "/spec/jobTemplate/metadata/annotations",
    ];
    object.metadata.owner_references.as_ref().is_none_or(Vec::is_empty)
        && (object.annotations().contains_key(names::SWAP_DEVICE)
            || inside.iter().any(|path| says(object.data.pointer(path))))
}

/// Pods without an owner; of all others only the metadata are read.
async fn bare_pods(cluster: &Cluster) -> Result<Vec<Value>, Failure> {
    let all: Api<PartialObjectMeta<Pod>> = Api::all(cluster.client.clone());
    let running = ListParams::default().fields("status.phase!=Succeeded,status.phase!=Failed");
    let bare = cluster
        .find(&all, running, |pod| {
            pod.owner_references().is_empty() && pod.annotations().contains_key(names::SWAP_DEVICE)
        })
        .await?;
    let mut found = Vec::with_capacity(bare.len());
    for pod in bare {
        let api: Api<Pod> = cluster.api(pod.metadata.namespace.as_deref());
        found.extend(cluster.ask(api.get_opt(&pod.name_any())).await?.map(|pod| serde_json::json!(pod)));
    }
    Ok(found)
}

/// What each namespace allows.
struct Levels(BTreeMap<String, Option<Level>>);

impl Levels {
    fn new(serving: Option<&Serving>, namespaces: &[(String, Labels)]) -> Self {
        let level = |labels: &Labels| match serving {
            Some(serving) => serving.level(labels),
            // A value that is no level counts as restricted for Pod Security.
            None => Some(
                labels
                    .get(names::POD_SECURITY_ENFORCE)
                    .map_or(Level::Privileged, |label| label.parse().unwrap_or(Level::Restricted)),
            ),
        };
        Self(namespaces.iter().map(|(name, labels)| (name.clone(), level(labels))).collect())
    }
}

/// What was said about workloads, by what is to be done.
#[derive(Default)]
struct Said {
    /// Namespace and whether it hinders, with those that it concerns.
    refused_there: BTreeMap<(String, bool), BTreeSet<String>>,
    left_out: BTreeMap<String, BTreeSet<String>>,
    each: Vec<Finding>,
    good: usize,
}

fn judge(objects: &[Value], levels: Option<&Levels>, installation: &Installation) -> Vec<Finding> {
    let image = installation.flag("webhook", "agent-image").map(str::to_owned);
    let agent = image.map(|image| Agent { image, pull_policy: None, delivery: Delivery::InitContainer });
    // Without the right to read the Deployment, an agent is taken for granted: nothing is said to be wrong by guess.
    let usual = || Agent { image: "memlock-operator".to_owned(), pull_policy: None, delivery: Delivery::InitContainer };
    let agent = if installation.part("webhook").is_some() { agent } else { Some(usual()) };
    let mut said = Said::default();
    for object in objects {
        for place in kinds::places(object) {
            said.place(object, &place, levels, agent.as_ref());
        }
    }
    said.findings(levels.is_some())
}

impl Said {
    fn place(&mut self, object: &Value, place: &Place, levels: Option<&Levels>, agent: Option<&Agent>) {
        let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(sentence) = misplaced::sentence(object, place) {
            self.each.push(Finding::new(CHECK, Mark::Wrong, format!("{}: {sentence}", place.title)));
            return;
        }
        let level = levels.and_then(|levels| levels.0.get(&namespace).copied());
        if level == Some(None) {
            self.left_out.entry(namespace).or_default().insert(place.title.clone());
            return;
        }
        let Some(raw) = object.pointer(&place.pointer) else { return };
        let settings = Settings { level: level.flatten().unwrap_or(Level::Privileged), agent: agent.cloned() };
        let Ok(injection) = inject::inject(raw, &settings) else { return };
        let decision = injection.decision;
        let by_level = decision.reason == Reason::Row(Row::PodSecurity);
        match decision.verb {
            Verb::Deny if by_level => {
                self.refused_there.entry((namespace, true)).or_default().insert(place.title.clone());
            }
            Verb::Deny => {
                let sentence = format!("{}: its pods are refused: {}", place.title, decision.message);
                self.each.push(Finding::new(CHECK, Mark::Wrong, sentence));
            }
            Verb::Untouched | Verb::Inject if by_level => {
                self.refused_there.entry((namespace, false)).or_default().insert(place.title.clone());
            }
            Verb::Untouched | Verb::Inject => self.good += 1,
        }
    }

    fn findings(self, levels_known: bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        for ((namespace, required), titles) in self.refused_there {
            let (mark, effect) = if required { (Mark::Wrong, "refuses") } else { (Mark::Warning, "does not give") };
            let sentence = format!(
                "namespace {namespace} enforces a Pod Security level that {effect} IPC_LOCK, which is needed by {}",
                list(&titles)
            );
            findings.push(Finding::new("pod-security", mark, sentence).remedy(format!(
                "kubectl label namespace {namespace} {}=privileged --overwrite, or move them to one that allows it",
                names::POD_SECURITY_ENFORCE
            )));
        }
        if findings.is_empty() {
            findings.push(if levels_known {
                Finding::new("pod-security", Mark::Good, "every namespace with annotated workloads allows IPC_LOCK")
            } else {
                Finding::new(
                    "pod-security",
                    Mark::Unknown,
                    "not allowed to read namespaces, so their Pod Security levels are not known",
                )
                .remedy("let somebody with that right check it")
            });
        }
        for (namespace, titles) in self.left_out {
            let sentence =
                format!("the webhook leaves namespace {namespace} out, so that nothing is done for {}", list(&titles));
            findings.push(
                Finding::new(CHECK, Mark::Wrong, sentence)
                    .remedy("move them to another namespace, or take it in by the chart's values namespaces and webhook.namespaceSelector"),
            );
        }
        let more = self.each.len().saturating_sub(MOST);
        findings.extend(self.each.into_iter().take(MOST));
        if more > 0 {
            findings.push(Finding::new(CHECK, Mark::Wrong, format!("{more} more workloads like these")));
        }
        let things = if self.good == 1 { "workload is" } else { "workloads are" };
        findings.push(Finding::new(CHECK, Mark::Good, format!("{} annotated {things} in order", self.good)));
        findings
    }
}

fn list(titles: &BTreeSet<String>) -> String {
    let named: Vec<&str> = titles.iter().take(NAMED).map(String::as_str).collect();
    let more = titles.len().saturating_sub(NAMED);
    if more > 0 { format!("{} and {more} more", named.join(", ")) } else { named.join(", ") }
}

#[cfg(test)]
#[path = "workloads_tests.rs"]
mod tests;
