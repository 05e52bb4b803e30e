//! `status -w`: each row again when it changes.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};

use super::{
    collect::Scope,
    join::{self, Row, rows_of_pod},
    say,
    show::Table,
    write,
};
use crate::{
    api::SwapDevice,
    cli::cluster::{connect::Cluster, failure::Failure},
};

type Key = (String, String);

/// What may have changed a row.
enum Change {
    Device(SwapDevice),
    DeviceGone(SwapDevice),
    Pod(Key),
    Trouble(String),
}

/// Goes on until nobody reads any more.
pub(super) async fn watch(cluster: &Cluster, scope: &Scope, shown: &[Row], table: &mut Table) -> Result<(), Failure> {
    let mut devices: BTreeMap<Key, SwapDevice> = BTreeMap::new();
    for row in shown.iter().filter(|row| row.exists) {
        devices.insert((row.namespace().to_owned(), row.device.name_any()), row.device.clone());
    }
    let mut changes = Box::pin(stream::select(device_changes(cluster, scope), pod_changes(cluster, scope)));
    let mut trouble = String::new();
    while let Some(change) = changes.next().await {
        let key = match change {
            Change::Device(device) => {
                let pod = (device.namespace().unwrap_or_default(), device.spec.pod.clone());
                devices.insert((pod.0.clone(), device.name_any()), device);
                pod
            }
            Change::DeviceGone(device) => {
                devices.remove(&(device.namespace().unwrap_or_default(), device.name_any()));
                (device.namespace().unwrap_or_default(), device.spec.pod)
            }
            Change::Pod(key) => key,
            Change::Trouble(said) => {
                // Once, not at each further try.
                if said != trouble {
                    say(&[format!("warning: the watch was interrupted and goes on by itself: {said}")]);
                    trouble = said;
                }
                continue;
            }
        };
        if !scope.pods.is_empty() && !scope.pods.contains(&key.1) {
            continue;
        }
        let api: Api<Pod> = cluster.api(Some(&key.0));
        let Some(pod) = cluster.ask(api.get_opt(&key.1)).await?.filter(|pod| scope.takes(pod)) else { continue };
        let near: Vec<SwapDevice> = devices
            .values()
            .filter(|device| device.spec.pod == key.1 && device.namespace().as_ref() == Some(&key.0))
            .cloned()
            .collect();
        if !write(&table.print_changed(&rows_of_pod(&pod, &near), Timestamp::now())) {
            break;
        }
    }
    Ok(())
}

impl Scope {
    fn takes(&self, pod: &Pod) -> bool {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
        self.node.is_none() || self.node.as_ref() == node
    }

    fn watched(&self) -> watcher::Config {
        let mut config = watcher::Config::default();
        if let Some(selector) = &self.selector {
            config = config.labels(selector);
        }
        let by_name = self.pods.first().map(|name| format!("metadata.name={name}"));
        let by_node = self.node.as_ref().map(|node| format!("spec.nodeName={node}"));
        match by_name.or(by_node) {
            Some(field) => config.fields(&field),
            None => config,
        }
    }
}

fn device_changes(cluster: &Cluster, scope: &Scope) -> impl stream::Stream<Item = Change> + use<> {
    let api: Api<SwapDevice> = cluster.api(scope.namespace.as_deref());
    watcher::watcher(api, watcher::Config::default()).default_backoff().filter_map(|event| async move {
        match event {
            Ok(Event::Apply(device) | Event::InitApply(device)) => Some(Change::Device(device)),
            Ok(Event::Delete(device)) => Some(Change::DeviceGone(device)),
            Ok(Event::Init | Event::InitDone) => None,
            Err(error) => Some(Change::Trouble(error.to_string())),
        }
    })
}

/// The metadata are enough to see that a pod changed, and a tenth of it.
fn pod_changes(cluster: &Cluster, scope: &Scope) -> impl stream::Stream<Item = Change> + use<> {
    let api: Api<PartialObjectMeta<Pod>> = cluster.api(scope.namespace.as_deref());
    watcher::watcher(api, scope.watched()).default_backoff().filter_map(|event| async move {
        match event {
            Ok(Event::Apply(pod) | Event::InitApply(pod)) => {
                let key = (pod.namespace().unwrap_or_default(), pod.name_any());
                join::is_managed(&pod.metadata).then_some(Change::Pod(key))
            }
            Ok(Event::Delete(_) | Event::Init | Event::InitDone) => None,
            Err(error) => Some(Change::Trouble(error.to_string())),
        }
    })
}
