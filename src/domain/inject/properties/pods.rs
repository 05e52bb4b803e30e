//! Pods as people and other injectors write them, with everything that an injection may meet.

use proptest::{collection::vec, option, prelude::*};
use serde_json::{Map, Value, json};

use crate::domain::names;

fn capability_list() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("NET_ADMIN"),
        Just("IPC_LOCK"),
        Just("ipc_lock"),
        Just("CAP_IPC_LOCK"),
        Just("SYS_RESOURCE"),
        Just("ALL"),
    ];
    prop_oneof![vec(name, 0..4).prop_map(|names| json!(names)), Just(Value::Null)]
}

/// Unknown fields, `null`s and keys that need escaping, wherever an object may hold them.
fn decorated(fields: Map<String, Value>) -> impl Strategy<Value = Value> {
    option::weighted(0.3, ("[a-z/~]{1,6}", any::<i32>())).prop_map(move |extra| {
        let mut fields = fields.clone();
        if let Some((key, value)) = extra {
            fields.entry(format!("x-{key}")).or_insert_with(|| json!({ "future": value }));
        }
        Value::Object(fields)
    })
}

/// An object of those of the fields that are there.
fn object(fields: Vec<(&'static str, Option<Value>)>) -> Map<String, Value> {
    fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

fn security_context() -> impl Strategy<Value = Value> {
    let drop = prop_oneof![9 => Just(json!(["NET_RAW"])), 1 => Just(json!(["IPC_LOCK"]))];
    let capabilities = (option::of(capability_list()), option::of(drop))
        .prop_flat_map(|(add, drop)| decorated(object(vec![("add", add), ("drop", drop)])));
    let fields = (option::of(capabilities), option::of(any::<bool>()), option::of(0_i64..3)).prop_flat_map(
        |(capabilities, privileged, uid)| {
            decorated(object(vec![
                ("capabilities", capabilities),
                ("privileged", privileged.map(Value::from)),
                ("runAsUser", uid.map(Value::from)),
            ]))
        },
    );
    prop_oneof![fields, Just(Value::Null)]
}

fn env() -> impl Strategy<Value = Value> {
    let var = prop_oneof![
        Just(json!({ "name": "A", "value": "1" })),
        Just(json!({ "name": "LD_PRELOAD", "value": "/lib/theirs.so /lib/two.so" })),
        Just(json!({ "name": "LD_PRELOAD", "value": "" })),
        Just(json!({ "name": "LD_PRELOAD" })),
        Just(json!({ "name": "LD_PRELOAD", "valueFrom": { "configMapKeyRef": { "name": "m", "key": "k" } } })),
    ];
    prop_oneof![vec(var, 0..3).prop_map(Value::Array), Just(Value::Null)]
}

fn resources() -> impl Strategy<Value = Value> {
    let figures = prop_oneof![
        Just(json!({ "cpu": "1", "memory": "64Mi" })),
        Just(json!({ "memory": "128Mi", "hugepages-2Mi": "4Mi" })),
        Just(json!({ "cpu": 1 })),
        Just(json!({ "memory": null })),
    ];
    (option::of(figures.clone()), option::of(figures))
        .prop_map(|(requests, limits)| Value::Object(object(vec![("requests", requests), ("limits", limits)])))
}

fn container(name: String, restart: Option<&'static str>) -> impl Strategy<Value = Value> {
    let command = prop_oneof![Just(json!(["/bin/daemon", "--", "-x"])), Just(json!([])), Just(Value::Null)];
    let mounts = prop_oneof![
        Just(json!([])),
        Just(json!([{ "name": "data", "mountPath": "/data" }])),
        Just(json!([{ "name": "data", "mountPath": "/memlock/" }])),
        Just(Value::Null)
    ];
    let log = Just(json!("/var/log/end"));
    (
        option::of(security_context()),
        option::of(env()),
        option::of(resources()),
        option::of(command),
        option::of(mounts),
        option::weighted(0.2, log),
    )
        .prop_flat_map(move |(security, env, resources, command, mounts, log)| {
            decorated(object(vec![
                ("name", Some(json!(name))),
                ("image", Some(json!("i"))),
                ("restartPolicy", restart.map(Value::from)),
                ("securityContext", security),
                ("env", env),
                ("resources", resources),
                ("command", command),
                ("volumeMounts", mounts),
                ("terminationMessagePath", log),
            ]))
        })
}

fn containers(
    stem: &'static str,
    count: std::ops::Range<usize>,
    restart: Option<&'static str>,
) -> impl Strategy<Value = Vec<Value>> {
    count.prop_flat_map(move |n| (0..n).map(|i| container(format!("{stem}{i}"), restart)).collect::<Vec<_>>())
}

fn annotations() -> impl Strategy<Value = Map<String, Value>> {
    let word = |values: &'static [&'static str]| option::weighted(0.4, proptest::sample::select(values));
    (
        word(&["c0", "c0,c1", "s0", "c1, s0"]),
        word(&["true", "false"]),
        word(&["agent", "daemon"]),
        word(&["image", "grant"]),
        word(&["true", "false"]),
        word(&["512Mi", "unlimited"]),
        word(&["true", "false"]),
        word(&["true"]),
        word(&["{}", "not json", "{\"version\":1,\"made\":{\"spec/containers\":\"absent\"}}"]),
    )
        .prop_map(|(containers, required, by, capability, agent, limit, flusher, gate, forged)| {
            let all = [
                (names::SWAP_DEVICE, Some("true")),
                (names::CONTAINERS, containers),
                (names::REQUIRED, required),
                (names::LOCK_BY, by),
                (names::CAPABILITY, capability),
                (names::AGENT, agent),
                (names::LIMIT, limit),
                (names::IO_FLUSHER, flusher),
                (names::READINESS_GATE, gate),
                (names::INJECTED, forged),
            ];
            all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value?)))).collect()
        })
}

/// An opted-in pod.
pub(super) fn pod() -> impl Strategy<Value = Value> {
    let volumes = prop_oneof![
        4 => Just(json!([{ "name": "data", "emptyDir": {} }])),
        1 => Just(json!([{ "name": "memlock", "emptyDir": {} }])),
        1 => Just(Value::Null)
    ];
    let gates = prop_oneof![
        Just(json!([{ "conditionType": "theirs/Ready" }])),
        Just(json!([{ "conditionType": "memlock.dev/LockVerified" }])),
    ];
    (
        containers("c", 1..4, None),
        containers("i", 0..2, None),
        containers("s", 0..3, Some("Always")),
        annotations(),
        any::<bool>(),
        option::of(volumes),
        option::of(gates),
    )
        .prop_flat_map(|(main, init, sidecars, mut annotations, copied, volumes, gates)| {
            let mut metadata = Map::from_iter([("name".to_owned(), json!("p"))]);
            if copied {
                annotations.insert(names::STATUS.into(), json!("{\"state\":\"locked\"}"));
                metadata.insert("labels".into(), json!({ names::STATE: "locked", "app": "x" }));
            }
            metadata.insert("annotations".into(), Value::Object(annotations));
            let before: Vec<Value> = init.into_iter().chain(sidecars).collect();
            let spec = object(vec![
                ("containers", Some(json!(main))),
                ("initContainers", (!before.is_empty()).then(|| json!(before))),
                ("volumes", volumes),
                ("readinessGates", gates),
            ]);
            decorated(spec)
                .prop_map(move |spec| json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec }))
        })
}
