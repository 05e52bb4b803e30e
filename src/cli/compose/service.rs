//! One service: its labels → what it gets, or why not.

use serde_json::{Map, Value, json};

use super::record::{self, Record};
use crate::domain::{
    annotations,
    intent::{self, CapabilitySource, Intent, Limit, LockBy},
    names, quantity,
};

/// What became of a service.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) refused: bool,
    pub(super) sentences: Vec<String>,
    pub(super) changes: Vec<String>,
    opted_in: bool,
}

impl Outcome {
    /// Not ours, and nothing to say.
    pub(super) fn is_nothing(&self) -> bool {
        !self.opted_in && self.sentences.is_empty() && self.changes.is_empty()
    }

    fn refuse(sentence: impl Into<String>) -> Self {
        Self { refused: true, sentences: vec![sentence.into()], opted_in: true, ..Self::default() }
    }
}

/// `-1` in Compose and for the container engines.
const UNLIMITED: i64 = -1;

pub(super) fn inject(name: &str, service: &mut Map<String, Value>) -> Outcome {
    let keys = record::keys(service);
    let mut outcome = Outcome { sentences: annotations::unknown(&keys), ..Outcome::default() };
    let intent = match intent::parse(&keys) {
        Err(error) => return Outcome::refuse(error.to_string()),
        Ok(None) => return outcome,
        Ok(Some(intent)) => intent,
    };
    outcome.opted_in = true;
    if intent.verify_only {
        outcome.sentences.push("the service is left as it is (memlock.dev/verify-only)".to_owned());
        return outcome;
    }
    if let Some(sentence) = refusal(name, service, &intent) {
        if intent.required {
            return Outcome::refuse(sentence);
        }
        outcome.sentences.push(sentence);
        return outcome;
    }
    outcome.sentences.extend(remarks(name, service, &intent));
    let mut record = Record { version: Record::VERSION, cap_add_made: None, memlock: None, ulimits_made: false };
    let root = user(service) != User::NonRoot;
    if is_true(service.get("privileged")) && root {
        outcome.sentences.push(format!("service {name} is privileged and may already lock: nothing was added"));
        return outcome;
    }
    grant(service, &mut record, &mut outcome.changes);
    raise(name, service, &intent, &mut record, &mut outcome);
    if !outcome.changes.is_empty() {
        // An earlier record speaks of the original; what it says is kept.
        let earlier = keys.get(names::INJECTED).and_then(|text| serde_json::from_str::<Record>(text).ok());
        let earlier = earlier.filter(|earlier| earlier.version == Record::VERSION);
        record::erase(service);
        record::write(service, &merged(record, earlier));
    }
    outcome
}

fn merged(new: Record, earlier: Option<Record>) -> Record {
    let Some(earlier) = earlier else { return new };
    Record {
        version: new.version,
        cap_add_made: earlier.cap_add_made.or(new.cap_add_made),
        memlock: earlier.memlock.or(new.memlock),
        ulimits_made: earlier.ulimits_made || new.ulimits_made,
    }
}

/// What fails whatever the machine.
fn refusal(name: &str, service: &Map<String, Value>, intent: &Intent) -> Option<String> {
    if texts(service.get("cap_drop")).any(|entry| names::bare_capability(entry) == names::IPC_LOCK) {
        return Some(format!(
            "service {name} drops IPC_LOCK by name, against adding it (Podman refuses both together); remove IPC_LOCK from cap_drop (ALL may stay)"
        ));
    }
    if intent.lock_by == LockBy::Agent {
        return Some(format!(
            "service {name} is to be locked by the agent ({}: agent), which exists in Kubernetes only; let the daemon call mlockall itself and remove the label",
            names::LOCK_BY
        ));
    }
    let platform = service.get("platform").and_then(Value::as_str).unwrap_or_default();
    platform.starts_with("windows").then(|| {
        format!(
            "service {name} runs on Windows, which has no mlockall; run the swap device on Linux or remove the label"
        )
    })
}

/// What a person should know, none of which keeps us from acting.
fn remarks(name: &str, service: &Map<String, Value>, intent: &Intent) -> Vec<String> {
    let mut said = Vec::new();
    if user(service) == User::NonRoot && intent.capability == CapabilitySource::Grant {
        said.push(format!(
            "service {name} does not run as root, where Docker leaves an added capability without effect (Podman passes it on): the raised memory-lock limit is what lets it lock"
        ));
    }
    if service.get("userns_mode").and_then(Value::as_str).is_some_and(|mode| mode != "host" && !mode.is_empty()) {
        said.push(format!(
            "service {name} runs in a user namespace (userns_mode), where IPC_LOCK locks nothing: the raised memory-lock limit is what lets it lock, and it cannot exceed that of the engine when the engine itself is not root"
        ));
    }
    let unconfined = |entry: &str| matches!(entry, "seccomp=unconfined" | "seccomp:unconfined");
    if texts(service.get("security_opt")).any(unconfined) {
        said.push(format!(
            "service {name} switches seccomp off, which mlockall does not need: the default profiles of Docker and Podman allow it; remove the entry unless something else (io_uring) needs it"
        ));
    }
    if service.contains_key("extends") {
        said.push(format!(
            "service {name} extends another one, which is not read here: what it inherits (cap_drop, user, ulimits) is not considered"
        ));
    }
    if intent.io_flusher {
        said.push(format!(
            "label {} has no effect in a Compose file: only the launcher, which exists in Kubernetes, sets PR_SET_IO_FLUSHER",
            names::IO_FLUSHER
        ));
    }
    said
}

fn grant(service: &mut Map<String, Value>, record: &mut Record, changes: &mut Vec<String>) {
    // Docker and Podman take both spellings, in any case.
    let has = |entry: &str| matches!(names::bare_capability(entry).as_str(), "ALL" | names::IPC_LOCK);
    if texts(service.get("cap_add")).any(has) {
        return;
    }
    record.cap_add_made = if let Some(Value::Array(list)) = service.get_mut("cap_add") {
        list.push(json!(names::IPC_LOCK));
        Some(false)
    } else {
        service.insert("cap_add".to_owned(), json!([names::IPC_LOCK]));
        Some(true)
    };
    changes.push("adds IPC_LOCK to cap_add".to_owned());
}

fn raise(name: &str, service: &mut Map<String, Value>, intent: &Intent, record: &mut Record, outcome: &mut Outcome) {
    let wanted = match intent.limit {
        None | Some(Limit::Unlimited) => UNLIMITED,
        Some(Limit::Bytes(bytes)) => i64::try_from(bytes).unwrap_or(UNLIMITED),
    };
    let present = service.get("ulimits").and_then(|ulimits| ulimits.get("memlock")).cloned();
    if let Some(present) = &present {
        match both(present) {
            None => {
                outcome.sentences.push(format!(
                    "service {name} takes ulimits.memlock from the environment or writes it in an unknown form ({present}), so it was kept; make sure that it is {}",
                    words(wanted)
                ));
                return;
            }
            Some((soft, hard)) if reaches(soft, wanted) && reaches(hard, wanted) => return,
            Some((soft, hard)) => outcome.sentences.push(format!(
                "service {name} sets ulimits.memlock to {} (soft) and {} (hard), which is below {}: replaced",
                words(soft),
                words(hard),
                words(wanted)
            )),
        }
    }
    let made = !service.get("ulimits").is_some_and(Value::is_object);
    if made {
        service.insert("ulimits".to_owned(), json!({}));
    }
    if let Some(ulimits) = service.get_mut("ulimits").and_then(Value::as_object_mut) {
        ulimits.insert("memlock".to_owned(), json!({ "soft": wanted, "hard": wanted }));
    }
    record.ulimits_made = made;
    record.memlock = Some(present.unwrap_or(Value::Null));
    outcome.changes.push(format!("sets ulimits.memlock to {}, soft and hard", words(wanted)));
}

pub(super) fn uninject(name: &str, service: &mut Map<String, Value>) -> Outcome {
    let keys = record::keys(service);
    let Some(text) = keys.get(names::INJECTED) else { return Outcome::default() };
    let record = serde_json::from_str::<Record>(text).ok().filter(|record| record.version == Record::VERSION);
    let Some(record) = record else {
        return Outcome::refuse(format!(
            "label {} of service {name} cannot be read, so what was changed is not known: use the version that wrote it, or take the changes back by hand and remove the label",
            names::INJECTED
        ));
    };
    if let (Some(made), Some(list)) = (record.cap_add_made, service.get_mut("cap_add").and_then(Value::as_array_mut)) {
        if let Some(at) = list.iter().rposition(|entry| entry == names::IPC_LOCK) {
            list.remove(at);
        }
        if made && list.is_empty() {
            service.remove("cap_add");
        }
    }
    if let (Some(was), Some(ulimits)) = (record.memlock, service.get_mut("ulimits").and_then(Value::as_object_mut)) {
        if was.is_null() {
            ulimits.remove("memlock");
        } else {
            ulimits.insert("memlock".to_owned(), was);
        }
        if record.ulimits_made && ulimits.is_empty() {
            service.remove("ulimits");
        }
    }
    record::erase(service);
    Outcome { changes: vec!["takes the changes back".to_owned()], opted_in: true, ..Outcome::default() }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    Root,
    NonRoot,
    /// The image says.
    Unknown,
}

fn user(service: &Map<String, Value>) -> User {
    let user = match service.get("user") {
        Some(Value::String(text)) => text.clone(),
        Some(number @ Value::Number(_)) => number.to_string(),
        _ => return User::Unknown,
    };
    match user.split(':').next().unwrap_or_default() {
        "" => User::Unknown,
        "0" | "root" => User::Root,
        variable if variable.starts_with('$') => User::Unknown,
        _ => User::NonRoot,
    }
}

/// Soft and hard limit in bytes, `-1` for none; `None` where they cannot be told.
fn both(memlock: &Value) -> Option<(i64, i64)> {
    match memlock {
        Value::Object(map) => Some((amount(map.get("soft")?)?, amount(map.get("hard")?)?)),
        one => amount(one).map(|both| (both, both)),
    }
}

fn amount(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) if text == "-1" || text == "unlimited" => Some(UNLIMITED),
        Value::String(text) => quantity::parse(text).and_then(|bytes| i64::try_from(bytes).ok()),
        _ => None,
    }
}

fn reaches(present: i64, wanted: i64) -> bool {
    present == UNLIMITED || wanted != UNLIMITED && present >= wanted
}

fn words(limit: i64) -> String {
    if limit == UNLIMITED { "unlimited (-1)".to_owned() } else { format!("{limit} bytes") }
}

fn texts(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn is_true(value: Option<&Value>) -> bool {
    value.is_some_and(|value| value == &json!(true) || value == &json!("true"))
}
