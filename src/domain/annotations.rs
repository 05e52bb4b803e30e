//! The words a pod's author may write, as `docs/annotations.md` prints them.

use super::names;

/// One annotation of the author's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Annotation {
    /// The key.
    pub key: &'static str,
    /// Allowed values and the default, as Markdown.
    pub values: &'static str,
    /// What it asks for, as Markdown.
    pub meaning: &'static str,
}

const fn word(key: &'static str, values: &'static str, meaning: &'static str) -> Annotation {
    Annotation { key, values, meaning }
}

/// Every annotation that an author may write.
pub const ANNOTATIONS: [Annotation; 14] = [
    word(names::SWAP_DEVICE, "`true` / `false`", "opt in; anything else is denied with the allowed values"),
    word(
        names::CONTAINERS,
        "names, comma separated",
        "which containers serve the device; default: the one of `kubectl.kubernetes.io/default-container`, else the first. Native sidecars (init containers with `restartPolicy: Always`) may be named",
    ),
    word(
        names::REQUIRED,
        "`true` (default) / `false`",
        "what cannot work is denied, and a failed preflight stops the pod; `false` turns both into warnings",
    ),
    word(
        names::LOCK_BY,
        "`daemon` (default) / `agent`",
        "who calls `mlockall`: the daemon itself, or the agent for a program that does not",
    ),
    word(
        names::LOCK_FLAGS,
        "`current,future,onfault` (default) / `current,future`",
        "for `lock-by: agent`. Without `onfault` all reserved memory is filled at once: a JVM or Go program may need many times its size and be killed by its memory limit",
    ),
    word(
        names::CAPABILITY,
        "`grant` (default) / `image`",
        "`image`: the daemon's file in the image carries `cap_ipc_lock=ep`; no launcher and no preflight are added, the verdict decides",
    ),
    word(
        names::AGENT,
        "`true` (default) / `false`",
        "`false`: the capability only; nothing of the operator's is pulled or mounted",
    ),
    word(names::DEVICE, "a path below `/dev/`", "the swap device this pod serves, so that its use can be reported"),
    word(
        names::LIMIT,
        "a quantity, such as `512Mi`, or `unlimited`",
        "the `RLIMIT_MEMLOCK` wished for, about twice the memory expected. Only nodes with the NRI plugin ulimit-adjuster honour it, and an effective capability makes it unnecessary",
    ),
    word(
        names::IO_FLUSHER,
        "`true` / `false` (default)",
        "also adds `SYS_RESOURCE`, with which the launcher sets `PR_SET_IO_FLUSHER`: the daemon's own allocations then never wait for its device. Needs an explicit `command`",
    ),
    word(
        names::PROCESS,
        "a process name of up to 15 bytes, as `ps -o comm` shows it",
        "only processes of this name must be locked; default: every process of the container. With `lock-by: agent`, no command and a process namespace that is shared, nothing is locked without it",
    ),
    word(
        names::READINESS_GATE,
        "`true` / `false` (default)",
        "the pod becomes Ready only when its memory was seen to be locked",
    ),
    word(names::VERIFY_ONLY, "`true` / `false` (default)", "the pod is checked but not changed"),
    word(names::INJECTED, "JSON, written by the webhook", "what was changed; a value of the author's does not count"),
];

/// Most unknown keys that are named one by one: the API server cuts warnings at 4 kB in all
/// (`staging/src/k8s.io/apiserver/pkg/endpoints/filters/warning.go`), and a pod may have thousands of keys.
const MOST_NAMED: usize = 8;
/// Characters of a key that are compared: twice as many as the longest of ours has.
const LONGEST_COMPARED: usize = 28;

/// Keys with our prefix that nobody reads, one sentence each, with the nearest known one; beyond some only their number.
#[must_use]
pub fn unknown(keys: &super::intent::Annotations) -> Vec<String> {
    let known = |key: &str| key == names::STATUS || ANNOTATIONS.iter().any(|word| word.key == key);
    let mut strange = keys.keys().filter(|key| key.starts_with(names::PREFIX) && !known(key));
    let named = strange.by_ref().take(MOST_NAMED).map(|key| {
        format!(
            "annotation {key} is not known and has no effect: did you mean {}? Correct it and apply again",
            nearest(key)
        )
    });
    let mut sentences: Vec<String> = named.collect();
    let more = strange.count();
    if more > 0 {
        sentences.push(format!(
            "{more} more annotations that begin with {} are not known and have no effect; correct or remove them",
            names::PREFIX
        ));
    }
    sentences
}

/// The known key with the fewest edits between, in what follows the prefix that all share.
fn nearest(key: &str) -> &'static str {
    let name = key.strip_prefix(names::PREFIX).unwrap_or(key);
    // A key may be 253 bytes long: what is beyond any of ours changes no order.
    let head: String = name.chars().take(LONGEST_COMPARED).collect();
    let length = head.chars().count();
    let mut best = (usize::MAX, names::SWAP_DEVICE);
    for word in ANNOTATIONS.iter().filter(|word| word.key != names::INJECTED) {
        let known = word.key.strip_prefix(names::PREFIX).unwrap_or(word.key);
        // So many edits it takes at least.
        if length.abs_diff(known.len()) < best.0 {
            let distance = strsim::osa_distance(&head, known);
            if distance < best.0 {
                best = (distance, word.key);
            }
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn keys(keys: &[&str]) -> crate::domain::intent::Annotations {
        keys.iter().map(|key| ((*key).to_owned(), "x".to_owned())).collect()
    }

    #[rstest]
    #[case::plural("memlock.dev/swap-devices", names::SWAP_DEVICE)]
    #[case::singular("memlock.dev/container", names::CONTAINERS)]
    #[case::underscore("memlock.dev/verify_only", names::VERIFY_ONLY)]
    #[case::swapped("memlock.dev/lokc-by", names::LOCK_BY)]
    #[case::capital("memlock.dev/Required", names::REQUIRED)]
    #[case::long("memlock.dev/readiness-gates-and-many-other-words-behind-them", names::READINESS_GATE)]
    fn an_unknown_key_is_told_the_nearest(#[case] key: &str, #[case] expected: &str) {
        let said = unknown(&keys(&[key]));
        assert_eq!(said.len(), 1);
        assert!(said[0].contains(key) && said[0].contains(&format!("mean {expected}?")), "{said:?}");
    }

    #[test]
    fn of_very_many_only_some_are_named() {
        let many: Vec<String> = (0..5_000).map(|n| format!("memlock.dev/x{n}")).collect();
        let said = unknown(&keys(&many.iter().map(String::as_str).collect::<Vec<_>>()));
        assert_eq!(said.len(), MOST_NAMED + 1);
        assert!(said[MOST_NAMED].starts_with("4992 more annotations"), "{said:?}");
    }

    #[test]
    fn known_keys_outputs_and_foreign_keys_are_not_said() {
        let mut all: Vec<&str> = ANNOTATIONS.iter().map(|word| word.key).collect();
        all.extend([names::STATUS, "other.dev/x", "memlock.development/x"]);
        assert_eq!(unknown(&keys(&all)), Vec::<String>::new());
    }
}
