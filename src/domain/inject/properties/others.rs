//! What others do to a pod on its way into the cluster.

use serde_json::{Map, Value, json};

use super::list;

/// The entries below a key, made where there are none.
fn entries<'a>(object: &'a mut Map<String, Value>, key: &str) -> &'a mut Vec<Value> {
    let entries = object.entry(key).or_insert(Value::Null);
    if entries.is_null() {
        *entries = json!([]);
    }
    entries.as_array_mut().unwrap()
}

/// Other injectors: a sidecar in front, an init container in front, a volume, and the order turned round.
pub(super) fn another_injector(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let spec = pod["spec"].as_object_mut().unwrap();
    let containers = entries(spec, "containers");
    containers.reverse();
    containers.insert(0, json!({ "name": "proxy", "image": "p", "command": ["/proxy"] }));
    entries(spec, "initContainers").insert(0, json!({ "name": "proxy-init", "image": "p" }));
    entries(spec, "volumes").insert(0, json!({ "name": "proxy-token", "emptyDir": {} }));
    pod
}

const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How many containers have something mounted where the token belongs.
pub(super) fn tokens(pod: &Value) -> usize {
    let all = list(&pod["spec"], "initContainers").iter().chain(list(&pod["spec"], "containers"));
    all.flat_map(|container| list(container, "volumeMounts")).filter(|mount| mount["mountPath"] == TOKEN).count()
}

/// The API server's plugin `ServiceAccount`, which runs before the webhooks and after them: a volume with the token, and
/// a mount of it in every container that has nothing at its place (`mountServiceAccountToken` in
/// plugin/pkg/admission/serviceaccount/admission.go).
pub(super) fn with_token(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let is_token = |name: &&str| name.starts_with("kube-api-access-");
    let standing = list(&pod["spec"], "volumes").iter().filter_map(|volume| volume["name"].as_str()).find(is_token);
    let name = standing.unwrap_or("kube-api-access-x7k2p").to_owned();
    if standing.is_none() {
        let volume = json!({ "name": name, "projected": { "sources": [] } });
        entries(pod["spec"].as_object_mut().unwrap(), "volumes").push(volume);
    }
    for kind in ["initContainers", "containers"] {
        for container in pod["spec"].get_mut(kind).and_then(Value::as_array_mut).into_iter().flatten() {
            if !list(container, "volumeMounts").iter().any(|mount| mount["mountPath"] == TOKEN) {
                let mount = json!({ "name": name, "mountPath": TOKEN, "readOnly": true });
                entries(container.as_object_mut().unwrap(), "volumeMounts").push(mount);
            }
        }
    }
    pod
}
