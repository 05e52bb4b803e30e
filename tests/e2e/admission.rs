//! API server → webhook, and what happens without it.

use serde_json::{Value, json};

use crate::{
    cluster::{Namespace, SYSTEM, eventually, kubectl, nbdkit, opted_in, run, running_id, succeed},
    host,
};

const WEBHOOK: &str = "deployment/memlock-operator-webhook";

fn error_of(namespace: &Namespace, pod: &Value) -> String {
    let output = namespace.create(pod);
    assert!(!output.status.success(), "must be refused: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn an_annotated_pod_gets_the_capability_and_others_nothing() {
    let namespace = Namespace::new("admission");
    let output = namespace.create(&nbdkit("annotated", &opted_in(), &["--swap"]));
    let warning = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(warning.contains("Warning: memlock: container nbdkit got the capability IPC_LOCK"), "{warning}");
    let pod = namespace.get("annotated").unwrap();
    assert_eq!(pod["spec"]["containers"][0]["securityContext"], json!({ "capabilities": { "add": ["IPC_LOCK"] } }));

    let output = namespace.create(&nbdkit("plain", &json!({ "other": "x" }), &[]));
    assert!(output.status.success() && output.stderr.is_empty());
    assert!(namespace.get("plain").unwrap()["spec"]["containers"][0]["securityContext"].is_null());
}

#[test]
fn what_cannot_be_followed_is_refused_by_a_sentence() {
    let namespace = Namespace::new("refused");
    let wrong = error_of(&namespace, &nbdkit("wrong", &json!({ "memlock.dev/swap-device": "yes" }), &[]));
    assert!(
        wrong.contains("annotation memlock.dev/swap-device has the value \"yes\": allowed are \"true\" and \"false\""),
        "{wrong}"
    );
    let mut empty = nbdkit("empty", &opted_in(), &[]);
    empty["spec"]["containers"] = json!([]);
    let empty = error_of(&namespace, &empty);
    assert!(empty.contains("the pod has no containers"), "{empty}");
    assert!(namespace.get("wrong").is_none() && namespace.get("empty").is_none());
}

#[test]
fn without_the_webhook_annotated_pods_are_refused_and_others_created() {
    let namespace = Namespace::new("down");
    let replicas = kubectl(&["-n", SYSTEM, "get", WEBHOOK, "-o", "jsonpath={.spec.replicas}"]);
    kubectl(&["-n", SYSTEM, "scale", WEBHOOK, "--replicas=0"]);
    kubectl(&[
        "-n",
        SYSTEM,
        "wait",
        "--for=delete",
        "pod",
        "-l",
        "app.kubernetes.io/component=webhook",
        "--timeout=60s",
    ]);
    let refused = error_of(&namespace, &nbdkit("annotated", &opted_in(), &[]));
    let plain = namespace.create(&nbdkit("plain", &json!({}), &[]));
    kubectl(&["-n", SYSTEM, "scale", WEBHOOK, &format!("--replicas={replicas}")]);
    kubectl(&["-n", SYSTEM, "rollout", "status", WEBHOOK, "--timeout=60s"]);

    assert!(refused.contains("failed calling webhook") && refused.contains("memlock"), "{refused}");
    assert!(plain.status.success(), "{}", String::from_utf8_lossy(&plain.stderr));
    eprintln!("refused with: {}", refused.trim());
    // Endpoints follow readiness by a moment.
    eventually("admission again", || {
        let output = namespace.create(&nbdkit("again", &opted_in(), &[]));
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    });
}

/// Posts to the webhook's Service from the node, as any pod could: status code and body.
fn post(body: &[u8]) -> (String, Value) {
    let address =
        kubectl(&["-n", SYSTEM, "get", "service", "memlock-operator-webhook", "-o", "jsonpath={.spec.clusterIP}"]);
    let file = std::env::temp_dir().join(format!("memlock-e2e-body-{}", std::process::id()));
    std::fs::write(&file, body).unwrap();
    let cluster = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/cluster");
    let data = format!("@{}", file.display());
    let url = format!("https://{address}/mutate/privileged");
    let answer = succeed(
        cluster,
        &[
            "in",
            "curl",
            "-sk",
            "--max-time",
            "20",
            "-H",
            "Expect:",
            "-H",
            "Content-Type: application/json",
            "--data-binary",
            &data,
            "-w",
            "\n%{http_code}",
            &url,
        ],
    );
    std::fs::remove_file(file).unwrap();
    let (body, code) = answer.rsplit_once('\n').unwrap();
    (code.to_owned(), serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body}")))
}

/// Names and restarts of the webhook's pods, once those of an earlier version have drained.
fn restarts() -> String {
    let fields = "jsonpath={.items[*].metadata.name} {.items[*].status.containerStatuses[*].restartCount}";
    let replicas: usize = kubectl(&["-n", SYSTEM, "get", WEBHOOK, "-o", "jsonpath={.spec.replicas}"]).parse().unwrap();
    eventually("the webhook's pods, and no others", || {
        let pods = kubectl(&["-n", SYSTEM, "get", "pods", "-l", "app.kubernetes.io/component=webhook", "-o", fields]);
        if pods.split_whitespace().count() == 2 * replicas { Ok(pods) } else { Err(pods) }
    })
}

#[test]
fn both_families_of_addresses_are_heard() {
    let of = "app.kubernetes.io/component=webhook";
    let pods: Value = serde_json::from_str(&kubectl(&["-n", SYSTEM, "get", "pods", "-l", of, "-o", "json"])).unwrap();
    let pid = host::first_process(&running_id(&pods["items"][0]).unwrap()).to_string();
    for address in ["127.0.0.1", "[::1]"] {
        let url = format!("http://{address}:8080/readyz");
        let said = succeed("nsenter", &["-t", &pid, "-n", "curl", "-sgf", "--max-time", "10", &url]);
        assert_eq!(said.trim(), "ok", "{address}");
    }
}

#[test]
fn bad_input_gets_its_answer_and_the_process_lives() {
    let before = restarts();
    let review = |object: Value, version: &str| {
        json!({ "apiVersion": version, "kind": "AdmissionReview", "request": {
            "uid": "u-1", "operation": "CREATE", "kind": { "group": "", "version": "v1", "kind": "Pod" }, "object": object } })
        .to_string()
        .into_bytes()
    };
    let v1 = "admission.k8s.io/v1";
    let mut no_containers = nbdkit("p", &opted_in(), &[]);
    no_containers["spec"]["containers"] = json!([]);
    let cases: [(&str, Vec<u8>, &str, &str); 7] = [
        ("empty body", Vec::new(), "400", "the request body is empty"),
        ("9 MiB", vec![b' '; 9 << 20], "413", "larger than 8 MiB"),
        ("not JSON", b"hello".to_vec(), "400", "not JSON"),
        (
            "without request",
            format!("{{\"apiVersion\":\"{v1}\",\"kind\":\"AdmissionReview\"}}").into_bytes(),
            "400",
            "has no request",
        ),
        ("v1beta1", review(nbdkit("p", &opted_in(), &[]), "admission.k8s.io/v1beta1"), "200", "v1beta1"),
        (
            "unknown value",
            review(nbdkit("p", &json!({ "memlock.dev/swap-device": "yes" }), &[]), v1),
            "200",
            "allowed are",
        ),
        ("no containers", review(no_containers, v1), "200", "the pod has no containers"),
    ];
    for (name, body, code, says) in cases {
        let (got, answer) = post(&body);
        let response = &answer["response"];
        let message = response["status"]["message"].as_str().unwrap_or_default();
        assert_eq!((got.as_str(), &response["allowed"]), (code, &json!(false)), "{name}: {answer}");
        assert!(message.contains(says), "{name}: {message}");
        eprintln!("{name}: {got} {message}");
    }
    assert_eq!(restarts(), before);
    assert!(run("kubectl", &["-n", SYSTEM, "rollout", "status", WEBHOOK, "--timeout=5s"]).status.success());
}
