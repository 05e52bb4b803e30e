//! Annotations → [`Intent`], or a sentence that says what is wrong.

use std::collections::BTreeMap;

use thiserror::Error;

use super::names;

/// Annotations as Kubernetes keeps them.
pub type Annotations = BTreeMap<String, String>;

/// What the author of an opted-in pod asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Containers named by `memlock.dev/containers`; empty: the default one.
    containers: Vec<String>,
    /// What cannot work is denied (`true`) or only warned of.
    pub required: bool,
    /// Change nothing, only check.
    pub verify_only: bool,
    /// `comm` of the process that must be locked; `None`: every process.
    pub process: Option<String>,
}

/// Why the annotations cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IntentError {
    /// A value outside the allowed ones.
    #[error("annotation {key} has the value {value:?}: allowed are \"true\" and \"false\"; correct it and apply again")]
    NotBoolean {
        /// The annotation.
        key: &'static str,
        /// Its value, as the author wrote it.
        value: String,
    },
    /// `memlock.dev/containers` holds an empty name.
    #[error(
        "annotation memlock.dev/containers has the value {value:?}: allowed is a comma-separated list of container names; correct it and apply again"
    )]
    NotAList {
        /// The value, as the author wrote it.
        value: String,
    },
    /// `memlock.dev/process` is no `comm`.
    #[error(
        "annotation memlock.dev/process has the value {value:?}: allowed is the name of a process as ps -o comm shows it, 1 to 15 bytes; correct it and apply again"
    )]
    NotAProcess {
        /// The value, as the author wrote it.
        value: String,
    },
    /// A name that is no container of the pod.
    #[error(
        "annotation {key} names container {name:?}, which the pod does not have: it has {known}; name one of those and apply again"
    )]
    UnknownContainer {
        /// The annotation.
        key: &'static str,
        /// The unknown name.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// Nothing to lock.
    #[error(
        "the pod has no containers, so there is no daemon whose memory could be locked; add one to spec.containers and apply again"
    )]
    NoContainers,
}

impl IntentError {
    /// A bounded word for logs and audit annotations.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotBoolean { .. } | Self::NotAList { .. } | Self::NotAProcess { .. } => "InvalidAnnotation",
            Self::UnknownContainer { .. } => "UnknownContainer",
            Self::NoContainers => "NoContainers",
        }
    }
}

/// Reads the annotations of a pod. `Ok(None)`: the pod did not opt in.
pub fn parse(annotations: &Annotations) -> Result<Option<Intent>, IntentError> {
    if !boolean(annotations, names::SWAP_DEVICE, false)? {
        return Ok(None);
    }
    Ok(Some(Intent {
        containers: container_list(annotations)?,
        required: boolean(annotations, names::REQUIRED, true)?,
        verify_only: boolean(annotations, names::VERIFY_ONLY, false)?,
        process: process(annotations)?,
    }))
}

/// Annotations with our prefix that this version does not act on, one sentence each.
#[must_use]
pub fn without_effect(annotations: &Annotations) -> Vec<String> {
    annotations
        .keys()
        .filter(|key| key.starts_with(names::PREFIX))
        .filter(|key| !names::AUTHOR_KEYS.contains(&key.as_str()) && *key != names::INJECTED && *key != names::STATUS)
        .map(|key| {
            format!("annotation {key} has no effect in this version: known are {}", names::AUTHOR_KEYS.join(", "))
        })
        .collect()
}

impl Intent {
    /// The containers that serve the device: those named, else kubectl's default, else the first.
    ///
    /// `known` are the pod's containers followed by its native sidecars.
    pub fn targets<'a>(&self, annotations: &Annotations, known: &[&'a str]) -> Result<Vec<&'a str>, IntentError> {
        let first = known.first().ok_or(IntentError::NoContainers)?;
        let find = |key: &'static str, name: &str| {
            known.iter().copied().find(|n| *n == name).ok_or_else(|| IntentError::UnknownContainer {
                key,
                name: name.to_owned(),
                known: known.join(", "),
            })
        };
        if self.containers.is_empty() {
            // kubectl ignores a default container that does not exist, and so do we.
            let default = annotations.get(names::DEFAULT_CONTAINER).and_then(|d| known.iter().find(|n| *n == d));
            return Ok(vec![default.unwrap_or(first)]);
        }
        self.containers.iter().map(|name| find(names::CONTAINERS, name)).collect()
    }
}

fn boolean(annotations: &Annotations, key: &'static str, default: bool) -> Result<bool, IntentError> {
    match annotations.get(key).map(String::as_str) {
        None => Ok(default),
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => Err(IntentError::NotBoolean { key, value: other.to_owned() }),
    }
}

/// The kernel keeps 15 bytes of a name (`TASK_COMM_LEN` in `include/linux/sched.h`).
fn process(annotations: &Annotations) -> Result<Option<String>, IntentError> {
    match annotations.get(names::PROCESS) {
        None => Ok(None),
        Some(name) if (1..=15).contains(&name.len()) && !name.chars().any(char::is_control) => Ok(Some(name.clone())),
        Some(other) => Err(IntentError::NotAProcess { value: other.clone() }),
    }
}

fn container_list(annotations: &Annotations) -> Result<Vec<String>, IntentError> {
    let Some(value) = annotations.get(names::CONTAINERS) else { return Ok(Vec::new()) };
    let mut names: Vec<String> = Vec::new();
    for name in value.split(',').map(str::trim) {
        if name.is_empty() {
            return Err(IntentError::NotAList { value: value.clone() });
        }
        if !names.iter().any(|n| n == name) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> Annotations {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[rstest]
    #[case::absent(&[], false)]
    #[case::off(&[(names::SWAP_DEVICE, "false")], false)]
    #[case::on(&[(names::SWAP_DEVICE, "true")], true)]
    fn opting_in(#[case] pairs: &[(&str, &str)], #[case] opted_in: bool) {
        assert_eq!(parse(&annotations(pairs)).unwrap().is_some(), opted_in);
    }

    #[rstest]
    #[case::yes(names::SWAP_DEVICE, "yes")]
    #[case::capital(names::SWAP_DEVICE, "True")]
    #[case::empty(names::SWAP_DEVICE, "")]
    #[case::space(names::REQUIRED, " true")]
    #[case::verify(names::VERIFY_ONLY, "1")]
    fn a_wrong_boolean_names_the_allowed_values(#[case] key: &'static str, #[case] value: &str) {
        let mut pairs = annotations(&[(names::SWAP_DEVICE, "true")]);
        pairs.insert(key.to_owned(), value.to_owned());
        let error = parse(&pairs).unwrap_err();
        assert_eq!(error.reason(), "InvalidAnnotation");
        let sentence = error.to_string();
        assert!(sentence.contains(key) && sentence.contains("\"true\" and \"false\""), "{sentence}");
    }

    #[rstest]
    #[case::named("ublk_server", Some("ublk_server"))]
    #[case::empty("", None)]
    #[case::longer_than_the_kernel_keeps("sixteen-bytes-xx", None)]
    #[case::two_lines("a\nb", None)]
    fn processes(#[case] value: &str, #[case] expected: Option<&str>) {
        let pairs = annotations(&[(names::SWAP_DEVICE, "true"), (names::PROCESS, value)]);
        match (parse(&pairs), expected) {
            (Ok(Some(intent)), Some(name)) => assert_eq!(intent.process.as_deref(), Some(name)),
            (Err(error), None) => assert_eq!(error.reason(), "InvalidAnnotation"),
            (other, _) => panic!("{other:?}"),
        }
    }

    #[rstest]
    #[case::first(&[], &["a", "b"], Ok(vec!["a"]))]
    #[case::kubectl_default(&[(names::DEFAULT_CONTAINER, "b")], &["a", "b"], Ok(vec!["b"]))]
    #[case::kubectl_default_gone(&[(names::DEFAULT_CONTAINER, "x")], &["a", "b"], Ok(vec!["a"]))]
    #[case::named_wins(&[(names::CONTAINERS, "a"), (names::DEFAULT_CONTAINER, "b")], &["a", "b"], Ok(vec!["a"]))]
    #[case::several_spaced_and_doubled(&[(names::CONTAINERS, "b, a,b")], &["a", "b"], Ok(vec!["b", "a"]))]
    #[case::unknown(&[(names::CONTAINERS, "c")], &["a", "b"], Err("UnknownContainer"))]
    #[case::empty_name(&[(names::CONTAINERS, "a,,b")], &["a", "b"], Err("InvalidAnnotation"))]
    #[case::no_containers(&[], &[], Err("NoContainers"))]
    fn targets(#[case] pairs: &[(&str, &str)], #[case] known: &[&str], #[case] expected: Result<Vec<&str>, &str>) {
        let mut pairs = annotations(pairs);
        pairs.insert(names::SWAP_DEVICE.to_owned(), "true".to_owned());
        let found = parse(&pairs).and_then(|intent| intent.unwrap().targets(&pairs, known));
        assert_eq!(found.map_err(|e| e.reason()), expected);
    }

    #[test]
    fn an_unknown_container_is_told_which_exist() {
        let pairs = annotations(&[(names::SWAP_DEVICE, "true"), (names::CONTAINERS, "ublk")]);
        let error = parse(&pairs).unwrap().unwrap().targets(&pairs, &["server", "metrics"]).unwrap_err();
        assert!(error.to_string().contains("it has server, metrics"), "{error}");
    }

    #[test]
    fn keys_without_effect_are_said_and_outputs_of_ours_are_not() {
        let pairs = annotations(&[
            (names::SWAP_DEVICE, "true"),
            ("memlock.dev/lock-by", "agent"),
            (names::STATUS, "{}"),
            (names::INJECTED, "{}"),
            ("other.dev/x", "y"),
        ]);
        let said = without_effect(&pairs);
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("memlock.dev/lock-by"), "{said:?}");
    }
}
