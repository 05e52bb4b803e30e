//! Bytes → a request that can be decided, or a refusal that carries the request's uid.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use thiserror::Error;

/// The only version we answer (`admissionReviewVersions: [v1]`).
const API_VERSION: &str = "admission.k8s.io/v1";

/// One pod to decide about.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) dry_run: bool,
    /// `None`: the request is none that we decide about (not the creation of a pod).
    pub(super) pod: Option<Value>,
}

/// Why a body cannot be decided.
#[derive(Debug, Error)]
pub(super) enum Fault {
    #[error("the request body is empty: post an AdmissionReview of admission.k8s.io/v1")]
    Empty,
    #[error("the request body is not JSON ({0}): post an AdmissionReview of admission.k8s.io/v1")]
    NotJson(serde_json::Error),
    #[error("the request body is a {kind:?} of {version:?}: post an AdmissionReview of admission.k8s.io/v1")]
    WrongKind { kind: String, version: String },
    #[error("the AdmissionReview has no request: it is an answer or was cut; send it whole")]
    NoRequest,
    #[error("the AdmissionReview's request cannot be read ({0}): send one that fits admission.k8s.io/v1")]
    BadRequest(serde_json::Error),
    #[error("the AdmissionReview's request has no uid, so no answer could be matched to it; send it whole")]
    NoUid,
    #[error("the AdmissionReview's request creates a pod but carries no object; send it whole")]
    NoObject,
    #[error("the pod cannot be read ({0}): correct the manifest and apply again")]
    BadPod(serde_json::Error),
}

impl Fault {
    /// A bounded word.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Empty => "EmptyBody",
            Self::NotJson(_) => "NotJson",
            Self::WrongKind { .. } => "WrongKind",
            Self::NoRequest => "NoRequest",
            Self::BadRequest(_) => "BadRequest",
            Self::NoUid => "NoUid",
            Self::NoObject => "NoObject",
            Self::BadPod(_) => "BadPod",
        }
    }
}

/// A fault and the uid to answer it with; empty where none could be read.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) uid: String,
    pub(super) fault: Fault,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(borrow)]
    request: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct UidOnly {
    #[serde(default)]
    uid: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRequest<'a> {
    #[serde(default)]
    namespace: Option<String>,
    operation: String,
    kind: Kind,
    #[serde(default)]
    sub_resource: Option<String>,
    #[serde(default)]
    dry_run: Option<bool>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    group: String,
    version: String,
    #[serde(rename = "kind")]
    name: String,
}

/// Reads a review.
pub(super) fn decode(body: &[u8]) -> Result<Request, Refused> {
    let nameless = |fault| Refused { uid: String::new(), fault };
    if body.is_empty() {
        return Err(nameless(Fault::Empty));
    }
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(|e| nameless(Fault::NotJson(e)))?;
    let uid = envelope
        .request
        .and_then(|raw| serde_json::from_str::<UidOnly>(raw.get()).ok())
        .unwrap_or(UidOnly { uid: String::new() })
        .uid;
    match read(&envelope, &uid) {
        Ok(request) => Ok(Request { uid, ..request }),
        Err(fault) => Err(Refused { uid, fault }),
    }
}

fn read(envelope: &Envelope<'_>, uid: &str) -> Result<Request, Fault> {
    if envelope.kind != "AdmissionReview" || envelope.api_version != API_VERSION {
        return Err(Fault::WrongKind { kind: envelope.kind.clone(), version: envelope.api_version.clone() });
    }
    let raw = envelope.request.ok_or(Fault::NoRequest)?;
    let request: RawRequest<'_> = serde_json::from_str(raw.get()).map_err(Fault::BadRequest)?;
    if uid.is_empty() {
        return Err(Fault::NoUid);
    }
    let kind = &request.kind;
    let is_pod = (kind.group.as_str(), kind.version.as_str(), kind.name.as_str()) == ("", "v1", "Pod");
    let whole = request.sub_resource.as_deref().unwrap_or_default().is_empty();
    let pod = if is_pod && whole && request.operation == "CREATE" {
        let object = request.object.filter(|raw| raw.get() != "null").ok_or(Fault::NoObject)?;
        Some(serde_json::from_str(object.get()).map_err(Fault::BadPod)?)
    } else {
        None
    };
    Ok(Request {
        uid: String::new(),
        namespace: request.namespace.unwrap_or_default(),
        dry_run: request.dry_run.unwrap_or(false),
        pod,
    })
}
