//! Events on transitions: what changed, on the pod, for `kubectl describe`.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tracing::warn;

use super::{pod_view::PodView, report};
use crate::{
    domain::{
        names,
        verdict::{State, Verdict},
    },
    platform::client::{CALL_DEADLINE, within},
};

/// Most bytes of an Event's note (`events.k8s.io/v1`: 1 kB).
const MAX_NOTE: usize = 1_024;

/// Publishes Events; equal ones become a series.
#[derive(Clone)]
pub(super) struct Events(Recorder);

impl Events {
    pub(super) fn new(client: Client, instance: Option<String>) -> Self {
        Self(Recorder::new(client, Reporter { controller: names::EVENT_REPORTER.to_owned(), instance }))
    }

    /// Tells a verdict. A failure is said and not repeated: the condition holds the truth.
    pub(super) async fn tell(&self, pod: &PodView, verdict: &Verdict) {
        let mut note = verdict.message.clone();
        report::truncate(&mut note, MAX_NOTE);
        let type_ = if verdict.state == State::Locked { EventType::Normal } else { EventType::Warning };
        let event = Event {
            type_,
            reason: verdict.reason.as_str().to_owned(),
            note: Some(note),
            action: "Check".to_owned(),
            secondary: None,
        };
        let regarding: ObjectReference = pod.object_ref(&());
        let published = within(CALL_DEADLINE, self.0.publish(&event, &regarding)).await;
        if let Err(error) = published
            && !error.is_moot()
        {
            warn!(pod = regarding.name, error = error.to_string(), "an Event was not recorded");
        }
    }
}
