//! Events on transitions: what changed, on the pod, for `kubectl describe`.

use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tracing::warn;

use super::{metrics::Metrics, pod_view::PodView, report, schedule::Written};
use crate::{
    domain::{
        names,
        verdict::{State, Verdict},
    },
    platform::client::{CALL_DEADLINE, within},
};

/// Most bytes of an Event's note (`events.k8s.io/v1`: 1 kB).
const MAX_NOTE: usize = 1_024;
/// Events of one recorder, some kB each.
const MAX_KEPT: usize = 256;

/// Publishes Events; equal ones become a series.
#[derive(Clone)]
pub(super) struct Events {
    client: Client,
    reporter: Reporter,
    /// And how many Events it has published.
    recorder: Arc<Mutex<(Recorder, usize)>>,
    metrics: Metrics,
}

impl Events {
    pub(super) fn new(client: Client, instance: Option<String>, metrics: Metrics) -> Self {
        let reporter = Reporter { controller: names::EVENT_REPORTER.to_owned(), instance };
        let recorder = Recorder::new(client.clone(), reporter.clone());
        Self { client, reporter, recorder: Arc::new(Mutex::new((recorder, 0))), metrics }
    }

    /// A recorder keeps what it has published, of thousands of pods as well: it is exchanged before that is much.
    fn recorder(&self) -> Recorder {
        let mut held = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        if held.1 == MAX_KEPT {
            *held = (Recorder::new(self.client.clone(), self.reporter.clone()), 0);
        }
        held.1 += 1;
        held.0.clone()
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
        let published = within(CALL_DEADLINE, self.recorder().publish(&event, &regarding)).await;
        let written = match &published {
            Ok(()) => Written::Done,
            Err(error) if error.is_moot() => Written::Moot,
            Err(_) => Written::Failed,
        };
        self.metrics.wrote("event", written);
        if let Err(error) = published
            && written == Written::Failed
        {
            warn!(pod = regarding.name, error = error.to_string(), "an Event was not recorded");
        }
    }
}
