use clap::Parser;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::cli::cluster::status::fake;

#[derive(Parser)]
struct Words {
    #[command(flatten)]
    args: ExplainArgs,
}

/// A workload with a pod and a refusal; `closed` is what may not be read.
fn answer(call: &str, closed: &[&str]) -> (u16, Value) {
    let owned = |name: &str, owner: &str| {
        json!({ "metadata": { "name": name, "namespace": "storage", "uid": name,
                              "ownerReferences": [{ "apiVersion": "v1", "kind": "K", "name": owner, "uid": owner }] } })
    };
    let pod = |owner: &str| {
        let mut pod = owned(&format!("{owner}-pod"), owner);
        pod["spec"] = json!({ "containers": [{ "name": "ublk" }] });
        pod
    };
    let workload = |kind: &str, name: &str| {
        let template = json!({ "metadata": { "annotations": { "memlock.dev/swap-device": "true" } },
                               "spec": { "containers": [{ "name": "ublk", "image": "i" }] } });
        json!({ "apiVersion": "apps/v1", "kind": kind, "metadata": { "name": name, "namespace": "storage", "uid": name },
                "spec": { "template": template } })
    };
    let path = call.split('?').next().unwrap_or_default();
    let (_, last) = path.rsplit_once('/').unwrap();
    match last {
        plural if closed.contains(&plural) => fake::forbidden(plural),
        "web" => (200, workload("Deployment", "web")),
        "set" => (200, workload("StatefulSet", "set")),
        "replicasets" => fake::list(&[owned("web-1", "web"), owned("other-1", "other")]),
        "pods" => fake::list(&[pod("web-1"), pod("set"), pod("other-1")]),
        "events" => fake::list(
            &["web-1", "set"].map(|uid| json!({ "metadata": {}, "message": "quota", "involvedObject": { "kind": "K", "name": uid, "uid": uid } })),
        ),
        "swapdevices" => fake::list(&[]),
        _ => fake::refusal(404, "NotFound", &format!("\"{last}\" not found")),
    }
}

/// What is printed, and the plurals that were listed for it.
async fn explained(subject: &str, closed: &'static [&str]) -> (Result<String, Failure>, Vec<String>) {
    let (cluster, calls) = fake::cluster(move |call| answer(call, closed)).await;
    let args = Words::parse_from(["explain", subject]).args;
    let asked = Asked { cluster: &cluster, args: &args, container: None, now: Timestamp::UNIX_EPOCH };
    let mut page = Page::default();
    let outcome = match subject::parse(&args.subject).unwrap() {
        Subject::Workload(kind, name) => match subject::read(&cluster, kind, &name).await {
            Ok(workload) => asked.workload(&mut page, workload).await,
            Err(failure) => Err(failure),
        },
        Subject::Pod(name) => asked.pod_or_refusal(&mut page, &name).await,
        Subject::SwapDevice(_) => unreachable!(),
    };
    let listed = calls
        .lock()
        .unwrap()
        .iter()
        .filter_map(|call| call.split_once('?')?.0.rsplit('/').next().map(str::to_owned))
        .collect();
    (outcome.map(|()| page.0), listed)
}

#[rstest]
#[case("deploy/web", "Pod storage/web-1-pod", true)]
#[case("sts/set", "Pod storage/set-pod", false)]
#[tokio::test]
async fn pods_are_found_by_their_owner(#[case] subject: &str, #[case] pod: &str, #[case] through: bool) {
    let (text, listed) = explained(subject, &[]).await;
    let text = text.unwrap();
    assert_eq!(text.matches("\nPod ").count(), 1, "{text}");
    assert!(text.contains(pod) && text.contains("because    quota") && !text.contains("is forbidden"), "{text}");
    assert_eq!(listed.iter().any(|plural| plural == "replicasets"), through, "{listed:?}");
}

#[rstest]
#[case("deploy/web", &["events"], "whether its pods were refused is not known", "list events", true)]
#[case("deploy/web", &["replicasets"], "its pods, and refusals of them, are not known", "list replicasets", false)]
#[case("sts/set", &["replicasets", "events"], "whether its pods were refused is not known", "list events", true)]
#[case("sts/set", &["pods"], "its pods are not explained", "list pods", false)]
#[tokio::test]
async fn what_may_not_be_asked_is_told_and_the_rest_explained(
    #[case] subject: &str,
    #[case] closed: &'static [&str],
    #[case] lost: &str,
    #[case] right: &str,
    #[case] pods: bool,
) {
    let text = explained(subject, closed).await.0.unwrap();
    let warnings: Vec<&str> = text.lines().filter(|line| line.contains("is forbidden: User \"jane\"")).collect();
    let begins = format!("  warning    {lost}: Error from server (Forbidden): ");
    let ends = format!("; ask for the right to {right}");
    assert!(warnings.len() == 1 && warnings[0].starts_with(&begins) && warnings[0].ends_with(&ends), "{text}");
    assert!(text.contains("  decision   inject"), "{text}");
    assert_eq!(text.contains("\nPod "), pods, "{text}");
}

#[tokio::test]
async fn a_missing_pod_is_not_found_also_where_events_are_forbidden() {
    let said = explained("missing", &["events"]).await.0.unwrap_err().to_string();
    assert!(said.starts_with("error: Error from server (NotFound): \"missing\" not found; "), "{said}");
    assert!(said.contains("the right to list events"), "{said}");
}
