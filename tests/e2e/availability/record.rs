//! Which controller pod wrote what, and when, by the API server's clock.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::audit;

#[derive(Debug, Default)]
pub struct Record {
    /// Writes and execs of leaders that succeeded.
    pub writes: usize,
    /// Who led, one after another.
    pub leaders: Vec<String>,
    /// Writes by somebody who did not lead then.
    pub strange: Vec<String>,
}

/// What was recorded since then (`jiff::Timestamp` as text).
pub fn read(since: &str) -> Record {
    // By the moment of arrival: a claim counts from then on, so a write of the one before must have come earlier.
    let mut events = BTreeMap::new();
    for (number, event) in audit::requests().into_iter().enumerate() {
        let code = event["responseStatus"]["code"].as_u64().unwrap_or_default();
        if changes(&event) && code < 300 && event["stage"] != "Panic" {
            events.insert((event["requestReceivedTimestamp"].as_str().unwrap().to_owned(), number), event);
        }
    }
    let mut record = Record::default();
    let mut leader: Option<String> = None;
    for ((at, _), event) in events {
        let pod = event["user"]["extra"]["authentication.kubernetes.io/pod-name"][0].as_str().unwrap_or("nobody");
        if event["objectRef"]["resource"] == "leases" {
            let holder = event["requestObject"]["spec"]["holderIdentity"].as_str().map(str::to_owned);
            if holder.is_some() && holder != leader && *at >= *since {
                record.leaders.push(pod.to_owned());
            }
            leader = holder;
        } else if *at >= *since && event["stage"] == "ResponseComplete" {
            record.writes += 1;
            if !leader.as_deref().is_some_and(|leader| leader.starts_with(&format!("{pod}_"))) {
                let (verb, resource) = (&event["verb"], &event["objectRef"]["resource"]);
                record.strange.push(format!("{at} {pod} {verb} {resource} while {leader:?} led"));
            }
        }
    }
    record
}

/// A write, or an exec, which asks by GET where it goes over a `WebSocket`.
fn changes(event: &Value) -> bool {
    let reads = ["get", "list", "watch"].iter().any(|verb| event["verb"] == *verb);
    !reads || event["objectRef"]["subresource"] == "exec"
}
