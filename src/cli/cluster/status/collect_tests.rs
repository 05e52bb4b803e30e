use serde_json::{Value, json};

use super::{super::fake, *};

fn device(pod: &str, node: &str) -> Value {
    json!({
        "apiVersion": "memlock.dev/v1alpha1", "kind": "SwapDevice",
        "metadata": { "name": format!("{pod}.ublk"), "namespace": "storage" },
        "spec": { "pod": pod, "container": "ublk", "node": node },
    })
}

fn scope(pods: &[&str], node: Option<&str>, selector: Option<&str>) -> Scope {
    Scope {
        namespace: Some("storage".to_owned()),
        selector: selector.map(str::to_owned),
        node: node.map(str::to_owned),
        pods: pods.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// Where pods may not be read, but for `gone`, which is not there.
async fn without_pods(scope: &Scope) -> Result<Found, Failure> {
    let answer = |call: &str| match call {
        _ if call.contains("/swapdevices") => fake::list(&[device("ublk-0", "node-1"), device("ublk-1", "node-2")]),
        _ if call.ends_with("/pods/gone") => fake::refusal(404, "NotFound", "pods \"gone\" not found"),
        _ => fake::forbidden("pods"),
    };
    collect(&fake::cluster(answer).await.0, scope).await
}

fn shown(found: &Found) -> Vec<&str> {
    found.rows.iter().map(|row| row.device.spec.pod.as_str()).collect()
}

#[tokio::test]
async fn without_the_pods_only_devices_that_were_asked_for_are_shown() {
    let all = without_pods(&scope(&[], None, None)).await.unwrap();
    assert_eq!((shown(&all), all.failures.len(), all.unread), (vec!["ublk-0", "ublk-1"], 0, true));
    assert!(all.notes.concat().contains("pods is forbidden"), "{:?}", all.notes);
    let of_node = without_pods(&scope(&[], Some("node-2"), None)).await.unwrap();
    assert_eq!(shown(&of_node), ["ublk-1"]);
    let named = without_pods(&scope(&["ublk-1"], None, None)).await.unwrap();
    assert_eq!((shown(&named), named.failures.len()), (vec!["ublk-1"], 0));
    // The devices do not have the labels of the pods.
    assert!(without_pods(&scope(&[], None, Some("app=x"))).await.unwrap_err().is_forbidden());
}

#[tokio::test]
async fn without_the_pods_a_name_that_no_device_has_is_told_once() {
    let found = without_pods(&scope(&["gone", "ublk-0", "missing"], None, None)).await.unwrap();
    assert_eq!(shown(&found), ["ublk-0"]);
    let said: Vec<String> = found.failures.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    for (sentence, name) in said.iter().zip(["gone", "missing"]) {
        assert!(sentence.starts_with(&format!("error: no SwapDevice speaks of pod {name}, ")), "{sentence}");
    }
}
