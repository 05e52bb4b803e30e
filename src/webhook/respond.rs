//! Decision → `AdmissionReview` response. Always well-formed, always with the request's uid.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use json_patch::Patch;
use serde::{Serialize, Serializer, ser::Error};
use tracing::info;

use super::review::{Fault, Refused, Request};
use crate::domain::inject::{self, Injection, Settings, Step, Verb};

/// What kubectl puts before each of our sentences, so that people know who speaks.
const SPEAKER: &str = "memlock";

/// What goes back, and what is counted of it.
pub(super) struct Answer {
    pub(super) review: Review,
    pub(super) allowed: bool,
    pub(super) reason: &'static str,
}

/// `admission.k8s.io/v1`, as far as it is answered.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Review {
    api_version: &'static str,
    kind: &'static str,
    response: Response,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    uid: String,
    allowed: bool,
    status: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<Base64<Patch>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// The `Status` of Kubernetes; empty unless it was refused.
#[derive(Default, Serialize)]
struct Outcome {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl Answer {
    fn new(response: Response, reason: &'static str) -> Self {
        Self { allowed: response.allowed, review: response.into_review(), reason }
    }
}

impl Response {
    fn allow(uid: &str) -> Self {
        Self { uid: uid.to_owned(), allowed: true, ..Self::default() }
    }

    fn refuse(uid: &str, message: &str, code: u16, reason: &'static str) -> Self {
        let message = format!("{SPEAKER}: {message}");
        let status = Outcome { status: Some("Failure"), code: Some(code), message, reason: Some(reason) };
        Self { uid: uid.to_owned(), status, ..Self::default() }
    }

    fn into_review(self) -> Review {
        Review { api_version: "admission.k8s.io/v1", kind: "AdmissionReview", response: self }
    }
}

/// Answers a request that could be read.
pub(super) fn answer(mut request: Request, settings: &Settings) -> Answer {
    let Some(pod) = &mut request.pod else {
        return Answer::new(Response::allow(&request.uid), "NotAPodCreation");
    };
    let Injection { pod, decision, patch } = match inject::inject_in_place(pod, settings) {
        Ok(injection) => injection,
        Err(error) => return reject(&Refused { uid: request.uid, fault: Fault::BadPod(error) }),
    };
    let operations = patch.0.len();
    let mut response = if decision.verb == Verb::Deny {
        Response::refuse(&request.uid, &decision.message, 422, "Invalid")
    } else {
        let (patch, patch_type) = if operations > 0 { (Some(Base64(patch)), Some("JSONPatch")) } else { (None, None) };
        Response { patch, patch_type, ..Response::allow(&request.uid) }
    };
    response.audit_annotations = audit(&decision);
    response.warnings = decision.warnings.iter().map(|w| format!("{SPEAKER}: {w}")).collect();
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
fn audit(decision: &inject::Decision) -> BTreeMap<&'static str, String> {
    let each = |say: fn(&Step) -> String| decision.steps.iter().map(say).collect::<Vec<_>>().join(",");
    let granted = |step: &&Step| !step.capabilities.is_empty();
    let granted: Vec<&str> = decision.steps.iter().filter(granted).map(|step| step.container.as_str()).collect();
    let all = [
        ("reason", decision.reason.as_str().to_owned()),
        ("containers", each(|step| step.container.clone())),
        ("rows", each(|step| step.row.as_str().to_owned())),
        ("granted", granted.join(",")),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// Answers a body that could not be read.
pub(super) fn reject(refused: &Refused) -> Answer {
    let reason = refused.fault.reason();
    info!(uid = refused.uid, allowed = false, reason, "admission");
    let mut response = Response::refuse(&refused.uid, &refused.fault.to_string(), 400, "BadRequest");
    response.audit_annotations = [("reason", reason.to_owned())].into();
    Answer::new(response, reason)
}

/// Answers a body that was not read to its end.
pub(super) fn reject_transport(message: &str, code: u16, reason: &'static str) -> Answer {
    info!(allowed = false, reason, "admission");
    Answer::new(Response::refuse("", message, code, reason), reason)
}

/// Its JSON as base64, which is how bytes stand in JSON.
struct Base64<T>(T);

impl<T: Serialize> Serialize for Base64<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json = serde_json::to_vec(&self.0).map_err(S::Error::custom)?;
        serializer.serialize_str(&BASE64_STANDARD.encode(json))
    }
}
