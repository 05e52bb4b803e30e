//! Another injector that adds a sidecar and reorders the containers, called before us and after us.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::cluster::{Namespace, apply, eventually, kubectl_with, opted_in, run};

const ADDRESS: &str = "127.0.0.1:18443";

/// The other injector, in the node's network, where the API server can reach it.
struct Injector {
    process: Child,
    certificate: String,
}

impl Injector {
    fn start() -> Self {
        // Beside this program's own folder, built by tests/e2e/run.
        let program: PathBuf =
            std::env::current_exe().unwrap().parent().unwrap().with_file_name("examples/sidecar-injector");
        let cluster = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/cluster");
        let mut process = Command::new(cluster)
            .args(["in", program.to_str().unwrap(), ADDRESS])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/cluster/cluster starts");
        let mut certificate = String::new();
        for line in BufReader::new(process.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            certificate.push_str(&line);
            certificate.push('\n');
            if line.starts_with("-----END") {
                break;
            }
        }
        let injector = Self { process, certificate };
        let cluster = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/cluster");
        eventually("the other injector listens", || {
            let probe = format!("echo > /dev/tcp/{}", ADDRESS.replace(':', "/"));
            let output = run(cluster, &["in", "bash", "-c", &probe]);
            if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
        });
        injector
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Its registration; webhooks are called in the order of these names.
struct Registered(String);

impl Registered {
    fn new(name: &str, namespace: &Namespace, injector: &Injector) -> Self {
        use base64::{Engine, engine::general_purpose::STANDARD};
        apply(&json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": { "name": name },
            "webhooks": [{
                "name": "sidecar.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "failurePolicy": "Fail", "reinvocationPolicy": "IfNeeded",
                "clientConfig": {
                    "url": format!("https://{ADDRESS}/inject"),
                    "caBundle": STANDARD.encode(&injector.certificate),
                },
                "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] }],
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace.0 } },
            }],
        }));
        Self(name.to_owned())
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        run("kubectl", &["delete", "mutatingwebhookconfiguration", &self.0]);
    }
}

fn pod(lock_by: &str) -> Value {
    let mut annotations = opted_in();
    annotations["memlock.dev/lock-by"] = json!(lock_by);
    annotations["kubectl.kubernetes.io/default-container"] = json!("ublk");
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "device", "annotations": annotations },
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [
                { "name": "exporter", "image": "registry.example/exporter:1" },
                { "name": "ublk", "image": "registry.example/ublk:1", "command": ["/ublk"] },
            ],
        },
    })
}

/// As the API server would create it, the sidecar aside and in one order.
fn admitted(namespace: &Namespace, pod: &Value) -> (Value, bool) {
    let output = kubectl_with(&["-n", &namespace.0, "create", "-f", "-", "--dry-run=server", "-o", "json"], pod);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut pod: Value = serde_json::from_slice(&output.stdout).unwrap();
    let containers = pod["spec"]["containers"].as_array_mut().unwrap();
    let had = containers.iter().any(|c| c["name"] == "proxy");
    containers.retain(|c| c["name"] != "proxy");
    containers.sort_by_key(|c| c["name"].to_string());
    for key in ["uid", "creationTimestamp", "managedFields"] {
        pod["metadata"].as_object_mut().unwrap().remove(key);
    }
    (pod, had)
}

#[test]
fn their_order_makes_no_difference() {
    let namespace = Namespace::new("injectors");
    let injector = Injector::start();
    for lock_by in ["daemon", "agent"] {
        let pod = pod(lock_by);
        let (alone, had) = admitted(&namespace, &pod);
        assert!(!had);
        assert_eq!(alone["spec"]["containers"][1]["securityContext"]["capabilities"]["add"], json!(["IPC_LOCK"]));
        for name in ["a-sidecar-injector", "z-sidecar-injector"] {
            let _registered = Registered::new(name, &namespace, &injector);
            // The API server learns of a configuration by a watch.
            let with = eventually("the other injector", || match admitted(&namespace, &pod) {
                (pod, true) => Ok(pod),
                (pod, false) => Err(pod.to_string()),
            });
            assert_eq!(with, alone, "{name}, lock-by {lock_by}");
        }
        eventually("the other injector's end", || {
            if admitted(&namespace, &pod).1 { Err("still there".into()) } else { Ok(()) }
        });
    }
}
