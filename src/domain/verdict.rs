//! Facts → verdict: a state, the figures, the likely cause and what to do.
//!
//! "Locked" needs every proof; whatever could not be read is "unknown", never "locked".

use crate::domain::{
    intent::Intent,
    names,
    probe::{Facts, LockedLimit, Mappings, Memory, Process},
    surroundings::{self, SwapUse},
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

    /// In one word.
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
    /// Nor did the webhook do its part.
    NotInjected,
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
            Self::NotInjected => "NotInjected",
            Self::Terminated => "Terminated",
        }
    }
}

/// What the last look showed, in kB of 1,024 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// `VmLck`.
    pub locked_kb: u64,
    /// Lockable address space that is not locked.
    pub unlocked_kb: u64,
    /// `VmSwap`.
    pub swapped_kb: u64,
    /// The swap area on the device that the pod names; `None`: not swapped to, not named, or not to be read.
    pub device: Option<SwapUse>,
    /// All swap of the node; `None`: it could not be read.
    pub node_swap: Option<SwapUse>,
    /// The container's control group; `None`: it could not be read.
    pub memory: Option<Memory>,
}

/// What the pod's author asked for, as far as a verdict depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// The process that counts, by its name (`comm`); `None`: every one.
    pub process: Option<String>,
    /// The swap device that is served, such as `/dev/ublkb0`.
    pub device: Option<String>,
    /// Its threads are to be marked by `PR_SET_IO_FLUSHER`.
    pub io_flusher: bool,
}

impl From<Intent> for Wanted {
    fn from(intent: Intent) -> Self {
        Self { process: intent.process, device: intent.device, io_flusher: intent.io_flusher }
    }
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

    /// Another run of the container than the one that was checked.
    #[must_use]
    pub fn restarted() -> Self {
        Self::pending("the container was restarted and is not checked yet")
    }

    /// Nothing was checked yet, and this sentence says what the webhook missed.
    #[must_use]
    pub fn not_injected(self, missed: &str) -> Self {
        Self { reason: Reason::NotInjected, message: format!("{}. {missed}", self.message), ..self }
    }

    /// Value of the label `memlock.dev/state`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        if self.reason == Reason::NotInjected { "not-injected" } else { self.state.label() }
    }

    /// The pod has finished: nothing will ever be checked again.
    #[must_use]
    pub fn terminated() -> Self {
        let message = "the pod has finished; its memory is no longer checked".to_owned();
        Self { state: State::Unknown, reason: Reason::Terminated, figures: None, message }
    }
}

/// Judges one container by what a look into it showed: as bad as its worst process.
#[must_use]
pub fn judge(facts: &Facts, wanted: &Wanted) -> Verdict {
    let only = wanted.process.as_deref();
    let counted: Vec<&Process> = facts.processes.iter().filter(|p| only.is_none_or(|name| p.name == name)).collect();
    let judged: Vec<Verdict> = counted.iter().map(|process| judge_process(process, facts.unlockable_kb)).collect();
    let Some(worst) = judged.iter().min_by_key(|verdict| verdict.state) else {
        let known: Vec<&str> = facts.processes.iter().map(|p| p.name.as_str()).take(8).collect();
        let name = only.unwrap_or_default();
        return Verdict::unknown(format!(
            "no process is called {name:?}: the container has {}; correct the annotation {}",
            known.join(", "),
            names::PROCESS
        ));
    };
    let total = |pick: fn(&Figures) -> u64| {
        judged.iter().filter_map(|v| v.figures.as_ref()).map(pick).fold(0, u64::saturating_add)
    };
    let figures = Figures {
        locked_kb: total(|f| f.locked_kb),
        unlocked_kb: total(|f| f.unlocked_kb),
        swapped_kb: total(|f| f.swapped_kb),
        device: wanted.device.as_deref().and_then(|device| surroundings::device_use(facts, device)),
        node_swap: surroundings::node_swap(facts),
        memory: facts.memory,
    };
    // What nobody could tell is not 0.
    let told = judged.iter().any(|verdict| verdict.figures.is_some());
    let alike = judged.iter().filter(|verdict| verdict.state == worst.state).count();
    let mut verdict = Verdict { figures: told.then_some(figures), ..worst.clone() };
    if judged.len() > 1 {
        verdict.message = format!("{alike} of {} processes {}: {}", judged.len(), verdict.state.label(), worst.message);
    }
    if verdict.state == State::Locked && facts.unread_processes > 0 {
        verdict.state = State::Unknown;
        verdict.reason = Reason::CannotCheck;
        verdict.message = format!(
            "{}, but {} more process(es) of the container could not be read, and a child does not inherit its parent's locks; let the agent in, add a shell (sh) to the image, or run one process a container",
            verdict.message, facts.unread_processes
        );
    }
    if verdict.state == State::Locked && counted.iter().any(|process| process.mappings.is_none()) {
        // Shared memory in swap is in no counter of a process, and a late lock with MCL_ONFAULT leaves it there.
        let swapped = match facts.swapped() {
            Some(0) => None,
            Some(bytes) => Some(format!("{} kB of the container are", bytes / 1024)),
            None => Some("what of the container is cannot be read".to_owned()),
        };
        if let Some(swapped) = swapped {
            verdict.state = State::Unknown;
            verdict.reason = Reason::CannotCheck;
            verdict.message = format!(
                "{} by the counters of its processes, but {swapped}, shared memory perhaps; let the agent in, which reads the mappings, or lock at start and without MCL_ONFAULT",
                verdict.message
            );
        }
    }
    for note in surroundings::notes(facts, &counted, wanted, verdict.state) {
        verdict.message.push_str(". ");
        verdict.message.push_str(&note);
    }
    verdict
}

fn judge_process(process: &Process, unlockable_kb: u64) -> Verdict {
    let lockable = process.size_kb.saturating_sub(process.hugetlb_kb).saturating_sub(unlockable_kb);
    let by_counters = lockable.saturating_sub(process.locked_kb);
    let counts_more = counts_more_than_locks(process);
    let (locked_kb, unlocked_kb) = match process.mappings {
        // Of mappings that add up to the address space, what is in neither sum is locked.
        Some(Mappings { explained_kb, unexplained_kb, .. }) if counts_more => {
            (process.size_kb.saturating_sub(explained_kb).saturating_sub(unexplained_kb), unexplained_kb)
        }
        _ => (process.locked_kb, by_mappings(process).unwrap_or(by_counters).min(by_counters)),
    };
    let figures = Figures {
        locked_kb,
        unlocked_kb,
        // Shared memory in swap is in no counter of a process.
        swapped_kb: process.swapped_kb.max(process.mappings.map_or(0, |mappings| mappings.swapped_kb)),
        ..Figures::default()
    };
    let who = format!("process {} ({})", process.pid, process.name);
    let swapped_kb = figures.swapped_kb;
    let untold = counts_more && process.mappings.is_none();
    let (state, reason, message) = if swapped_kb > 0 && untold {
        let message = format!("{who} has {swapped_kb} kB in swap now: {LOCK_EARLY}");
        (State::Swapped, Reason::SwappedOut, message)
    } else if swapped_kb > 0 {
        let cure = if locked_kb == 0 { remedy(process) } else { LOCK_EARLY.to_owned() };
        let message = format!("{who} has {swapped_kb} kB in swap now and {locked_kb} kB locked: {cure}");
        (State::Swapped, Reason::SwappedOut, message)
    } else if lockable == 0 && locked_kb == 0 {
        // In the middle of execve(2), as the runtime's own is before the daemon's first instruction.
        let message =
            format!("{who} has no memory that could be locked yet: it is just starting, and is looked at again");
        (State::Unknown, Reason::CannotCheck, message)
    } else if untold {
        let message = format!(
            "{who} has a VmLck of {locked_kb} kB, more than there is to lock: a driver counts there what it pins, as VFIO does, so that only the mappings tell, and they were not read; let the agent in, recreate the pod if it has an older one, and have the daemon started by memlock-lock unless it is root"
        );
        (State::Unknown, Reason::CannotCheck, message)
    } else if locked_kb == 0 {
        let message = format!("{who} has locked none of its {lockable} kB: {}", remedy(process));
        (State::Unlocked, Reason::NotLocked, message)
    } else if unlocked_kb > 0 {
        let message = format!(
            "{who} has locked {locked_kb} kB, but {unlocked_kb} kB are not locked: it locked before it grew, or only a part; call mlockall(MCL_CURRENT | MCL_FUTURE) once all is set up"
        );
        (State::Partial, Reason::PartiallyLocked, message)
    } else if by_counters > 0 {
        let message = format!(
            "{who} has locked all of its {locked_kb} kB that can be locked, and {by_counters} kB more belong to the kernel or a device and are never swapped; nothing is in swap"
        );
        (State::Locked, Reason::Locked, message)
    } else {
        (State::Locked, Reason::Locked, format!("{who} has locked all of its {locked_kb} kB; nothing is in swap"))
    };
    Verdict { state, reason, figures: (!untold).then_some(figures), message }
}

/// `VmLck` is more than could be locked: VFIO adds to it what it pins for a device (`vfio_lock_acct()` in
/// `drivers/vfio/vfio_iommu_type1.c`, by `__account_locked_vm()`), huge pages too, and that says nothing of locks.
fn counts_more_than_locks(process: &Process) -> bool {
    process.locked_kb > process.size_kb.saturating_sub(process.hugetlb_kb)
}

/// What is not locked by the flags of every mapping, in kB; `None`: they were not read, or do not agree with the
/// counters, because the process changed in between.
///
/// They are the exact answer: a mapping either carries `lo`, or one of the flags that make the kernel neither lock nor
/// swap it, or it counts. Each mapping without `lo` is in one of the two sums, so that together they must be what the
/// counters leave unlocked.
fn by_mappings(process: &Process) -> Option<u64> {
    let mappings = process.mappings?;
    let unlocked = process.size_kb.checked_sub(process.locked_kb)?;
    let sum = mappings.explained_kb.checked_add(mappings.unexplained_kb)?;
    (sum == unlocked).then_some(mappings.unexplained_kb)
}

/// A late lock with `MCL_ONFAULT` leaves what is in swap there (mlockall(2)).
const LOCK_EARLY: &str =
    "it locked when pages were already in swap, or only a part; lock at start, and without MCL_ONFAULT";

/// The likely cause of missing locks, from facts and not from an errno.
fn remedy(process: &Process) -> String {
    let effective = process.effective_capabilities >> names::IPC_LOCK_BIT & 1 == 1;
    let limit = match process.locked_limit {
        Some(LockedLimit::Unlimited) => {
            return "its memlock limit is unlimited, so it never called mlockall, or forked or executed another program after it; start it with its locking option".to_owned();
        }
        Some(LockedLimit::Bytes(bytes)) => format!("its memlock limit is {} kB", bytes / 1024),
        None => "its memlock limit is not known".to_owned(),
    };
    if process.user_namespace {
        format!("it runs in a user namespace, where IPC_LOCK is without effect, and {limit}; remove hostUsers: false")
    } else if effective {
        "IPC_LOCK is effective, so it never called mlockall, or forked or executed another program after it; start it with its locking option".to_owned()
    } else if process.uid == 0 {
        format!("it does not have IPC_LOCK and {limit}; recreate the pod so that the webhook can add the capability")
    } else {
        format!(
            "it runs as uid {}, for which an added IPC_LOCK is not effective, and {limit}; run it as root or give the binary in the image cap_ipc_lock=ep",
            process.uid
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
pub(super) mod tests;
