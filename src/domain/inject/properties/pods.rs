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

/// Mostly such as hardened pods have.
fn dropped() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        8 => Just("ALL"),
        8 => Just("NET_RAW"),
        1 => Just("IPC_LOCK"),
        1 => Just("CAP_IPC_LOCK"),
        1 => Just("ipc_lock"),
        1 => Just("Cap_Sys_Resource"),
        1 => Just("all"),
    ];
    prop_oneof![9 => vec(name, 0..3).prop_map(|names| json!(names)), 1 => Just(Value::Null)]
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

fn security_context() -> BoxedStrategy<Value> {
    let capabilities = (option::of(capability_list()), option::of(dropped()))
        .prop_flat_map(|(add, drop)| decorated(object(vec![("add", add), ("drop", drop)])));
    let fields = (option::of(capabilities), option::of(any::<bool>()), option::of(0_i64..3), option::of(any::<bool>()))
        .prop_flat_map(|(capabilities, privileged, uid, non_root)| {
            decorated(object(vec![
                ("capabilities", capabilities),
                ("privileged", privileged.map(Value::from)),
                ("runAsUser", uid.map(Value::from)),
                ("runAsNonRoot", non_root.map(Value::from)),
            ]))
        });
    prop_oneof![fields, Just(Value::Null)].boxed()
}

fn pod_security_context() -> BoxedStrategy<Value> {
    let fields = (option::of(0_i64..3), option::of(any::<bool>()), option::of(Just(1000)));
    let fields = fields.prop_flat_map(|(uid, non_root, group)| {
        decorated(object(vec![
            ("runAsUser", uid.map(Value::from)),
            ("runAsNonRoot", non_root.map(Value::from)),
            ("fsGroup", group.map(Value::from)),
        ]))
    });
    prop_oneof![4 => fields, 1 => Just(Value::Null)].boxed()
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
        Just(json!({ "cpu": "250m" })),
        Just(json!({ "memory": null })),
    ];
    (option::of(figures.clone()), option::of(figures))
        .prop_map(|(requests, limits)| Value::Object(object(vec![("requests", requests), ("limits", limits)])))
}

fn container(name: String, restart: Option<&'static str>) -> BoxedStrategy<Value> {
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
        .boxed()
}

fn containers(
    stem: &'static str,
    count: std::ops::Range<usize>,
    restart: Option<&'static str>,
) -> impl Strategy<Value = Vec<Value>> {
    count.prop_flat_map(move |n| (0..n).map(|i| container(format!("{stem}{i}"), restart)).collect::<Vec<_>>())
}

/// What anybody may write as our record; the claims about `c0` are about what the author put there.
const FORGED: [&str; 5] = [
    "{}",
    "not json",
    r#"{"version":1,"made":{"spec/containers":"absent","spec/volumes":"absent","metadata/labels":"absent"}}"#,
    r#"{"version":1,"containers":{"c0":{"capabilities":["NET_ADMIN","ALL"],"made":{"securityContext":"absent","env":"null"}}}}"#,
    r#"{"version":1,"annotations":["theirs/key","memlock.dev/lock-by"],"containers":{"x":{"capabilities":["IPC_LOCK"]}}}"#,
];

fn annotations() -> BoxedStrategy<Map<String, Value>> {
    let word = |values: &'static [&'static str]| option::weighted(0.4, proptest::sample::select(values));
    let rare = |values: &'static [&'static str]| option::weighted(0.1, proptest::sample::select(values));
    let ways = (
        word(&["current,future", "future,current,onfault"]),
        rare(&["true", "false"]),
        rare(&["ublk"]),
        rare(&["/dev/ublkb0"]),
        rare(&["x"]),
    );
    (
        word(&["c0", "c0,c1", "s0", "c1, s0"]),
        word(&["true", "false"]),
        word(&["agent", "daemon"]),
        word(&["image", "grant"]),
        word(&["true", "false"]),
        word(&["512Mi", "unlimited"]),
        word(&["true", "false"]),
        word(&["true"]),
        word(&FORGED),
        ways,
    )
        .prop_map(|(containers, required, by, capability, agent, limit, flusher, gate, forged, ways)| {
            let (flags, verify_only, process, device, theirs) = ways;
            let all = [
                (names::LOCK_FLAGS, flags),
                (names::VERIFY_ONLY, verify_only),
                (names::PROCESS, process),
                (names::DEVICE, device),
                ("theirs/key", theirs),
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
        .boxed()
}

/// An opted-in pod. Boxed as its parts are: unboxed all of it together is more than the stack of a test.
pub(super) fn pod() -> BoxedStrategy<Value> {
    let volumes = prop_oneof![
        4 => Just(json!([{ "name": "data", "emptyDir": {} }])),
        1 => Just(json!([{ "name": "memlock", "emptyDir": {} }])),
        1 => Just(json!([{ "name": "memlock", "image": { "reference": "theirs" } }, { "name": "data" }])),
        1 => Just(Value::Null)
    ];
    let gates = prop_oneof![
        Just(json!([{ "conditionType": "theirs/Ready" }])),
        Just(json!([{ "conditionType": "memlock.dev/LockVerified" }])),
    ];
    let ephemeral = Just(json!([{ "name": "debugger", "image": "d", "targetContainerName": "c0" }]));
    let around = (
        option::of(pod_security_context()),
        option::weighted(0.2, any::<bool>()),
        option::weighted(0.2, ephemeral),
        option::of(Just(json!({ "x-owner": [{ "kind": "Later" }], "finalizers": ["theirs/x"] }))),
    );
    (
        containers("c", 1..4, None),
        containers("i", 0..2, None),
        containers("s", 0..3, Some("Always")),
        annotations(),
        any::<bool>(),
        option::of(volumes),
        option::of(gates),
        around,
    )
        .prop_flat_map(|(main, init, sidecars, mut annotations, copied, volumes, gates, around)| {
            let (security, host_users, ephemeral, unknown) = around;
            let mut metadata = Map::from_iter([("name".to_owned(), json!("p"))]);
            metadata.extend(unknown.as_ref().and_then(Value::as_object).cloned().unwrap_or_default());
            if copied {
                annotations.insert(names::STATUS.into(), json!("{\"state\":\"locked\"}"));
                metadata.insert("labels".into(), json!({ names::STATE: "locked", "app": "x" }));
            }
            metadata.insert("annotations".into(), Value::Object(annotations));
            let before: Vec<Value> = init.into_iter().chain(sidecars).collect();
            let spec = object(vec![
                ("containers", Some(json!(main))),
                ("initContainers", (!before.is_empty()).then(|| json!(before))),
                ("ephemeralContainers", ephemeral),
                ("securityContext", security),
                ("hostUsers", host_users.map(Value::from)),
                ("volumes", volumes),
                ("readinessGates", gates),
            ]);
            decorated(spec)
                .prop_map(move |spec| json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec }))
        })
        .boxed()
}
