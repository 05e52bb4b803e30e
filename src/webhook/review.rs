//! Bytes → a request that can be decided, or a refusal that carries the request's uid.
//!
//! Read in one pass, and of the pod only what a decision looks at: the managed fields are a third of it. What that pass
//! cannot read is read again, slowly, to say why.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Value, value::RawValue};
use thiserror::Error;

use super::{object, values};

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
    #[error(
        "the pod holds more than {} values, more than any that works; take something out of it and apply again",
        values::MOST
    )]
    TooManyValues,
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
            Self::TooManyValues => "TooManyValues",
        }
    }
}

/// A fault and the uid to answer it with; empty where none could be read.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) uid: String,
    pub(super) fault: Fault,
}

/// A JSON object and nothing else: for a derived type a list of its values, in their order, would do as well.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Object)
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// The review as the API server sends it.
#[derive(Deserialize)]
struct Review<'a> {
    #[serde(rename = "apiVersion", borrow)]
    api_version: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    request: Object<RawRequest<'a>>,
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
    uid: String,
    #[serde(default)]
    namespace: Option<String>,
    operation: String,
    #[serde(borrow)]
    kind: Object<Kind<'a>>,
    #[serde(default)]
    sub_resource: Option<String>,
    #[serde(default)]
    dry_run: Option<bool>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(default, borrow)]
    group: Cow<'a, str>,
    #[serde(borrow)]
    version: Cow<'a, str>,
    #[serde(rename = "kind", borrow)]
    name: Cow<'a, str>,
}

/// Reads a review.
pub(super) fn decode(body: &[u8]) -> Result<Request, Refused> {
    if let Ok(Object(Review { api_version, kind, request: Object(request) })) = serde_json::from_slice(body)
        && is_review(&api_version, &kind)
        && !request.uid.is_empty()
    {
        return decide(request);
    }
    Err(diagnose(body))
}

fn is_review(api_version: &str, kind: &str) -> bool {
    kind == "AdmissionReview" && api_version == API_VERSION
}

fn decide(request: RawRequest<'_>) -> Result<Request, Refused> {
    let Object(kind) = &request.kind;
    let is_pod = (&*kind.group, &*kind.version, &*kind.name) == ("", "v1", "Pod");
    let whole = request.sub_resource.as_deref().unwrap_or_default().is_empty();
    let pod = if is_pod && whole && request.operation == "CREATE" {
        match pod(request.object) {
            Ok(pod) => Some(pod),
            Err(fault) => return Err(Refused { uid: request.uid, fault }),
        }
    } else {
        None
    };
    Ok(Request {
        uid: request.uid,
        namespace: request.namespace.unwrap_or_default(),
        dry_run: request.dry_run.unwrap_or(false),
        pod,
    })
}

fn pod(raw: Option<&RawValue>) -> Result<Value, Fault> {
    let raw = raw.map(RawValue::get).filter(|text| *text != "null").ok_or(Fault::NoObject)?;
    if values::too_many(raw) {
        return Err(Fault::TooManyValues);
    }
    object::parse(raw).map_err(Fault::BadPod)
}

/// Says what is wrong with a body that could not be read in one pass.
fn diagnose(body: &[u8]) -> Refused {
    let nameless = |fault| Refused { uid: String::new(), fault };
    if body.is_empty() {
        return nameless(Fault::Empty);
    }
    let envelope: Envelope<'_> = match serde_json::from_slice(body) {
        Ok(Object(envelope)) => envelope,
        Err(error) => return nameless(Fault::NotJson(error)),
    };
    let uid = envelope.request.and_then(|raw| serde_json::from_str::<Object<UidOnly>>(raw.get()).ok());
    let uid = uid.map(|Object(only)| only.uid).unwrap_or_default();
    let fault = match envelope.request.map(|raw| serde_json::from_str::<Object<RawRequest<'_>>>(raw.get())) {
        _ if !is_review(&envelope.api_version, &envelope.kind) => {
            Fault::WrongKind { kind: envelope.kind, version: envelope.api_version }
        }
        None => Fault::NoRequest,
        Some(Err(error)) => Fault::BadRequest(error),
        Some(Ok(_)) => Fault::NoUid,
    };
    Refused { uid, fault }
}
