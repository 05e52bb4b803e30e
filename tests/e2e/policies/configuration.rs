//! What the controller's account may write into its webhook configuration.

use serde_json::{Value, json};

use super::{as_controller, passes, refused};
use crate::cluster::run;

const NAME: &str = "memlock-operator";

#[test]
fn the_controllers_account_writes_the_authorities_and_nothing_else() {
    let patch = |operations: &Value| {
        let operations = operations.to_string();
        as_controller(&[
            "patch",
            "mutatingwebhookconfiguration",
            NAME,
            "--dry-run=server",
            "--type=json",
            "-p",
            &operations,
        ])
    };
    let replace = |path: &str, value: Value| json!([{ "op": "add", "path": path, "value": value }]);

    passes(|| patch(&replace("/webhooks/0/clientConfig/caBundle", json!("Y2E="))));
    let other = json!({ "apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"] });
    let foreign = [
        ("entries", replace("/webhooks/0/failurePolicy", json!("Ignore"))),
        ("entries", replace("/webhooks/0/rules/-", other)),
        ("entries", replace("/webhooks/1/matchConditions", json!([]))),
        ("entries", replace("/webhooks/2/namespaceSelector", json!({}))),
        ("entries", replace("/webhooks/3/clientConfig/service/name", json!("other"))),
        ("entries", replace("/webhooks/0/clientConfig/service/path", json!("/other"))),
        ("entries", json!([{ "op": "remove", "path": "/webhooks/0" }])),
        ("metadata", replace("/metadata/annotations/a", json!("b"))),
        ("metadata", replace("/metadata/finalizers", json!(["a.b/c"]))),
    ];
    for (words, operations) in foreign {
        refused("configuration", words, || patch(&operations));
    }
    // Anybody else: an administrator is not asked.
    let annotated = run("kubectl", &["annotate", "mutatingwebhookconfiguration", NAME, "a=b", "--dry-run=server"]);
    assert!(annotated.status.success());
}
