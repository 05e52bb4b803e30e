//! `status -w`: each row again when it changes.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::ListParams,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};

use super::{
    collect::Scope,
    join::{self, Row, rows_of_devices, rows_of_pod},
    say,
    show::Table,
    write,
};
use crate::{
    api::SwapDevice,
    cli::cluster::{connect::Cluster, failure::Failure},
};

type Key = (String, String);

/// Between two tries to read a pod.
const AGAIN: Duration = Duration::from_secs(5);

/// What may have changed a row.
enum Change {
    Device(SwapDevice),
    DeviceGone(SwapDevice),
    Pod(Key),
    Trouble(String),
}

/// Goes on until nobody reads any more. `unread`: the pods may not be read.
pub(super) async fn watch(cluster: &Cluster, scope: &Scope, shown: &[Row], unread: bool, table: &mut Table) {
    let mut devices: BTreeMap<Key, SwapDevice> = BTreeMap::new();
    for row in shown.iter().filter(|row| row.exists) {
        devices.insert((row.namespace().to_owned(), row.device.name_any()), row.device.clone());
    }
    // What is forbidden was said above, and is no trouble that passes.
    let pods = if unread { stream::empty().left_stream() } else { pod_changes(cluster, scope).right_stream() };
    let mut changes = Box::pin(stream::select(device_changes(cluster, scope), pods));
    let mut trouble = Trouble::default();
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
                say(&trouble.news(said));
                continue;
            }
        };
        if !scope.pods.is_empty() && !scope.pods.contains(&key.1) {
            continue;
        }
        let near: Vec<SwapDevice> = devices
            .values()
            .filter(|device| device.spec.pod == key.1 && device.namespace().as_ref() == Some(&key.0))
            .cloned()
            .collect();
        let rows = if unread {
            rows_of_devices(near.into_iter().filter(|device| scope.takes_device(device)).collect())
        } else {
            let pod = read(cluster, scope, &key, |said| say(&trouble.news(said))).await;
            pod.map(|pod| rows_of_pod(&pod, &near)).unwrap_or_default()
        };
        if !write(&table.print_changed(&rows, Timestamp::now())) {
            break;
        }
    }
}

/// The last thing that went wrong.
#[derive(Default)]
struct Trouble(String);

impl Trouble {
    /// The sentence for it: once, not at each further try.
    fn news(&mut self, said: String) -> Vec<String> {
        if said == self.0 {
            return Vec::new();
        }
        self.0 = said;
        vec![format!("warning: the watch was interrupted and goes on by itself: {}", self.0)]
    }
}

/// The pod, if it is among those that are shown; tried until there is an answer, as a change is told only once.
async fn read(cluster: &Cluster, scope: &Scope, key: &Key, mut trouble: impl FnMut(String)) -> Option<Pod> {
    loop {
        match found(cluster, scope, key).await {
            Ok(pod) => return pod,
            Err(failure) => trouble(failure.to_string()),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// By the right that the table above took: that to get pods where one was named, else that to list them.
async fn found(cluster: &Cluster, scope: &Scope, (namespace, name): &Key) -> Result<Option<Pod>, Failure> {
    let api: Api<Pod> = cluster.api(Some(namespace));
    let pod = if scope.pods.is_empty() {
        cluster.list(&api, scope.only(name)).await?.into_iter().next()
    } else {
        cluster.ask(api.get_opt(name)).await?
    };
    Ok(pod.filter(|pod| scope.takes(pod)))
}

impl Scope {
    fn takes(&self, pod: &Pod) -> bool {
        self.is_on(pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()))
    }

    /// This pod, if it has the labels: only the API server can tell.
    fn only(&self, name: &str) -> ListParams {
        let params = ListParams::default().fields(&format!("metadata.name={name}"));
        self.selector.iter().fold(params, |params, selector| params.labels(selector))
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

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::{super::fake, *};

    fn scope(selector: Option<&str>, node: Option<&str>, pods: &[&str]) -> Scope {
        Scope {
            namespace: Some("storage".to_owned()),
            selector: selector.map(str::to_owned),
            node: node.map(str::to_owned),
            pods: pods.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn key() -> Key {
        ("storage".to_owned(), "ublk-0".to_owned())
    }

    fn pod() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "ublk-0", "namespace": "storage" },
            "spec": { "nodeName": "node-1", "containers": [] },
        })
    }

    #[rstest]
    #[case::has_the_labels(Some("app=x"), None, true, true)]
    #[case::other_labels(Some("app=x"), None, false, false)]
    #[case::another_node(Some("app=x"), Some("node-2"), true, false)]
    #[case::no_selector(None, Some("node-1"), true, true)]
    #[tokio::test]
    async fn a_changed_pod_is_shown_only_if_it_was_asked_for(
        #[case] selector: Option<&str>,
        #[case] node: Option<&str>,
        #[case] matches: bool,
        #[case] shown: bool,
    ) {
        let items: Vec<Value> = matches.then(pod).into_iter().collect();
        let (cluster, calls) = fake::cluster(move |_| fake::list(&items)).await;
        let found = found(&cluster, &scope(selector, node, &[]), &key()).await.unwrap();
        assert_eq!(found.is_some(), shown);
        let labels = selector.map(|_| "&labelSelector=app%3Dx").unwrap_or_default();
        let query = format!("&fieldSelector=metadata.name%3Dublk-0{labels}&limit=500");
        assert_eq!(*calls.lock().unwrap(), [format!("/api/v1/namespaces/storage/pods?{query}")]);
    }

    #[tokio::test]
    async fn a_named_pod_takes_no_right_to_list() {
        let (cluster, calls) = fake::cluster(|_| (200, pod())).await;
        assert!(found(&cluster, &scope(None, None, &["ublk-0"]), &key()).await.unwrap().is_some());
        assert_eq!(*calls.lock().unwrap(), ["/api/v1/namespaces/storage/pods/ublk-0"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_cannot_be_read_is_tried_again_and_told_once() {
        let answers = std::sync::Mutex::new(vec![(200, pod()), busy(), busy()]);
        let (cluster, _) = fake::cluster(move |_| answers.lock().unwrap().pop().unwrap()).await;
        let (mut trouble, mut told) = (Trouble::default(), Vec::new());
        let pod = read(&cluster, &scope(None, None, &["ublk-0"]), &key(), |said| told.extend(trouble.news(said))).await;
        assert!(pod.is_some());
        let sentence = "warning: the watch was interrupted and goes on by itself: Error from server (TooManyRequests): try again later";
        assert_eq!(told, [sentence]);
    }

    fn busy() -> (u16, Value) {
        fake::refusal(429, "TooManyRequests", "try again later")
    }
}
