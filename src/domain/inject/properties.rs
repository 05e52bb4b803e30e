//! What holds for every pod, not only for the ones we thought of.

use json_patch::Patch;
use proptest::{collection::vec, option, prelude::*};
use serde_json::{Map, Value, json};

use super::{Pod, decide, patch, plan};
use crate::domain::names;

fn run(raw: &Value) -> (Patch, bool) {
    let pod: Pod = serde_json::from_value(raw.clone()).unwrap();
    let decision = decide(&pod);
    let patch = patch(&plan(&decision, &pod), &pod);
    (patch, decision.grants.is_empty())
}

fn applied(raw: &Value, patch: &Patch) -> Value {
    let mut after = raw.clone();
    json_patch::patch(&mut after, patch).unwrap();
    after
}

fn capability_list() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("NET_ADMIN"),
        Just("IPC_LOCK"),
        Just("ipc_lock"),
        Just("CAP_IPC_LOCK"),
        Just("SYS_TIME"),
        Just("ALL"),
    ];
    prop_oneof![vec(name, 0..4).prop_map(|names| json!(names)), Just(Value::Null)]
}

/// Unknown fields, `null`s and keys that need escaping, wherever an object may hold them.
fn decorated(fields: Map<String, Value>) -> impl Strategy<Value = Value> {
    option::of(("[a-z/~]{1,6}", any::<i32>())).prop_map(move |extra| {
        let mut fields = fields.clone();
        if let Some((key, value)) = extra {
            fields.entry(format!("x-{key}")).or_insert_with(|| json!({ "future": value }));
        }
        Value::Object(fields)
    })
}

fn security_context() -> impl Strategy<Value = Value> {
    let capabilities =
        (option::of(capability_list()), option::of(Just(json!(["NET_RAW"])))).prop_flat_map(|(add, drop)| {
            let mut fields = Map::new();
            add.map(|v| fields.insert("add".into(), v));
            drop.map(|v| fields.insert("drop".into(), v));
            decorated(fields)
        });
    let fields = (option::of(capabilities), option::of(any::<bool>()), option::of(0_i64..3)).prop_flat_map(
        |(c, privileged, uid)| {
            let mut fields = Map::new();
            c.map(|v| fields.insert("capabilities".into(), v));
            privileged.map(|v| fields.insert("privileged".into(), json!(v)));
            uid.map(|v| fields.insert("runAsUser".into(), json!(v)));
            decorated(fields)
        },
    );
    prop_oneof![fields, Just(Value::Null)]
}

fn container(name: String, sidecar: bool) -> impl Strategy<Value = Value> {
    option::of(security_context()).prop_flat_map(move |security| {
        let mut fields = Map::from_iter([("name".to_owned(), json!(name)), ("image".to_owned(), json!("i"))]);
        if sidecar {
            fields.insert("restartPolicy".into(), json!("Always"));
        }
        security.map(|v| fields.insert("securityContext".into(), v));
        decorated(fields)
    })
}

fn containers(stem: &'static str, count: std::ops::Range<usize>, sidecar: bool) -> impl Strategy<Value = Vec<Value>> {
    count.prop_flat_map(move |n| (0..n).map(|i| container(format!("{stem}{i}"), sidecar)).collect::<Vec<_>>())
}

fn pod() -> impl Strategy<Value = Value> {
    let chosen = option::of(prop_oneof![Just("c0"), Just("c0,c1"), Just("s0"), Just("c1, s0")]);
    let copied = any::<bool>();
    (containers("c", 1..4, false), containers("s", 0..3, true), chosen, copied).prop_flat_map(
        |(main, init, chosen, copied)| {
            let mut annotations = Map::from_iter([(names::SWAP_DEVICE.to_owned(), json!("true"))]);
            chosen.map(|v| annotations.insert(names::CONTAINERS.into(), json!(v)));
            let mut metadata = Map::from_iter([("name".to_owned(), json!("p"))]);
            if copied {
                annotations.insert(names::STATUS.into(), json!("{\"state\":\"locked\"}"));
                metadata.insert("labels".into(), json!({ names::STATE: "locked", "app": "x" }));
            }
            metadata.insert("annotations".into(), Value::Object(annotations));
            let mut spec = Map::from_iter([("containers".to_owned(), json!(main))]);
            if !init.is_empty() {
                spec.insert("initContainers".into(), json!(init));
            }
            decorated(spec)
                .prop_map(move |spec| json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec }))
        },
    )
}

/// Takes back, by hand and from the outside, exactly what the intent allows to change.
fn without_the_intent(before: &Value, after: &Value) -> Value {
    let mut after = after.clone();
    if let Some(annotations) = after["metadata"]["annotations"].as_object_mut() {
        annotations.remove(names::INJECTED);
        if let Some(status) = before["metadata"]["annotations"].get(names::STATUS) {
            annotations.insert(names::STATUS.into(), status.clone());
        }
    }
    if let Some(state) = before["metadata"].get("labels").and_then(|l| l.get(names::STATE)) {
        after["metadata"]["labels"][names::STATE] = state.clone();
    }
    for list in ["containers", "initContainers"] {
        let count = before["spec"][list].as_array().map_or(0, Vec::len);
        for n in 0..count {
            restore_added(&before["spec"][list][n], &mut after["spec"][list][n]);
        }
    }
    after
}

fn restore_added(before: &Value, after: &mut Value) {
    let added = |c: &Value| c.pointer("/securityContext/capabilities/add").cloned();
    if added(before) == added(after) {
        return;
    }
    let mut expected = added(before).and_then(|v| v.as_array().cloned()).unwrap_or_default();
    expected.push(json!(names::IPC_LOCK));
    assert_eq!(added(after), Some(json!(expected)), "IPC_LOCK goes to the end, once");
    for path in ["/securityContext/capabilities/add", "/securityContext/capabilities", "/securityContext"] {
        let (parent, key) = path.rsplit_once('/').unwrap();
        let old = before.pointer(path).cloned();
        let parent = after.pointer_mut(parent).and_then(Value::as_object_mut).unwrap();
        match old {
            None => {
                parent.remove(key);
            }
            Some(Value::Null) => {
                parent.insert(key.to_owned(), Value::Null);
            }
            Some(_) if path.ends_with("/add") => {
                parent.insert(key.to_owned(), old.unwrap());
            }
            Some(_) => {}
        }
    }
}

proptest! {
    #[test]
    fn the_patch_adds_exactly_the_intent_and_a_second_run_is_empty(raw in pod()) {
        let (first, _) = run(&raw);
        let after = applied(&raw, &first);
        prop_assert_eq!(without_the_intent(&raw, &after), raw.clone());
        let (second, nothing_granted) = run(&after);
        prop_assert!(second.0.is_empty(), "second run: {}", serde_json::to_string(&second).unwrap());
        prop_assert!(nothing_granted);
    }

    #[test]
    fn every_chosen_container_may_lock_afterwards(raw in pod()) {
        let pod: Pod = serde_json::from_value(raw.clone()).unwrap();
        let targets = decide(&pod).targets;
        let after = applied(&raw, &run(&raw).0);
        for target in &targets {
            let container = ["containers", "initContainers"].iter()
                .filter_map(|list| after["spec"][*list].as_array())
                .flatten().find(|c| c["name"] == json!(target)).unwrap();
            let privileged = container.pointer("/securityContext/privileged") == Some(&json!(true));
            let added = container.pointer("/securityContext/capabilities/add").and_then(Value::as_array).cloned().unwrap_or_default();
            let named = added.iter().filter_map(Value::as_str).any(|c| c == "ALL" || c.eq_ignore_ascii_case("IPC_LOCK"));
            prop_assert!(privileged || named, "{container}");
        }
    }

    #[test]
    fn a_pod_that_did_not_opt_in_is_untouched(mut raw in pod()) {
        raw["metadata"]["annotations"][names::SWAP_DEVICE] = json!("false");
        prop_assert!(run(&raw).0.0.is_empty());
    }
}
