use serde_json::json;

use super::*;
use crate::api::SwapDevice;

fn row(name: &str, state: &str, node: &str, born: &str) -> Row {
    let locked = state == "Locked";
    let device: SwapDevice = serde_json::from_value(json!({
        "apiVersion": "memlock.dev/v1alpha1", "kind": "SwapDevice",
        "metadata": { "name": format!("{name}.ublk"), "namespace": "storage", "creationTimestamp": born, "managedFields": [{}] },
        "spec": { "pod": name, "container": "ublk", "node": node, "device": "/dev/ublkb0" },
        "status": {
            "state": state,
            "locked": locked.then_some("202Mi"), "unlocked": locked.then_some("0"), "swapped": locked.then_some("0"),
            "deviceUse": locked.then_some("40%"), "nodeSwap": locked.then_some("1Gi/8Gi"),
            "memoryLeft": locked.then_some("310Mi/512Mi"), "swapMax": locked.then_some("0"), "qos": "Guaranteed",
            "conditions": [{ "type": "Locked", "status": "Unknown", "reason": if locked { "Locked" } else { "CannotCheck" },
                             "message": format!("about {name}\u{1b}[31m"), "lastTransitionTime": born }],
        },
    }))
    .unwrap();
    Row { device, exists: state != "Pending" }
}

fn rows() -> Vec<Row> {
    vec![
        row("ublk-1", "Unknown", "a", "2026-01-01T09:00:00Z"),
        row("ublk-0", "Locked", "b", "2026-01-01T09:57:00Z"),
        row("ublk-2", "Pending", "a", "2026-01-01T09:59:59Z"),
        row("ublk-3", "Swapped", "a", "2025-12-30T09:59:59Z"),
    ]
}

fn now() -> Timestamp {
    "2026-01-01T10:00:00Z".parse().unwrap()
}

fn table(output: Output, no_headers: bool, namespaces: bool, paints: bool) -> Table {
    Table::new(&Shape { output, no_headers, sort_by: Order::Name }, namespaces, paints)
}

#[test]
fn tables() {
    let mut rows = rows();
    sort(&mut rows, Order::Name);
    let print =
        |output, no_headers, namespaces, paints| table(output, no_headers, namespaces, paints).print(&rows, now());
    let all = [
        ("one namespace", print(Output::Table, false, false, false)),
        ("all namespaces", print(Output::Table, false, true, false)),
        ("wide", print(Output::Wide, false, true, false)),
        ("without its first line", print(Output::Table, true, false, false)),
        ("in colour", print(Output::Table, false, false, true).replace('\u{1b}', "ESC")),
        ("names", print(Output::Name, false, false, false)),
    ];
    let text: Vec<String> = all.iter().map(|(title, text)| format!("--- {title}\n{text}")).collect();
    insta::assert_snapshot!(text.concat());
}

#[test]
fn objects() {
    let rows = [row("ublk-0", "Locked", "b", "2026-01-01T09:57:00Z")];
    let json = table(Output::Json, false, false, false).print(&rows, now());
    let yaml = table(Output::Yaml, false, false, false).print(&rows, now());
    insta::assert_snapshot!(format!("{json}---\n{yaml}"));
    let nothing = table(Output::Json, false, false, false).print(&[], now());
    assert_eq!(serde_json::from_str::<Value>(&nothing).unwrap()["items"], json!([]));
}

#[test]
fn orders() {
    let by = |order| {
        let mut rows = rows();
        sort(&mut rows, order);
        rows.iter().map(|row| row.device.spec.pod.clone()).collect::<Vec<_>>()
    };
    assert_eq!(by(Order::State), ["ublk-3", "ublk-1", "ublk-2", "ublk-0"]);
    assert_eq!(by(Order::Age), ["ublk-2", "ublk-0", "ublk-1", "ublk-3"]);
    assert_eq!(by(Order::Node), ["ublk-1", "ublk-2", "ublk-3", "ublk-0"]);
}

#[test]
fn one_sentence_sums_it_up_and_names_the_worst() {
    let said: Vec<String> = summary(&rows()).collect();
    let expected = "4 containers: 1 Locked, 1 Pending, 1 Unknown, 1 Swapped; why, and what to do: kubectl memlock explain ublk-3 -n storage";
    assert_eq!(said, [expected]);
    let locked = [row("ublk-0", "Locked", "b", "2026-01-01T09:57:00Z")];
    assert_eq!(summary(&locked).collect::<Vec<_>>(), ["1 container: 1 Locked"]);
    assert_eq!(summary(&[]).count(), 0);
}

#[test]
fn a_watch_prints_what_changed_below_the_same_heads() {
    let mut table = table(Output::Table, false, false, false);
    let before = rows();
    assert_eq!(table.print(&before, now()).lines().count(), 5);
    assert_eq!(table.print_changed(&before, now()), "", "nothing is new");
    let mut after = before.clone();
    after[0] = row("ublk-1", "Locked", "a", "2026-01-01T09:00:00Z");
    after[1].device.metadata.resource_version = Some("8".to_owned());
    let printed = table.print_changed(&after, now());
    assert_eq!(
        printed,
        "ublk-1.ublk   ublk-1   ublk        Locked    202Mi    0          0         Locked        60m\n"
    );
}
