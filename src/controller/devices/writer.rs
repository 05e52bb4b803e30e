//! The calls that make, change and delete a `SwapDevice`.

use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::{Value, json};

use super::{
    DeviceName,
    content::Standing,
    ledger::{Ended, Object, Step},
};
use crate::{
    api::{SwapDevice, SwapDeviceStatus},
    domain::names::STATUS_MANAGER,
    platform::client::{CALL_DEADLINE, CallError, within},
};

/// A step that was made, and why it failed.
pub(super) struct Made {
    pub(super) name: DeviceName,
    pub(super) ended: Ended,
    pub(super) error: Option<CallError>,
}

/// Makes one step.
pub(super) async fn make(client: Client, step: Step) -> Made {
    let (name, result) = match step {
        Step::Create(name, device) => {
            let result = create(&api(&client, &name), &name, &device).await;
            (name, result)
        }
        Step::Change { name, uid, device, status_alone: true } => {
            let result = write_status(&api(&client, &name), &name, &uid, None, &device).await;
            (name, result)
        }
        Step::Change { name, uid, device, status_alone: false } => {
            let result = change(&api(&client, &name), &name, &uid, &device).await;
            (name, result)
        }
        Step::Delete(name, uid) => {
            let result = delete(&api(&client, &name), &name, &uid).await;
            (name, result)
        }
    };
    let (ended, error) = match result {
        Ok(ended) => (ended, None),
        Err((ended, error)) => (ended, Some(error)),
    };
    Made { name, ended, error }
}

fn api(client: &Client, name: &DeviceName) -> Api<SwapDevice> {
    Api::namespaced(client.clone(), &name.namespace)
}

type Answer = Result<Ended, (Ended, CallError)>;

/// A create never touches what somebody else, or we for an older pod, left under the name.
async fn create(api: &Api<SwapDevice>, name: &DeviceName, device: &SwapDevice) -> Answer {
    let parameters = PostParams { field_manager: Some(STATUS_MANAGER.to_owned()), ..PostParams::default() };
    match within(CALL_DEADLINE, api.create(&parameters, device)).await {
        // The status is a resource of its own and is not taken with the rest.
        Ok(made) => {
            write_status(api, name, made.metadata.uid.as_deref().unwrap_or_default(), Some(&made), device).await
        }
        Err(error) if code(&error) == Some(409) => look(api, name, error).await,
        Err(error) => failed(None, error),
    }
}

async fn change(api: &Api<SwapDevice>, name: &DeviceName, uid: &str, device: &SwapDevice) -> Answer {
    let body = json!({
        "metadata": { "uid": uid, "ownerReferences": device.metadata.owner_references },
        "spec": spec(device),
    });
    match within(CALL_DEADLINE, api.patch(&name.name, &parameters(), &Patch::Merge(body))).await {
        Ok(made) => write_status(api, name, uid, Some(&made), device).await,
        Err(error) => recovered(api, name, error).await,
    }
}

/// Of the object with this uid; `made` is how it stands by an answer that came before.
async fn write_status(
    api: &Api<SwapDevice>,
    name: &DeviceName,
    uid: &str,
    made: Option<&SwapDevice>,
    device: &SwapDevice,
) -> Answer {
    let body = json!({ "metadata": { "uid": uid }, "status": status(device) });
    match within(CALL_DEADLINE, api.patch_status(&name.name, &parameters(), &Patch::Merge(body))).await {
        Ok(written) => Ok(Ended { object: Some(there(&written)), failed: false, ours: true }),
        Err(error) => match recovered(api, name, error).await {
            Err((Ended { object: None, .. }, error)) => failed(made.map(there), error),
            answer => answer,
        },
    }
}

async fn delete(api: &Api<SwapDevice>, name: &DeviceName, uid: &str) -> Answer {
    let preconditions = Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None });
    let parameters = DeleteParams { preconditions, ..DeleteParams::default() };
    match within(CALL_DEADLINE, api.delete(&name.name, &parameters)).await {
        Ok(_) => Ok(Ended { object: Some(Object::Absent), failed: false, ours: false }),
        Err(error) => recovered(api, name, error).await,
    }
}

/// The object went, or is another one by now: the answer is what stands, and no failure.
async fn recovered(api: &Api<SwapDevice>, name: &DeviceName, error: CallError) -> Answer {
    match code(&error) {
        Some(404) => Ok(Ended { object: Some(Object::Absent), failed: false, ours: false }),
        Some(409 | 422) => look(api, name, error).await,
        _ => failed(None, error),
    }
}

/// Learns what stands. It counts as a failure all the same: the next call waits, whatever the reason of this one.
async fn look(api: &Api<SwapDevice>, name: &DeviceName, error: CallError) -> Answer {
    match within(CALL_DEADLINE, api.get_opt(&name.name)).await {
        Ok(Some(found)) => failed(Some(there(&found)), error),
        Ok(None) => failed(Some(Object::Absent), error),
        Err(_) => failed(None, error),
    }
}

fn failed(object: Option<Object>, error: CallError) -> Answer {
    Err((Ended { object, failed: true, ours: false }, error))
}

fn there(device: &SwapDevice) -> Object {
    Object::There(Box::new(Standing::of(device)))
}

fn parameters() -> PatchParams {
    PatchParams { field_manager: Some(STATUS_MANAGER.to_owned()), ..PatchParams::default() }
}

/// HTTP status of the answer.
pub(super) fn code(error: &CallError) -> Option<u16> {
    match error {
        CallError::Api(kube::Error::Api(status)) => Some(status.code),
        CallError::Api(_) | CallError::Deadline(_) => None,
    }
}

/// The namespace is gone, which answers 404 as a missing definition does.
pub(super) fn lacks_namespace(error: &CallError) -> bool {
    let CallError::Api(kube::Error::Api(status)) = error else { return false };
    status.code == 404 && status.details.as_ref().is_some_and(|details| details.kind == "namespaces")
}

/// Every field: a merge leaves what is not named.
fn spec(device: &SwapDevice) -> Value {
    let spec = &device.spec;
    json!({ "pod": spec.pod, "container": spec.container, "node": spec.node, "device": spec.device })
}

fn status(device: &SwapDevice) -> Value {
    let none = SwapDeviceStatus::default();
    let status = device.status.as_ref().unwrap_or(&none);
    json!({
        "state": status.state, "containerID": status.container_id,
        "locked": status.locked, "unlocked": status.unlocked, "swapped": status.swapped,
        "deviceUse": status.device_use, "nodeSwap": status.node_swap,
        "memoryLeft": status.memory_left, "swapMax": status.swap_max, "qos": status.qos,
        "conditions": status.conditions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SwapDeviceSpec;

    #[test]
    fn a_namespace_that_is_gone_is_no_missing_definition() {
        let error = |kind: &str| {
            let status = json!({ "code": 404, "details": { "kind": kind, "name": "n" } });
            let status: kube::core::Status = serde_json::from_value(status).unwrap();
            CallError::Api(kube::Error::Api(status.boxed()))
        };
        assert!(lacks_namespace(&error("namespaces")));
        assert!(!lacks_namespace(&error("swapdevices")));
    }

    /// A merge leaves what it does not name, so that each field of the types must be named, null among them.
    #[test]
    fn no_field_is_left_over() {
        let schema = serde_json::to_value(<SwapDevice as kube::CustomResourceExt>::crd()).unwrap();
        let schema = &schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        let device =
            SwapDevice::new("x", SwapDeviceSpec { pod: "p".into(), container: "c".into(), node: None, device: None });
        for (part, body) in [("spec", spec(&device)), ("status", status(&device))] {
            let fields = schema[part]["properties"].as_object().unwrap();
            assert_eq!(
                fields.keys().collect::<Vec<_>>(),
                body.as_object().unwrap().keys().collect::<Vec<_>>(),
                "{part}"
            );
        }
    }
}
