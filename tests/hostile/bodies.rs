//! Bodies of 8 MiB in parallel, sane ones and those that are made to swell when they are read.

use rstest::rstest;
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    ALONE,
    connection::{of_pod, post},
    victim::Victim,
};

const AT_A_TIME: usize = 64;
const LARGEST: usize = 8 << 20;

/// A text of almost 8 MiB: the piece again and again between the ends.
fn filled(begin: &str, piece: &str, end: &str) -> Vec<u8> {
    let pieces = (LARGEST - begin.len() - end.len() - 1000) / piece.len();
    format!("{begin}{}{end}", piece.repeat(pieces)).into_bytes()
}

/// A review with a pod whose text has such a filling in it.
fn review(begin: &str, piece: &str, end: &str) -> Vec<u8> {
    let around = String::from_utf8(of_pod(&json!("POD"))).unwrap();
    let (before, after) = around.split_once("\"POD\"").unwrap();
    filled(&format!("{before}{begin}"), piece, &format!("{end}{after}"))
}

const ANNOTATED: &str = r#"{"metadata":{"annotations":{"memlock.dev/swap-device":"true"}},"#;

#[rstest]
#[case::sane("a pod with a long text", review(&format!("{ANNOTATED}\"spec\":{{\"containers\":[{{\"name\":\"a\",\"args\":[\""), "sane ", "\"]}]}}"))]
#[case::no_review("a list of zeros", filled(r#"{"x":["#, "0,", "0]}"))]
#[case::unknown_field("a pod with a list of zeros", review(r#"{"x":["#, "0,", "0]}"))]
#[case::zeros("a spec with a list of zeros", review(&format!("{ANNOTATED}\"spec\":{{\"x\":["), "0,", "0]}}"))]
#[case::objects("a spec with a list of objects", review(&format!("{ANNOTATED}\"spec\":{{\"x\":["), r#"{"a":0},"#, "0]}}"))]
#[case::containers("a pod of empty containers", review(&format!("{ANNOTATED}\"spec\":{{\"containers\":["), "{},", "{}]}}"))]
#[case::annotations(
    "annotations without end",
    review(r#"{"metadata":{"annotations":{"#, "\"a\":\"\",", "\"b\":\"\"}}}")
)]
#[case::depth("lists in lists", filled("", "[", ""))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_8_mib(#[case] what: &str, #[case] body: Vec<u8>) {
    let _alone = ALONE.lock().await;
    let victim = Victim::start("bodies").await;
    let body: &'static [u8] = body.leak();
    let mut tasks = JoinSet::new();
    for nth in 0..AT_A_TIME {
        let way = victim.way.clone();
        tasks.spawn(async move {
            let mut stream = way.open(nth).await.ok()?;
            post(&mut stream, body).await.ok()
        });
    }
    let answers = tasks.join_all().await;
    let mut statuses = std::collections::BTreeMap::<String, usize>::new();
    for answer in answers {
        let said = answer.map_or("closed".to_owned(), |answer| {
            assert!([200, 400, 408, 429].contains(&answer.status), "{}", answer.status);
            assert!(answer.review["response"]["uid"].is_string());
            answer.status.to_string()
        });
        *statuses.entry(said).or_default() += 1;
    }
    // Ordinary reviews go on for a moment after them.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    victim.survived(&format!("{AT_A_TIME} bodies of {} KiB, {what}, answered {statuses:?}", body.len() / 1024)).await;
}
