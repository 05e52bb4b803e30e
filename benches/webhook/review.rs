//! The review that is sent.

use serde_json::{Value, json};

/// A pod as the API server sends it when its author's tool has 60 variables in it, with its managed fields: 7.4 kB.
pub(super) fn body() -> Vec<u8> {
    let env: Vec<Value> =
        (0..60).map(|n| json!({ "name": format!("VAR_{n:02}"), "value": format!("value {n:02}") })).collect();
    let owned: Value = (0..60)
        .map(|n| (format!("k:{{\"name\":\"VAR_{n:02}\"}}"), json!({ ".": {}, "f:name": {}, "f:value": {} })))
        .collect();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "nbd-0", "namespace": "storage", "labels": { "app": "nbd" },
            "annotations": { "memlock.dev/swap-device": "true" },
            "managedFields": [{ "manager": "kubectl-create", "operation": "Update", "apiVersion": "v1",
                "fieldsType": "FieldsV1", "fieldsV1": { "f:spec": { "f:containers": { "k:{\"name\":\"nbd\"}": { "f:env": owned } } } } }],
        },
        "spec": {
            "containers": [{
                "name": "nbd", "image": "registry.example/nbdkit:1", "command": ["/usr/bin/nbdkit"], "args": ["--foreground", "memory", "1G"], "env": env,
                "resources": { "requests": { "cpu": "500m", "memory": "256Mi" }, "limits": { "memory": "256Mi" } },
                "volumeMounts": [{ "name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true }],
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["NET_RAW"] } },
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent",
            }],
            "volumes": [{ "name": "kube-api-access", "projected": { "sources": [] } }],
            "serviceAccountName": "default", "restartPolicy": "Always", "schedulerName": "default-scheduler",
        },
    });
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "1d0e7bd6-4f3f-4a6c-9bd1-4ea4b0c9e5a7", "operation": "CREATE", "namespace": "storage", "name": "nbd-0", "dryRun": false,
            "kind": { "group": "", "version": "v1", "kind": "Pod" }, "resource": { "group": "", "version": "v1", "resource": "pods" },
            "userInfo": { "username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"] },
            "object": pod, "oldObject": null, "options": { "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1" },
        },
    });
    let body = review.to_string().into_bytes();
    assert!((7_300..7_500).contains(&body.len()), "{} bytes", body.len());
    body
}
