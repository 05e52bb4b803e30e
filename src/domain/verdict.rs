//! Facts → verdict: a state, the figures, the likely cause and what to do.
//!
//! "Locked" needs every proof; whatever could not be read is "unknown", never "locked".

use crate::domain::{
    names,
    probe::{Facts, LockedLimit},
};

/// What is known of one container's memory, or of a pod's: the worst of its containers.
///
/// Ordered from worst to best, as a pod's state is the worst of its containers'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Pages of the daemon are in swap now.
    Swapped,
    /// Nothing is locked.
    Unlocked,
    /// Something is locked, not all.
    Partial,
    /// It could not be checked.
    Unknown,
    /// Not running yet, or not checked since it started.
    Pending,
    /// Every lockable page is locked and none is in swap.
    Locked,
}

impl State {
    /// Every state, worst first.
    pub const ALL: [Self; 6] =
        [Self::Swapped, Self::Unlocked, Self::Partial, Self::Unknown, Self::Pending, Self::Locked];

    /// Value of the label `memlock.dev/state`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Swapped => "swapped",
            Self::Unlocked => "unlocked",
            Self::Partial => "partial",
            Self::Unknown => "unknown",
            Self::Pending => "pending",
            Self::Locked => "locked",
        }
    }

    /// Status of the condition `memlock.dev/Locked`.
    #[must_use]
    pub fn condition_status(self) -> &'static str {
        match self {
            Self::Locked => "True",
            Self::Swapped | Self::Unlocked | Self::Partial => "False",
            Self::Unknown | Self::Pending => "Unknown",
        }
    }
}

/// Reason of the condition, and of the Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// All of it.
    Locked,
    /// Some of it.
    PartiallyLocked,
    /// None of it.
    NotLocked,
    /// Pages are in swap.
    SwappedOut,
    /// The check failed or could not see everything.
    CannotCheck,
    /// The container is not running.
    Pending,
    /// The pod has finished.
    Terminated,
}

impl Reason {
    /// The word itself.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Locked => "Locked",
            Self::PartiallyLocked => "PartiallyLocked",
            Self::NotLocked => "NotLocked",
            Self::SwappedOut => "SwappedOut",
            Self::CannotCheck => "CannotCheck",
            Self::Pending => "Pending",
            Self::Terminated => "Terminated",
        }
    }
}

/// In kB of 1,024 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// `VmLck`.
    pub locked_kb: u64,
    /// Lockable address space that is not locked.
    pub unlocked_kb: u64,
    /// `VmSwap`.
    pub swapped_kb: u64,
}

/// What is said of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The state.
    pub state: State,
    /// Its reason.
    pub reason: Reason,
    /// Sizes, where the daemon could be read.
    pub figures: Option<Figures>,
    /// One sentence: what, why, what to do.
    pub message: String,
}

impl Verdict {
    /// Not checked, with the sentence that says why and what to do.
    #[must_use]
    pub fn unknown(message: impl Into<String>) -> Self {
        Self { state: State::Unknown, reason: Reason::CannotCheck, figures: None, message: message.into() }
    }

    /// Not running yet.
    #[must_use]
    pub fn pending(message: impl Into<String>) -> Self {
        Self { state: State::Pending, reason: Reason::Pending, figures: None, message: message.into() }
    }

    /// The pod has finished: nothing will ever be checked again.
    #[must_use]
    pub fn terminated() -> Self {
        let message = "the pod has finished; its memory is no longer checked".to_owned();
        Self { state: State::Unknown, reason: Reason::Terminated, figures: None, message }
    }
}

/// Judges one container by what a look into it showed.
#[must_use]
pub fn judge(facts: &Facts) -> Verdict {
    let daemon = &facts.daemon;
    let lockable = daemon.size_kb.saturating_sub(daemon.hugetlb_kb).saturating_sub(facts.unlockable_kb);
    let figures = Figures {
        locked_kb: daemon.locked_kb,
        unlocked_kb: lockable.saturating_sub(daemon.locked_kb),
        swapped_kb: daemon.swapped_kb,
    };
    let who = format!("process {} ({})", daemon.pid, daemon.name);
    let verdict = |state, reason, message| Verdict { state, reason, figures: Some(figures), message };
    if figures.swapped_kb > 0 {
        let message = format!(
            "{who} has {} kB in swap now and {} kB locked; {}",
            figures.swapped_kb,
            figures.locked_kb,
            remedy(facts)
        );
        return verdict(State::Swapped, Reason::SwappedOut, message);
    }
    if figures.locked_kb == 0 {
        let message = format!("{who} has locked none of its {lockable} kB: {}", remedy(facts));
        return verdict(State::Unlocked, Reason::NotLocked, message);
    }
    if figures.unlocked_kb > 0 {
        let message = format!(
            "{who} has locked {} kB, but {} kB are not locked: it locked before it grew, or only a part; call mlockall(MCL_CURRENT | MCL_FUTURE) once all is set up",
            figures.locked_kb, figures.unlocked_kb
        );
        return verdict(State::Partial, Reason::PartiallyLocked, message);
    }
    if facts.unread_processes > 0 {
        let message = format!(
            "{who} has locked all of its {} kB, but {} more process(es) of the container were not read; a child does not inherit its parent's locks: run one process a container",
            figures.locked_kb, facts.unread_processes
        );
        return verdict(State::Unknown, Reason::CannotCheck, message);
    }
    let message = format!("{who} has locked all of its {} kB; nothing is in swap", figures.locked_kb);
    verdict(State::Locked, Reason::Locked, message)
}

/// The likely cause of missing locks, from facts and not from an errno.
fn remedy(facts: &Facts) -> String {
    let daemon = &facts.daemon;
    let effective = daemon.effective_capabilities >> names::IPC_LOCK_BIT & 1 == 1;
    let limit = match facts.locked_limit {
        Some(LockedLimit::Unlimited) => {
            return "its memlock limit is unlimited, so it never called mlockall, or forked or executed another program after it; start it with its locking option".to_owned();
        }
        Some(LockedLimit::Bytes(bytes)) => format!("its memlock limit is {} kB", bytes / 1024),
        None => "its memlock limit is not known".to_owned(),
    };
    if facts.user_namespace {
        format!("it runs in a user namespace, where IPC_LOCK is without effect, and {limit}; remove hostUsers: false")
    } else if effective {
        "IPC_LOCK is effective, so it never called mlockall, or forked or executed another program after it; start it with its locking option".to_owned()
    } else if daemon.uid == 0 {
        format!("it does not have IPC_LOCK and {limit}; recreate the pod so that the webhook can add the capability")
    } else {
        format!(
            "it runs as uid {}, for which an added IPC_LOCK is not effective, and {limit}; run it as root or give the binary in the image cap_ipc_lock=ep",
            daemon.uid
        )
    }
}

/// The pod's verdict: the worst of its containers', with a sentence for each.
#[must_use]
pub fn worst(containers: &[(String, Verdict)]) -> Verdict {
    let Some((_, worst)) = containers.iter().min_by_key(|(_, verdict)| verdict.state) else {
        return Verdict::unknown("no container of the pod is to be checked");
    };
    let sentences: Vec<String> =
        containers.iter().map(|(name, verdict)| format!("container {name}: {}", verdict.message)).collect();
    Verdict { message: sentences.join(". "), ..worst.clone() }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
