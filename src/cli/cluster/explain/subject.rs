//! What is to be explained: a pod, a workload and its pods, a `SwapDevice`.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
};
use serde_json::Value;

use crate::cli::cluster::{connect::Cluster, failure::Failure};

/// What was named on the command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Pod(String),
    Workload(&'static Kind, String),
    SwapDevice(String),
}

/// A kind of workload, with kubectl's words for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    group: &'static str,
    name: &'static str,
    plural: &'static str,
    words: &'static [&'static str],
}

const fn kind(group: &'static str, name: &'static str, plural: &'static str, words: &'static [&'static str]) -> Kind {
    Kind { group, name, plural, words }
}

static KINDS: [Kind; 7] = [
    kind("apps", "Deployment", "deployments", &["deployment", "deployments", "deploy"]),
    kind("apps", "StatefulSet", "statefulsets", &["statefulset", "statefulsets", "sts"]),
    kind("apps", "DaemonSet", "daemonsets", &["daemonset", "daemonsets", "ds"]),
    kind("apps", "ReplicaSet", "replicasets", &["replicaset", "replicasets", "rs"]),
    kind(
        "",
        "ReplicationController",
        "replicationcontrollers",
        &["replicationcontroller", "replicationcontrollers", "rc"],
    ),
    kind("batch", "Job", "jobs", &["job", "jobs"]),
    kind("batch", "CronJob", "cronjobs", &["cronjob", "cronjobs", "cj"]),
];

impl Kind {
    /// The kind that stands between a workload of this kind and its pods.
    fn between(&self) -> Option<&'static Self> {
        let name = match self.name {
            "Deployment" => "ReplicaSet",
            "CronJob" => "Job",
            _ => return None,
        };
        KINDS.iter().find(|kind| kind.name == name)
    }

    fn api(&self, cluster: &Cluster) -> Api<DynamicObject> {
        let api_version = if self.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", self.group) };
        let resource = ApiResource {
            group: self.group.to_owned(),
            version: "v1".to_owned(),
            api_version,
            kind: self.name.to_owned(),
            plural: self.plural.to_owned(),
        };
        Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource)
    }
}

/// `NAME`, `TYPE/NAME` or `TYPE NAME`.
pub(super) fn parse(words: &[String]) -> Result<Subject, Failure> {
    let (kind, name) = match words {
        [kind, name] => (kind.as_str(), name.as_str()),
        [word] => word.split_once('/').unwrap_or(("pod", word)),
        _ => ("", ""),
    };
    // kubectl takes deployments.apps as well.
    let word = kind.split_once('.').map_or(kind, |(word, _)| word).to_ascii_lowercase();
    match word.as_str() {
        _ if name.is_empty() || name.contains('/') => Err(Failure::Usage("give a pod, or TYPE/NAME".to_owned())),
        "pod" | "pods" | "po" => Ok(Subject::Pod(name.to_owned())),
        "swapdevice" | "swapdevices" | "swapdev" => Ok(Subject::SwapDevice(name.to_owned())),
        word => match KINDS.iter().find(|kind| kind.words.contains(&word)) {
            Some(kind) => Ok(Subject::Workload(kind, name.to_owned())),
            None => Err(Failure::Usage(format!(
                "{kind:?} is nothing that has pods; give a pod, deployment, statefulset, daemonset, replicaset, replicationcontroller, job, cronjob or swapdevice"
            ))),
        },
    }
}

/// A workload, and what stands between it and its pods.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) object: Value,
    kind: &'static Kind,
    uids: BTreeSet<String>,
}

impl Workload {
    pub(super) fn owns(&self, uid: &str) -> bool {
        self.uids.contains(uid)
    }

    /// From now on these stand between it and its pods.
    pub(super) fn add(&mut self, between: BTreeSet<String>) {
        self.uids.extend(between);
    }

    /// What has to be listed before its pods are known.
    pub(super) fn plural_between(&self) -> &'static str {
        self.kind.between().map_or("pods", |kind| kind.plural)
    }
}

pub(super) async fn read(cluster: &Cluster, kind: &'static Kind, name: &str) -> Result<Workload, Failure> {
    let mut object = cluster.ask(kind.api(cluster).get(name)).await?;
    let uids: BTreeSet<String> = object.uid().into_iter().collect();
    object.metadata.managed_fields = None;
    Ok(Workload { object: serde_json::json!(object), kind, uids })
}

/// The uids of what stands between it and its pods.
pub(super) async fn between(cluster: &Cluster, workload: &Workload) -> Result<BTreeSet<String>, Failure> {
    let Some(kind) = workload.kind.between() else { return Ok(BTreeSet::new()) };
    let all = cluster.list(&kind.api(cluster), ListParams::default()).await?;
    let own = all.iter().filter(|child| is_owned(child.owner_references(), &workload.uids));
    Ok(own.filter_map(ResourceExt::uid).collect())
}

/// Its pods, by name.
pub(super) async fn pods(cluster: &Cluster, workload: &Workload) -> Result<Vec<Pod>, Failure> {
    let api: Api<Pod> = cluster.api(Some(&cluster.namespace));
    let mut pods = cluster.list(&api, ListParams::default()).await?;
    pods.retain(|pod| is_owned(pod.owner_references(), &workload.uids));
    pods.sort_by_key(ResourceExt::name_any);
    Ok(pods)
}

fn is_owned(
    owners: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference],
    uids: &BTreeSet<String>,
) -> bool {
    owners.iter().any(|owner| uids.contains(&owner.uid))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[rstest]
    #[case("ublk-0")]
    #[case("pod/ublk-0")]
    #[case("po/ublk-0")]
    #[case("pods ublk-0")]
    fn pods_by_every_word(#[case] text: &str) {
        assert_eq!(parse(&words(text)).unwrap(), Subject::Pod("ublk-0".to_owned()));
    }

    #[rstest]
    #[case("sts/ublk", "StatefulSet")]
    #[case("deployments.apps/ublk", "Deployment")]
    #[case("Job ublk", "Job")]
    fn workloads_by_every_word(#[case] text: &str, #[case] expected: &str) {
        let Subject::Workload(kind, name) = parse(&words(text)).unwrap() else { panic!("{text}") };
        assert_eq!((kind.name, name.as_str()), (expected, "ublk"));
    }

    #[rstest]
    #[case("deploy/ublk", Some("replicasets"))]
    #[case("cj/ublk", Some("jobs"))]
    #[case("sts/ublk", None)]
    #[case("ds/ublk", None)]
    #[case("rs/ublk", None)]
    #[case("rc/ublk", None)]
    #[case("job/ublk", None)]
    fn only_two_kinds_have_their_pods_through_another(#[case] text: &str, #[case] expected: Option<&str>) {
        let Subject::Workload(kind, _) = parse(&words(text)).unwrap() else { panic!("{text}") };
        assert_eq!(kind.between().map(|kind| kind.plural), expected);
    }

    #[rstest]
    #[case("service/ublk", "\"service\" is nothing that has pods")]
    #[case("pod/", "give a pod")]
    #[case("a/b/c", "give a pod")]
    fn others_are_refused(#[case] text: &str, #[case] says: &str) {
        let said = parse(&words(text)).unwrap_err().to_string();
        assert!(said.contains(says), "{said}");
    }
}
