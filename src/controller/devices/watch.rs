//! The cluster's `SwapDevice`s → what the ledger keeps of each.

use std::collections::HashSet;

use futures::{Stream, StreamExt, stream::select_all};
use kube::{
    Api, Client,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use tracing::{info, warn};

use super::{DeviceName, content::Standing, ledger::Seen};
use crate::{api::SwapDevice, controller::pause::OfWatch};

/// Watches these namespaces, or where none is named the whole cluster, until dropped.
pub(super) fn watch(client: &Client, namespaces: &[String]) -> impl Stream<Item = Seen> + Send + 'static + use<> {
    let one = |namespace: Option<&String>| {
        let devices = match namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        };
        Box::pin(watch_one(devices, namespace.cloned()))
    };
    let watches: Vec<_> =
        if namespaces.is_empty() { vec![one(None)] } else { namespaces.iter().map(|n| one(Some(n))).collect() };
    select_all(watches)
}

/// Where the definition is missing this is said once, and tried again with back-off.
fn watch_one(
    devices: Api<DeserializeGuard<SwapDevice>>,
    namespace: Option<String>,
) -> impl Stream<Item = Seen> + Send + 'static {
    let mut listed = HashSet::new();
    let mut failing = false;
    watcher::watcher(devices, watcher::Config::default()).backoff(OfWatch::default()).filter_map(move |event| {
        let seen = match event {
            Ok(event) => {
                // That a list begins says nothing yet.
                if !matches!(event, Event::Init) && std::mem::take(&mut failing) {
                    info!("SwapDevices are watched again");
                }
                translate(event, &mut listed, namespace.as_ref())
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!(
                        error = error.to_string(),
                        "SwapDevices cannot be watched, and none is written until they can; is the definition swapdevices.memlock.dev installed (crds.enabled)?"
                    );
                }
                None
            }
        };
        async move { seen }
    })
}

fn translate(
    event: Event<DeserializeGuard<SwapDevice>>,
    listed: &mut HashSet<DeviceName>,
    namespace: Option<&String>,
) -> Option<Seen> {
    let there = |guarded: DeserializeGuard<SwapDevice>| {
        let device = match guarded.0 {
            Ok(device) => device,
            // Its content is nothing that we would have written; the name and the uid are enough to set it right.
            Err(error) => {
                let mut device = SwapDevice::new("", crate::api::SwapDeviceSpec::default());
                device.metadata = error.metadata;
                device
            }
        };
        (DeviceName::of_object(&device), Box::new(Standing::of(&device)))
    };
    match event {
        Event::Init => {
            listed.clear();
            None
        }
        Event::InitApply(device) => {
            let (name, standing) = there(device);
            listed.insert(name.clone());
            Some(Seen::There(name, standing))
        }
        Event::InitDone => Some(Seen::Listed(namespace.cloned(), std::mem::take(listed))),
        Event::Apply(device) => {
            let (name, standing) = there(device);
            Some(Seen::There(name, standing))
        }
        Event::Delete(device) => {
            let (name, standing) = there(device);
            Some(Seen::Gone(name, standing.uid))
        }
    }
}
