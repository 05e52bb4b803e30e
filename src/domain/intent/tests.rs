use rstest::rstest;

use super::*;

fn annotations(pairs: &[(&str, &str)]) -> Annotations {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[rstest]
#[case::absent(&[], false)]
#[case::off(&[(names::SWAP_DEVICE, "false")], false)]
#[case::on(&[(names::SWAP_DEVICE, "true")], true)]
fn opting_in(#[case] pairs: &[(&str, &str)], #[case] opted_in: bool) {
    assert_eq!(parse(&annotations(pairs)).unwrap().is_some(), opted_in);
}

#[rstest]
#[case::yes(names::SWAP_DEVICE, "yes")]
#[case::capital(names::SWAP_DEVICE, "True")]
#[case::empty(names::SWAP_DEVICE, "")]
#[case::space(names::REQUIRED, " true")]
#[case::verify(names::VERIFY_ONLY, "1")]
fn a_wrong_boolean_names_the_allowed_values(#[case] key: &'static str, #[case] value: &str) {
    let mut pairs = annotations(&[(names::SWAP_DEVICE, "true")]);
    pairs.insert(key.to_owned(), value.to_owned());
    let error = parse(&pairs).unwrap_err();
    assert_eq!(error.reason(), "InvalidAnnotation");
    let sentence = error.to_string();
    assert!(sentence.contains(key) && sentence.contains("\"true\" and \"false\""), "{sentence}");
}

#[rstest]
#[case::named("ublk_server", Some("ublk_server"))]
#[case::empty("", None)]
#[case::longer_than_the_kernel_keeps("sixteen-bytes-xx", None)]
#[case::two_lines("a\nb", None)]
fn processes(#[case] value: &str, #[case] expected: Option<&str>) {
    let pairs = annotations(&[(names::SWAP_DEVICE, "true"), (names::PROCESS, value)]);
    match (parse(&pairs), expected) {
        (Ok(Some(intent)), Some(name)) => assert_eq!(intent.process.as_deref(), Some(name)),
        (Err(error), None) => assert_eq!(error.reason(), "InvalidAnnotation"),
        (other, _) => panic!("{other:?}"),
    }
}

#[rstest]
#[case::first(&[], &["a", "b"], Ok(vec!["a"]))]
#[case::kubectl_default(&[(names::DEFAULT_CONTAINER, "b")], &["a", "b"], Ok(vec!["b"]))]
#[case::kubectl_default_gone(&[(names::DEFAULT_CONTAINER, "x")], &["a", "b"], Ok(vec!["a"]))]
#[case::named_wins(&[(names::CONTAINERS, "a"), (names::DEFAULT_CONTAINER, "b")], &["a", "b"], Ok(vec!["a"]))]
#[case::several_spaced_and_doubled(&[(names::CONTAINERS, "b, a,b")], &["a", "b"], Ok(vec!["b", "a"]))]
#[case::unknown(&[(names::CONTAINERS, "c")], &["a", "b"], Err("UnknownContainer"))]
#[case::empty_name(&[(names::CONTAINERS, "a,,b")], &["a", "b"], Err("InvalidAnnotation"))]
#[case::no_containers(&[], &[], Err("NoContainers"))]
fn targets(#[case] pairs: &[(&str, &str)], #[case] known: &[&str], #[case] expected: Result<Vec<&str>, &str>) {
    let mut pairs = annotations(pairs);
    pairs.insert(names::SWAP_DEVICE.to_owned(), "true".to_owned());
    let found = parse(&pairs).and_then(|intent| intent.unwrap().targets(&pairs, known));
    assert_eq!(found.map_err(|e| e.reason()), expected);
}

#[test]
fn an_unknown_container_is_told_which_exist() {
    let pairs = annotations(&[(names::SWAP_DEVICE, "true"), (names::CONTAINERS, "ublk")]);
    let error = parse(&pairs).unwrap().unwrap().targets(&pairs, &["server", "metrics"]).unwrap_err();
    assert!(error.to_string().contains("it has server, metrics"), "{error}");
}

#[rstest]
#[case::flags_in_any_order(names::LOCK_FLAGS, "onfault, future,current", true)]
#[case::future_alone_is_no_lock(names::LOCK_FLAGS, "future", false)]
#[case::twice(names::LOCK_FLAGS, "current,current,future", false)]
#[case::by_whom(names::LOCK_BY, "agent", true)]
#[case::by_nobody(names::LOCK_BY, "kernel", false)]
#[case::capability(names::CAPABILITY, "image", true)]
#[case::capability_name(names::CAPABILITY, "IPC_LOCK", false)]
#[case::quantity(names::LIMIT, "1.5Gi", true)]
#[case::unlimited(names::LIMIT, "unlimited", true)]
#[case::minus_one(names::LIMIT, "-1", false)]
#[case::nothing(names::LIMIT, "0", false)]
#[case::device(names::DEVICE, "/dev/ublkb0", true)]
#[case::device_in_a_folder(names::DEVICE, "/dev/mapper/swap", true)]
#[case::no_device(names::DEVICE, "ublkb0", false)]
#[case::folder(names::DEVICE, "/dev/", false)]
#[case::way_out(names::DEVICE, "/dev/../etc/shadow", false)]
#[case::two_words(names::DEVICE, "/dev/a b", false)]
fn values(#[case] key: &'static str, #[case] value: &str, #[case] allowed: bool) {
    let parsed = parse(&annotations(&[(names::SWAP_DEVICE, "true"), (key, value)]));
    match parsed {
        Ok(intent) => assert!(allowed && intent.is_some()),
        Err(error) => {
            assert!(!allowed && error.reason() == "InvalidAnnotation");
            assert!(error.to_string().contains(key) && error.to_string().contains("allowed are"), "{error}");
        }
    }
}
