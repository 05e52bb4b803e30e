//! Decision → `AdmissionReview` response. Always well-formed, always with the request's uid.

use std::collections::HashMap;

use kube::core::{
    DynamicObject,
    admission::{AdmissionResponse, AdmissionReview},
};
use tracing::info;

use super::review::{Fault, Refused, Request};
use crate::domain::inject::{self, Injection, Settings, Step, Verb};

/// What kubectl puts before each of our sentences, so that people know who speaks.
const SPEAKER: &str = "memlock";

/// What goes back, and what is counted of it.
pub(super) struct Answer {
    pub(super) review: AdmissionReview<DynamicObject>,
    pub(super) allowed: bool,
    pub(super) reason: &'static str,
}

impl Answer {
    fn new(response: AdmissionResponse, reason: &'static str) -> Self {
        Self { allowed: response.allowed, review: response.into_review(), reason }
    }
}

/// Answers a request that could be read.
pub(super) fn answer(request: &Request, settings: &Settings) -> Answer {
    let mut response = blank(&request.uid);
    response.allowed = true;
    let Some(pod) = &request.pod else {
        return Answer::new(response, "NotAPodCreation");
    };
    let Injection { pod, decision, patch } = match inject::inject(pod, settings) {
        Ok(injection) => injection,
        Err(error) => return reject(&Refused { uid: request.uid.clone(), fault: Fault::BadPod(error) }),
    };
    let operations = patch.0.len();
    response.audit_annotations = audit(&decision);
    response.warnings = Some(decision.warnings.iter().map(|w| format!("{SPEAKER}: {w}")).collect());
    if decision.verb == Verb::Deny {
        response = refuse(response, &decision.message, 422, "Invalid");
    } else if operations > 0 {
        response = match response.with_patch(patch) {
            Ok(patched) => patched,
            Err(error) => refuse(blank(&request.uid), &error.to_string(), 500, "InternalError"),
        };
    }
    info!(
        uid = request.uid,
        namespace = request.namespace,
        pod,
        dry_run = request.dry_run,
        allowed = response.allowed,
        reason = decision.reason.as_str(),
        operations,
        "admission"
    );
    Answer::new(response, decision.reason.as_str())
}

/// What the API server's audit log keeps of it, a word for each chosen container.
fn audit(decision: &inject::Decision) -> HashMap<String, String> {
    let each = |say: fn(&Step) -> String| decision.steps.iter().map(say).collect::<Vec<_>>().join(",");
    let granted = |step: &&Step| !step.capabilities.is_empty();
    let granted: Vec<&str> = decision.steps.iter().filter(granted).map(|step| step.container.as_str()).collect();
    let all = [
        ("reason", decision.reason.as_str().to_owned()),
        ("containers", each(|step| step.container.clone())),
        ("rows", each(|step| step.row.as_str().to_owned())),
        ("granted", granted.join(",")),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Answers a body that could not be read.
pub(super) fn reject(refused: &Refused) -> Answer {
    info!(uid = refused.uid, allowed = false, reason = refused.fault.reason(), "admission");
    let mut response = refuse(blank(&refused.uid), &refused.fault.to_string(), 400, "BadRequest");
    response.audit_annotations = [("reason".to_owned(), refused.fault.reason().to_owned())].into();
    Answer::new(response, refused.fault.reason())
}

/// Answers a body that was not read to its end.
pub(super) fn reject_transport(message: &str, code: u16, reason: &'static str) -> AdmissionReview<DynamicObject> {
    info!(allowed = false, reason, "admission");
    refuse(blank(""), message, code, reason).into_review()
}

fn blank(uid: &str) -> AdmissionResponse {
    let mut response = AdmissionResponse::invalid("");
    response.result = kube::core::Status::default();
    uid.clone_into(&mut response.uid);
    response
}

fn refuse(mut response: AdmissionResponse, message: &str, code: u16, reason: &str) -> AdmissionResponse {
    response = response.deny(format!("{SPEAKER}: {message}"));
    response.result.code = code;
    reason.clone_into(&mut response.result.reason);
    response.result.status = Some(kube::core::response::StatusSummary::Failure);
    response
}
