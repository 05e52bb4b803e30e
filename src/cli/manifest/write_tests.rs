use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Map, Value, json};

use super::*;

fn value(text: &str) -> Value {
    let documents = documents::read(text).unwrap_or_else(|e| panic!("line {}: {}\n{text}", e.line, e.sentence));
    let node = documents.into_iter().find_map(|document| document.node).unwrap();
    node.value(Schema::Kubernetes).unwrap()
}

fn change(text: &str, edit: impl Fn(&mut Value)) -> Written {
    let document = documents::read(text).unwrap().remove(0);
    let node = document.node.as_ref().unwrap();
    let mut new = node.value(Schema::Kubernetes).unwrap();
    edit(&mut new);
    let written = changed(&document, node, &new, Schema::Kubernetes).unwrap();
    assert_eq!(value(&written.text), new, "{}", written.text);
    written
}

const POD: &str = "\
# who: storage
apiVersion: v1
kind: Pod # a pod
metadata:
    name: ublk

    annotations:
        memlock.dev/swap-device: \"true\" # opt in
spec:
    containers:
      # the daemon
      - name: ublk
        command: [ublk, \"-f\"]
        securityContext: {capabilities: {drop: [ALL]}}
      - name: side
        image: x
        # the end
";

#[test]
fn an_edit_keeps_comments_order_and_layout() {
    let written = change(POD, |pod| {
        pod["metadata"]["annotations"]["memlock.dev/injected"] = json!("{\"version\":1}");
        pod["spec"]["containers"][0]["securityContext"]["capabilities"]["add"] = json!(["IPC_LOCK"]);
        pod["spec"]["containers"][0]["command"] = json!(["/memlock/memlock", "--", "ublk", "-f"]);
        pod["spec"]["containers"][1]["securityContext"] = json!({ "capabilities": { "add": ["IPC_LOCK"] } });
        pod["spec"]["initContainers"] = json!([{ "name": "memlock-init", "command": ["a", "true"] }]);
    });
    assert!(!written.lost);
    insta::assert_snapshot!(written.text);
}

#[test]
fn a_marker_behind_a_carriage_return_alone_stays() {
    let written = change("metadata: &m\n  name: a\nspec: Pod\r...\n", |pod| pod["metadata"]["name"] = json!("b"));
    assert!(written.text.ends_with("spec: Pod\r...\n") || written.text.ends_with("spec: Pod\n...\n"), "{written:?}");
}

#[rstest]
#[case::lf(POD.to_owned())]
#[case::crlf(POD.replace('\n', "\r\n"))]
#[case::no_last_line_break(POD.trim_end_matches("        # the end\n").trim_end().to_owned())]
#[case::flow("{apiVersion: v1, metadata: {annotations: {a: b}}, spec: {containers: [{name: a}, {name: b}]}}\n".to_owned())]
#[case::json(serde_json::to_string_pretty(&json!({ "spec": { "containers": [{ "name": "a" }, { "name": "b" }] }, "metadata": { "annotations": { "a": "b" } } })).unwrap())]
fn what_an_edit_adds_another_takes_away_to_the_byte(#[case] text: String) {
    let original = value(&text);
    let written = change(&text, |pod| {
        pod["metadata"]["annotations"]["memlock.dev/injected"] = json!("x: y");
        for container in pod["spec"]["containers"].as_array_mut().unwrap() {
            container["env"] = json!([{ "name": "A", "value": "1" }]);
        }
        let containers = pod["spec"]["containers"].as_array_mut().unwrap();
        containers.insert(0, json!({ "name": "first" }));
        containers.push(json!({ "name": "last", "args": ["a\nb\n"] }));
        pod["spec"]["volumes"] = json!([{ "name": "memlock", "emptyDir": {} }]);
    });
    assert!(!written.lost, "{}", written.text);
    let back = change(&written.text, |pod| *pod = original.clone());
    assert_eq!(back.text, text);
}

#[rstest]
#[case::null("a: 1\nspec: # todo\nb: 2\n", "a: 1\nspec:\n  x: w # todo\nb: 2\n")]
#[case::empty("a: 1\nspec: {}\nb: 2\n", "a: 1\nspec:\n  x: w\nb: 2\n")]
#[case::merged("base: &b\n  k: v\nspec:\n  <<: *b\n", "base: &b\n  k: v\nspec:\n  <<: *b\n  x: w\n")]
fn small_edits(#[case] text: &str, #[case] expected: &str) {
    let written = change(text, |object| {
        if !object["spec"].is_object() {
            object["spec"] = json!({});
        }
        object["spec"]["x"] = json!("w");
    });
    assert_eq!((written.text.as_str(), written.lost), (expected, false));
}

#[test]
fn an_anchor_that_others_use_is_not_changed_under_them() {
    let text = "---\n# head\na: &c # lost\n  k: v\nspec: *c\n# foot\n";
    let written = change(text, |object| object["a"]["x"] = json!("y"));
    assert!(written.lost);
    assert_eq!(written.text, "---\n# head\na:\n  k: v\n  x: \"y\"\nspec:\n  k: v\n# foot\n");
}

#[test]
fn a_text_block_at_the_end_has_the_line_break_that_the_file_has() {
    assert_eq!(value("a: |\n  b"), json!({ "a": "b" }));
    assert_eq!(value("a: |\n  b\n"), json!({ "a": "b\n" }));
    assert_eq!(value("a: |\n  b\n---\n"), json!({ "a": "b\n" }));
}

#[test]
fn lists_as_indented_as_their_key_are_edited_too() {
    let text = "l:\n- name: a # one\n  x: 1\n- name: b # two\n  x: 2\nm:\n  # none\n- - 1\n- 2\n";
    let written = change(text, |object| {
        object["l"][0]["z"] = json!(["w"]);
        object["l"][1]["z"] = json!(3);
        object["m"][1] = json!(4);
    });
    let expected =
        "l:\n- name: a # one\n  x: 1\n  z:\n  - w\n- name: b # two\n  x: 2\n  z: 3\nm:\n  # none\n- - 1\n- 4\n";
    assert_eq!((written.text.as_str(), written.lost), (expected, false));
}

#[test]
fn an_alias_is_written_out_where_it_changes() {
    let written = change("a: &c\n  k: v\nspec: *c\n", |object| object["spec"]["x"] = json!(1));
    assert_eq!((written.text.as_str(), written.lost), ("a: &c\n  k: v\nspec:\n  k: v\n  x: 1\n", false));
}

#[rstest]
#[case::yaml(include_str!("../../../fuzz/seeds/manifest/key-over-lines.yaml"))]
#[case::flow(include_str!("../../../fuzz/seeds/manifest/key-over-lines-flow.yaml"))]
fn beside_a_key_over_several_lines_with_a_control_character_what_is_written_reads_back_or_nothing_is(
    #[case] text: &str,
) {
    let document = documents::read(text).unwrap().remove(0);
    let node = document.node.as_ref().unwrap();
    let old = node.value(Schema::Kubernetes).unwrap();
    let mut changes = vec![old.clone(); 3];
    changes[0]["metadata"]["annotations"]["memlock.dev/injected"] = json!("{}");
    changes[1]["metadata"]["annotations"] = json!({ "memlock.dev/swap-device": "true" });
    changes[2]["spec"]["containers"][0]["securityContext"] = json!({ "capabilities": { "add": ["IPC_LOCK"] } });
    for new in changes {
        if let Some(written) = changed(&document, node, &new, Schema::Kubernetes) {
            assert_eq!(value(&written.text), new, "{}", written.text);
        }
    }
    for form in [Form::Yaml, Form::Json] {
        let written = converted(&document, &old, form, Schema::Kubernetes).unwrap();
        assert_eq!(value(&written.text), old, "{}", written.text);
    }
}

#[test]
fn numbers_are_the_same_in_both_forms() {
    let text = r#"{"a": [1e3, -0.0, 1.50, 1e19, 18446744073709551615, 1e300]}"#;
    let document = documents::read(text).unwrap().remove(0);
    let object = value(text);
    let yaml = converted(&document, &object, Form::Yaml, Schema::Kubernetes).unwrap();
    assert_eq!(yaml.text, "a:\n- 1000\n- 0\n- 1.5\n- 1e+19\n- 18446744073709551615\n- 1e+300\n");
    assert_eq!(value(&yaml.text), object);
}

#[test]
fn what_does_not_read_back_is_converted_to_nothing() {
    let document = documents::read("a: 1\n").unwrap().remove(0);
    // No reader has it so: integral floats are integers.
    assert!(converted(&document, &json!({ "a": 1.0 }), Form::Json, Schema::Kubernetes).is_none());
}

#[rstest]
#[case("1e3")]
#[case("0o7")]
#[case("yes")]
#[case("null")]
#[case("2001-01-01")]
#[case("123456789012345678901")]
#[case("a\n  b\n\nc\n\n")]
#[case("\ttab\nline")]
#[case("trail \nx")]
#[case("\u{85}\u{feff}\u{2028}é\u{1f600}")]
fn text_stays_text(#[case] text: &str) {
    let object = json!({ "k": text, "l": [text, { text: text }] });
    assert_eq!(value(&render::document(&object, None, Style::default())), object);
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (any::<i32>(), 1..6).prop_map(|(n, places)| json!((f64::from(n) + 0.5) / 10_f64.powi(places))),
        text().prop_map(Value::from),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ -~\\n]{0,40}",
        "[0-9eExXobB_.:+-]{0,8}",
        "(yes|No|on|OFF|y|n|true|False|null|~|<<|=|\\.inf|-\\.INF|\\.NaN|0o17|1_0|2001-01-01|- a|a: b|a #b|\\? x|---|\\.\\.\\.|!t|&a|\\*a|%d|@x|`y|\\{\\{ x \\}\\})[ \\n]{0,3}",
        "[a-z \\n#:-]{0,40}",
    ]
}

fn tree() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::btree_map(text(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// `1.0` and `1` are one number to Kubernetes.
fn plain_numbers(value: &Value) -> Value {
    match value {
        Value::Number(n) if n.is_f64() => {
            n.as_f64().and_then(crate::cli::manifest::node::number).map_or(Value::Null, Value::Number)
        }
        Value::Array(items) => items.iter().map(plain_numbers).collect(),
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), plain_numbers(v))).collect::<Map<_, _>>().into(),
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back_the_same(object in tree(), step in 1_usize..5, dash in 0_usize..5) {
        let text = render::document(&object, None, Style { step, dash });
        prop_assert_eq!(value(&text), plain_numbers(&object), "{}", text);
        prop_assert_eq!(value(&render::flow(&object)), plain_numbers(&object));
    }

    #[test]
    fn any_document_has_both_forms(object in tree()) {
        let object = json!({ "k": plain_numbers(&object) });
        let document = documents::read(&render::document(&object, None, Style::default())).unwrap().remove(0);
        for form in [Form::Yaml, Form::Json] {
            let written = converted(&document, &object, form, Schema::Kubernetes);
            prop_assert_eq!(written.map(|written| value(&written.text)), Some(object.clone()));
        }
    }

    #[test]
    fn any_change_of_any_document_reads_back(old in tree(), new in tree(), crlf: bool) {
        let text = render::document(&old, None, Style::default());
        let text = if crlf { text.replace('\n', "\r\n") } else { text };
        let new = plain_numbers(&new);
        change(&text, |object| *object = new.clone());
    }

    #[test]
    fn a_small_change_reads_back_and_goes_again(old in tree(), key in "[a-z/.]{1,12}", added in tree()) {
        let text = format!("# first\n{}", render::document(&json!({ "k": old, "l": [1] }), None, Style::default()));
        let before = value(&text);
        let added = plain_numbers(&added);
        let written = change(&text, |object| { object[format!("z{key}")] = added.clone(); });
        prop_assert!(!written.lost, "{}", written.text);
        let back = change(&written.text, |object| *object = before.clone());
        prop_assert_eq!(back.text, text);
    }
}
