//! Bodies of 8 MiB in parallel, sane ones and those that are made to swell when they are read.

use std::{collections::BTreeMap, time::Duration};

use rstest::rstest;
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    connection::{Way, of_pod, post},
    victim::attack,
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
fn bodies_of_8_mib(#[case] what: &'static str, #[case] body: Vec<u8>) {
    attack("bodies", move |way| async move {
        let (length, statuses) = (body.len() / 1024, send(&way, body.leak()).await);
        let done = [200, 400].iter().filter_map(|status| statuses.get(status)).sum::<usize>();
        assert!(done >= 1, "some of them are read to their end: {statuses:?}");
        // Ordinary reviews go on for a moment after them.
        tokio::time::sleep(Duration::from_millis(500)).await;
        format!("{AT_A_TIME} bodies of {length} KiB, {what}, answered {statuses:?} (0: closed)")
    });
}

/// All at once; how many got which status.
async fn send(way: &Way, body: &'static [u8]) -> BTreeMap<u16, usize> {
    let mut tasks = JoinSet::new();
    for nth in 0..AT_A_TIME {
        let way = way.clone();
        tasks.spawn(async move {
            let mut stream = way.open(nth).await.ok()?;
            post(&mut stream, body).await.ok()
        });
    }
    let mut statuses = BTreeMap::new();
    for answer in tasks.join_all().await {
        let status = answer.map_or(0, |answer| {
            assert!([200, 400, 408, 429].contains(&answer.status), "{}", answer.status);
            assert!(answer.review["response"]["uid"].is_string());
            answer.status
        });
        *statuses.entry(status).or_default() += 1;
    }
    statuses
}
