use rstest::rstest;
use serde_json::{Value, json};

use super::{Service, inject, uninject};

fn run(service: &Value) -> (Value, Service) {
    let mut file = json!({ "services": { "ublk": service } });
    let mut done = inject(&mut file);
    assert_eq!(done.len(), 1, "{done:?}");
    (file["services"]["ublk"].take(), done.remove(0))
}

fn opted_in(mut service: Value) -> Value {
    service["labels"] = json!({ "memlock.dev/swap-device": "true" });
    service
}

#[rstest]
#[case::bare(json!({}), json!(["IPC_LOCK"]), json!({ "soft": -1, "hard": -1 }))]
#[case::has_others(json!({ "cap_add": ["NET_ADMIN"], "ulimits": { "nofile": 5 } }), json!(["NET_ADMIN", "IPC_LOCK"]), json!({ "soft": -1, "hard": -1 }))]
#[case::has_it(json!({ "cap_add": ["CAP_IPC_LOCK"] }), json!(["CAP_IPC_LOCK"]), json!({ "soft": -1, "hard": -1 }))]
#[case::has_all(json!({ "cap_add": ["all"], "ulimits": { "memlock": -1 } }), json!(["all"]), json!(-1))]
#[case::lower(json!({ "ulimits": { "memlock": { "soft": 1, "hard": -1 } } }), json!(["IPC_LOCK"]), json!({ "soft": -1, "hard": -1 }))]
#[case::from_environment(json!({ "ulimits": { "memlock": "${LOCK}" } }), json!(["IPC_LOCK"]), json!("${LOCK}"))]
fn what_a_service_gets(#[case] service: Value, #[case] cap_add: Value, #[case] memlock: Value) {
    let original = opted_in(service);
    let (after, done) = run(&original);
    assert!(!done.refused, "{done:?}");
    assert_eq!((&after["cap_add"], &after["ulimits"]["memlock"]), (&cap_add, &memlock));

    let (again, _) = run(&after);
    assert_eq!(again, after, "a second run is empty");
    let mut file = json!({ "services": { "ublk": after } });
    uninject(&mut file);
    assert_eq!(file["services"]["ublk"], original);
}

#[test]
fn a_limit_is_taken_as_it_is_asked_for() {
    let labels = json!(["memlock.dev/swap-device=true", "memlock.dev/limit=1Gi"]);
    let (after, _) = run(&json!({ "labels": labels, "ulimits": { "memlock": { "soft": 1024, "hard": 1024 } } }));
    assert_eq!(after["ulimits"]["memlock"], json!({ "soft": 1 << 30, "hard": 1 << 30 }));
    assert_eq!(after["labels"].as_array().unwrap().len(), 3);
}

#[rstest]
#[case::dropped(json!({ "cap_drop": ["CAP_IPC_LOCK"] }), "remove IPC_LOCK from cap_drop")]
#[case::windows(json!({ "platform": "windows/amd64" }), "run the swap device on Linux")]
fn refusals_name_the_remedy(#[case] service: Value, #[case] remedy: &str) {
    let service = opted_in(service);
    let (after, done) = run(&service);
    assert!(done.refused && done.sentences[0].contains(remedy), "{done:?}");
    assert_eq!(after, service);

    let mut lenient = service;
    lenient["labels"]["memlock.dev/required"] = json!(false);
    let (_, done) = run(&lenient);
    assert!(!done.refused && done.sentences[0].contains(remedy), "{done:?}");
}

#[rstest]
#[case::user(json!({ "user": "1000:1000" }), "does not run as root")]
#[case::user_number(json!({ "user": 1000 }), "does not run as root")]
#[case::namespace(json!({ "userns_mode": "keep-id" }), "user namespace")]
#[case::seccomp(json!({ "security_opt": ["seccomp:unconfined"] }), "mlockall does not need")]
#[case::privileged(json!({ "privileged": true }), "nothing was added")]
#[case::privileged_user(json!({ "privileged": true, "user": "ublk" }), "does not run as root")]
fn remarks(#[case] service: Value, #[case] said: &str) {
    let (_, done) = run(&opted_in(service));
    assert!(!done.refused && done.sentences.iter().any(|sentence| sentence.contains(said)), "{done:?}");
}

#[test]
fn a_privileged_root_service_is_left_alone() {
    let service = opted_in(json!({ "privileged": true }));
    assert_eq!(run(&service).0, service);
}

#[test]
fn a_service_that_did_not_opt_in_is_not_mentioned() {
    let mut file = json!({ "services": { "web": { "image": "x", "labels": ["a=b"] } } });
    assert_eq!(inject(&mut file), []);
}
