//! Pods that never came to be: what their owners were told.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::{Api, api::ListParams};

use crate::cli::cluster::{connect::Cluster, failure::Failure, table::age};

/// The last refusal of one owner's pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// `StatefulSet ublk`.
    owner: String,
    name: String,
    pub(super) owner_uid: String,
    said: String,
    last: Option<Timestamp>,
    count: i32,
}

/// Of every owner in the namespace.
pub(super) async fn all(cluster: &Cluster) -> Result<Vec<Refusal>, Failure> {
    let api: Api<Event> = cluster.api(Some(&cluster.namespace));
    let events = cluster.list(&api, ListParams::default().fields("reason=FailedCreate")).await?;
    Ok(newest(events))
}

fn newest(events: Vec<Event>) -> Vec<Refusal> {
    let mut refusals: Vec<Refusal> = events.into_iter().map(refusal).collect();
    refusals.sort_by_key(|refusal| refusal.last);
    let by_owner: BTreeMap<String, Refusal> =
        refusals.into_iter().map(|refusal| (refusal.owner_uid.clone(), refusal)).collect();
    by_owner.into_values().collect()
}

fn refusal(event: Event) -> Refusal {
    let series = event.series;
    let seen = series.as_ref().and_then(|series| series.last_observed_time.as_ref()).or(event.event_time.as_ref());
    let last = event.last_timestamp.map(|time| time.0).or_else(|| seen.map(|time| time.0));
    let count = series.and_then(|series| series.count).or(event.count).unwrap_or(1);
    let (kind, name) = (event.involved_object.kind.unwrap_or_default(), event.involved_object.name.unwrap_or_default());
    let owner_uid = event.involved_object.uid.unwrap_or_default();
    Refusal { owner: format!("{kind} {name}"), name, owner_uid, said: event.message.unwrap_or_default(), last, count }
}

impl Refusal {
    /// Whether the owner would have given a pod this name, or has it itself.
    pub(super) fn may_concern(&self, name: &str) -> bool {
        let stem = |long: &str, short: &str| long.strip_prefix(short).is_some_and(|rest| rest.starts_with('-'));
        self.name == name || stem(name, &self.name) || stem(&self.name, name)
    }

    pub(super) fn in_words(&self, now: Timestamp) -> [(&'static str, String); 2] {
        let ago = self.last.map(|last| format!(", last {} ago", age(now.duration_since(last).as_secs())));
        let times = if self.count == 1 { "once".to_owned() } else { format!("{} times", self.count) };
        let head = format!("a pod of {} could not be created, {times}{}", self.owner, ago.unwrap_or_default());
        [("refused", head), ("because", self.sentence().to_owned())]
    }

    /// What the one who refused said, without what the controllers put before it.
    fn sentence(&self) -> &str {
        const BEFORE: &str = "denied the request: ";
        match self.said.split_once(BEFORE) {
            Some((before, sentence)) if before.contains("memlock.dev") => sentence,
            _ => &self.said,
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn event(uid: &str, message: &str, at: &str, count: i32) -> Event {
        let involved = json!({ "kind": "StatefulSet", "name": "ublk", "uid": uid });
        let event = json!({ "metadata": {}, "involvedObject": involved, "message": message, "lastTimestamp": at, "count": count });
        serde_json::from_value(event).unwrap()
    }

    const DENIED: &str = "create Pod ublk-0 in StatefulSet ublk failed error: admission webhook \"inject.memlock.dev\" denied the request: namespace storage enforces baseline; do this";

    #[test]
    fn the_newest_sentence_of_each_owner_is_told() {
        let refusals = newest(vec![
            event("u", DENIED, "2026-01-01T10:00:00Z", 14),
            event("u", "an older one", "2026-01-01T09:00:00Z", 1),
            event("v", "exceeded quota", "2026-01-01T09:00:00Z", 1),
        ]);
        let now = "2026-01-01T10:02:00Z".parse().unwrap();
        let words: Vec<String> = refusals.iter().flat_map(|r| r.in_words(now)).map(|(_, text)| text).collect();
        assert_eq!(
            words,
            [
                "a pod of StatefulSet ublk could not be created, 14 times, last 2m ago",
                "namespace storage enforces baseline; do this",
                "a pod of StatefulSet ublk could not be created, once, last 62m ago",
                "exceeded quota",
            ]
        );
    }

    #[rstest]
    #[case("ublk-0", true)]
    #[case("ublk", true)]
    #[case("ublkd-0", false)]
    #[case("ubl", false)]
    fn names_that_fit(#[case] name: &str, #[case] fits: bool) {
        assert_eq!(refusal(event("u", "", "2026-01-01T10:00:00Z", 1)).may_concern(name), fits);
    }
}
