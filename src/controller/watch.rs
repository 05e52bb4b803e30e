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
    pause::OfWatch,
    pod_view::{PodKey, PodView},
};

/// Pods of one answer to the list. An answer is in memory as a whole, and a pod has 5 to 30 kB on the wire.
const PAGE: u32 = 100;

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
    watcher::watcher(pods, watcher::Config::default().page_size(PAGE)).backoff(OfWatch::default()).filter_map(
        move |event| {
            let change = match event {
                Ok(event) => translate(event, &mut listed),
                Err(error) => {
                    warn!(error = error.to_string(), "the watch of pods failed; trying again");
                    None
                }
            };
            async move { change }
        },
    )
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
#[path = "watch_tests.rs"]
mod tests;
