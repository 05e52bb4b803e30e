use serde_json::json;

use super::{
    super::{installation::tests::installation, serving::tests::serving},
    *,
};

/// A workload with annotations on itself and in its template.
fn workload(namespace: &str, name: &str, own: &Value, inside: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": { "name": name, "namespace": namespace, "annotations": own },
        "spec": { "template": { "metadata": { "annotations": inside }, "spec": { "containers": [{ "name": "c", "image": "i" }] } } },
    })
}

fn opted_in() -> Value {
    json!({ names::SWAP_DEVICE: "true" })
}

fn levels() -> Levels {
    let namespace = |name: &str, label: Option<&str>| {
        let mut labels = Labels::from([("kubernetes.io/metadata.name".to_owned(), name.to_owned())]);
        labels.extend(label.map(|value| (names::POD_SECURITY_ENFORCE.to_owned(), value.to_owned())));
        (name.to_owned(), labels)
    };
    let all = [namespace("good", None), namespace("strict", Some("baseline")), namespace("kube-system", None)];
    Levels::new(Some(&serving()), &all)
}

fn said(objects: &[Value]) -> String {
    let findings = judge(objects, Some(&levels()), &installation("0.1.0", 1, 1));
    findings.iter().flat_map(|finding| [finding.line(false), "\n".to_owned()]).collect()
}

#[test]
fn workloads_are_told_by_what_is_to_be_done() {
    let lenient = json!({ names::SWAP_DEVICE: "true", names::REQUIRED: "false" });
    let unknown = json!({ names::SWAP_DEVICE: "true", names::CONTAINERS: "x" });
    let mut objects = vec![
        workload("good", "fine", &json!({}), &opted_in()),
        workload("good", "misplaced", &opted_in(), &json!({})),
        workload("good", "mistaken", &json!({}), &unknown),
        workload("strict", "lenient", &json!({}), &lenient),
        workload("kube-system", "left-out", &json!({}), &opted_in()),
    ];
    objects.extend((0..5).map(|n| workload("strict", &format!("refused-{n}"), &json!({}), &opted_in())));
    insta::assert_snapshot!(said(&objects));
}

#[test]
fn nothing_annotated_is_in_order() {
    assert_eq!(
        said(&[]),
        "✓ pod-security   every namespace with annotated workloads allows IPC_LOCK\n✓ workloads      0 annotated workloads are in order\n"
    );
}

#[test]
fn levels_that_may_not_be_read_are_not_good() {
    let objects = [workload("strict", "refused", &json!({}), &opted_in())];
    let findings = judge(&objects, None, &installation("0.1.0", 1, 1));
    assert_eq!(findings.iter().map(|finding| finding.mark).collect::<Vec<_>>(), [Mark::Unknown, Mark::Good]);
}

#[test]
fn only_what_nobody_else_writes_counts() {
    let raw = |owners: &Value| {
        let mut object = workload("good", "w", &json!({}), &opted_in());
        object["metadata"]["ownerReferences"] = owners.clone();
        serde_json::from_value::<DynamicObject>(object).unwrap()
    };
    assert!(is_annotated(&raw(&json!([]))));
    assert!(!is_annotated(&raw(&json!([{ "apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "u" }]))));
    let object = of_kind(&raw(&json!([])), "apps", "StatefulSet");
    assert_eq!(kinds::places(&object).len(), 1);
}
