//! The cluster's pods → changes of the few that concern us.
//!
//! Pods that never opted in pass through and are forgotten at once, so that memory grows
//! with opted-in pods only.

use std::collections::HashSet;

use futures::{Stream, StreamExt, future::ready, stream::select_all};
use kube::{
    Api, Client,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use tracing::warn;

use super::{
    namespaces::Namespaces,
    pod_view::{PodKey, PodView},
};

/// What happened to a pod.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// It is there, like this.
    Seen(Box<PodView>),
    /// It is gone, or no longer concerns us.
    Gone(PodKey),
    /// Everything was listed; no other pods concern us.
    Listed(HashSet<PodKey>),
}

/// Watches these namespaces, or where none is named the whole cluster, until dropped.
pub(super) fn watch(client: &Client, namespaces: &[String]) -> impl Stream<Item = Change> + Send + 'static + use<> {
    let apis: Vec<_> = if namespaces.is_empty() {
        vec![Api::all(client.clone())]
    } else {
        namespaces.iter().map(|namespace| Api::namespaced(client.clone(), namespace)).collect()
    };
    let mut merged = Namespaces::new(apis.len());
    let watches = apis.into_iter().enumerate();
    let watches = watches.map(|(number, pods)| Box::pin(watch_one(pods).map(move |change| (number, change))));
    select_all(watches).filter_map(move |(number, change)| ready(merged.merge(number, change)))
}

/// Failures are said and tried again with back-off.
fn watch_one(pods: Api<DeserializeGuard<PodView>>) -> impl Stream<Item = Change> + Send + 'static {
    let mut listed = HashSet::new();
    watcher::watcher(pods, watcher::Config::default()).default_backoff().filter_map(move |event| {
        let change = match event {
            Ok(event) => translate(event, &mut listed),
            Err(error) => {
                warn!(error = error.to_string(), "the watch of pods failed; trying again");
                None
            }
        };
        async move { change }
    })
}

fn translate(event: Event<DeserializeGuard<PodView>>, listed: &mut HashSet<PodKey>) -> Option<Change> {
    match event {
        Event::Init => {
            listed.clear();
            None
        }
        Event::InitApply(guarded) => {
            let pod = readable(guarded)?;
            pod.is_of_interest().then(|| {
                listed.insert(pod.key());
                Change::Seen(Box::new(pod))
            })
        }
        Event::InitDone => Some(Change::Listed(std::mem::take(listed))),
        Event::Apply(guarded) => {
            let pod = readable(guarded)?;
            Some(if pod.is_of_interest() { Change::Seen(Box::new(pod)) } else { Change::Gone(pod.key()) })
        }
        Event::Delete(guarded) => readable(guarded).map(|pod| Change::Gone(pod.key())),
    }
}

/// One pod that cannot be read must not stop the watch of all others.
fn readable(guarded: DeserializeGuard<PodView>) -> Option<PodView> {
    match guarded.0 {
        Ok(pod) => Some(pod),
        Err(error) => {
            warn!(error = error.error, pod = error.metadata.name, "a pod cannot be read; it is not checked");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, metadata: &Value) -> DeserializeGuard<PodView> {
        let mut whole = json!({ "name": name, "namespace": "n" });
        whole.as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
        serde_json::from_value(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": whole, "spec": { "containers": [{ "name": "c" }] } })).unwrap()
    }

    fn opted_in(name: &str) -> DeserializeGuard<PodView> {
        pod(name, &json!({ "annotations": { "memlock.dev/swap-device": "true" } }))
    }

    #[test]
    fn pods_that_never_opted_in_are_not_kept() {
        let mut listed = HashSet::new();
        assert!(translate(Event::InitApply(pod("a", &json!({}))), &mut listed).is_none());
        assert!(matches!(translate(Event::Apply(pod("a", &json!({}))), &mut listed), Some(Change::Gone(_))));
    }

    #[test]
    fn a_marked_pod_that_opted_out_is_kept_until_it_is_cleaned() {
        let marked = pod("a", &json!({ "labels": { "memlock.dev/state": "locked" } }));
        assert!(matches!(translate(Event::Apply(marked), &mut HashSet::new()), Some(Change::Seen(_))));
    }

    #[test]
    fn a_list_says_which_pods_are_left() {
        let mut listed = HashSet::new();
        translate(Event::Init, &mut listed);
        translate(Event::InitApply(opted_in("a")), &mut listed);
        translate(Event::InitApply(pod("b", &json!({}))), &mut listed);
        let Some(Change::Listed(left)) = translate(Event::InitDone, &mut listed) else { panic!("a list ends") };
        assert_eq!(left.into_iter().map(|key| key.name).collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn managed_fields_and_foreign_keys_are_dropped() {
        let crowded = pod(
            "a",
            &json!({
                "annotations": { "memlock.dev/swap-device": "true", "x": "y" }, "labels": { "app": "z" },
                "managedFields": [{ "manager": "m", "fieldsV1": { "f:x": {} } }],
            }),
        );
        let view = crowded.0.unwrap();
        assert!(view.metadata.managed_fields.is_none() && view.metadata.labels.is_none());
        assert_eq!(view.metadata.annotations.unwrap().len(), 1);
    }

    #[test]
    fn an_unreadable_pod_is_skipped() {
        let broken: DeserializeGuard<PodView> =
            serde_json::from_value(json!({ "metadata": { "name": "a" }, "spec": { "containers": 7 } })).unwrap();
        assert!(translate(Event::Apply(broken), &mut HashSet::new()).is_none());
    }
}
