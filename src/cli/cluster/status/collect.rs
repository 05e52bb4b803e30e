//! What the cluster has of it, in as few and as small answers as can be.

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, api::ListParams, core::PartialObjectMeta};

use super::join::{self, Row, rows_of_pod};
use crate::{
    api::SwapDevice,
    cli::cluster::{connect::Cluster, failure::Failure},
    domain::names,
};

/// Pods asked for at the same time.
const AT_ONCE: usize = 8;

/// Which pods.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    /// `None`: all.
    pub(super) namespace: Option<String>,
    pub(super) selector: Option<String>,
    pub(super) node: Option<String>,
    /// By name; empty: all.
    pub(super) pods: Vec<String>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) rows: Vec<Row>,
    /// The pods may not be read, so that the rows are the `SwapDevices` as they are.
    pub(super) unread: bool,
    /// What is to be known of it.
    pub(super) notes: Vec<String>,
    /// What was asked for in vain.
    pub(super) failures: Vec<Failure>,
}

impl Scope {
    /// For pods that the controller has marked, or for the others.
    fn params(&self, marked: bool) -> ListParams {
        let own = if marked { names::STATE.to_owned() } else { format!("!{}", names::STATE) };
        let labels = self.selector.iter().fold(own, |all, selector| format!("{selector},{all}"));
        let params = ListParams::default().labels(&labels);
        match &self.node {
            Some(node) => params.fields(&format!("spec.nodeName={node}")),
            None => params,
        }
    }

    /// Whether what runs on this node is shown.
    pub(super) fn is_on(&self, node: Option<&String>) -> bool {
        self.node.is_none() || self.node.as_ref() == node
    }

    /// Where the pods may not be read, and so no labels either.
    pub(super) fn takes_device(&self, device: &SwapDevice) -> bool {
        self.is_on(device.spec.node.as_ref()) && (self.pods.is_empty() || self.pods.contains(&device.spec.pod))
    }

    /// The pods that were named and of which nothing is known.
    fn unknown(&self, devices: &[SwapDevice]) -> impl Iterator<Item = Failure> {
        let known = |name: &&String| devices.iter().any(|device| device.spec.pod == **name);
        self.pods.iter().filter(move |name| !known(name)).map(|name| {
            Failure::InVain(format!(
                "no SwapDevice speaks of pod {name}, and whether it is there cannot be told without the right to get pods; see that the name is right, or ask for that right"
            ))
        })
    }
}

pub(super) async fn collect(cluster: &Cluster, scope: &Scope) -> Result<Found, Failure> {
    let mut found = Found::default();
    let devices = devices(cluster, scope, &mut found.notes).await?;
    let pods = if scope.pods.is_empty() {
        listed(cluster, scope).await
    } else {
        named(cluster, scope, &mut found.failures).await
    };
    match (pods, devices) {
        (Ok(pods), devices) => {
            let devices = devices.unwrap_or_default();
            for pod in &pods {
                let rows = rows_of_pod(pod, &devices);
                if rows.is_empty() && !scope.pods.is_empty() {
                    found.failures.push(Failure::InVain(format!(
                        "pod {} has not opted in, so nothing is checked; annotate its pod template with {}: \"true\"",
                        pod.name_any(),
                        names::SWAP_DEVICE
                    )));
                }
                found.rows.extend(rows);
            }
        }
        (Err(failure), Some(devices)) if failure.is_forbidden() && scope.selector.is_none() => {
            found.notes.push(format!("warning: {failure}; containers that were not checked yet, or were restarted since, cannot be told from others here"));
            let devices: Vec<SwapDevice> = devices.into_iter().filter(|device| scope.takes_device(device)).collect();
            // In place of those that were found missing before one was forbidden: each name is told once.
            found.failures = scope.unknown(&devices).collect();
            found.rows = join::rows_of_devices(devices);
            found.unread = true;
        }
        (Err(failure), _) => return Err(failure),
    }
    Ok(found)
}

/// `None`: they cannot be had, and why is noted.
async fn devices(
    cluster: &Cluster,
    scope: &Scope,
    notes: &mut Vec<String>,
) -> Result<Option<Vec<SwapDevice>>, Failure> {
    let api = cluster.api(scope.namespace.as_deref());
    match cluster.list(&api, ListParams::default()).await {
        Ok(devices) => Ok(Some(devices)),
        Err(failure) if failure.is_not_found() => {
            notes.push("warning: the cluster does not know SwapDevices, so that this is what stands on the pods; bring the installation up to date with helm upgrade".to_owned());
            Ok(None)
        }
        Err(failure) if failure.is_forbidden() && !failure.is_unreachable() => {
            notes.push(format!("warning: {failure}; this is what stands on the pods"));
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

async fn named(cluster: &Cluster, scope: &Scope, failures: &mut Vec<Failure>) -> Result<Vec<Pod>, Failure> {
    let api: Api<Pod> = cluster.api(scope.namespace.as_deref());
    let mut pods = Vec::new();
    for name in &scope.pods {
        match cluster.ask(api.get(name)).await {
            Ok(pod) => pods.push(pod),
            Err(failure) if failure.is_not_found() => failures.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    Ok(pods)
}

/// Those that the controller has marked with a label come whole; of all others only the metadata come, as no selector
/// finds an annotation, and then the few that opted in.
async fn listed(cluster: &Cluster, scope: &Scope) -> Result<Vec<Pod>, Failure> {
    let api: Api<Pod> = cluster.api(scope.namespace.as_deref());
    let mut pods: Vec<Pod> = cluster.list(&api, scope.params(true)).await?;
    let metadata: Api<PartialObjectMeta<Pod>> = cluster.api(scope.namespace.as_deref());
    let unmarked = cluster.find(&metadata, scope.params(false), |pod| join::is_managed(&pod.metadata)).await?;
    let asked = stream::iter(unmarked).map(|pod| async move {
        let api: Api<Pod> = cluster.api(pod.metadata.namespace.as_deref());
        cluster.ask(api.get_opt(&pod.name_any())).await
    });
    let rest: Vec<Option<Pod>> = asked.buffer_unordered(AT_ONCE).try_collect().await?;
    pods.extend(rest.into_iter().flatten());
    Ok(pods)
}

#[cfg(test)]
#[path = "collect_tests.rs"]
mod tests;
