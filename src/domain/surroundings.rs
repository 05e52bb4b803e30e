//! What stands around a lock and decides what it is worth: swap of the node and of the control group, memory that is
//! left, threads that may wait for their own device.

use crate::domain::{
    names,
    probe::{Facts, Process, SMALLEST_HEADROOM, SwapArea, SwapLimit, Threads},
    verdict::{State, Wanted},
};

/// How full a swap area is, or all of them. In kB of 1,024 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SwapUse {
    /// Of it in use.
    pub used_kb: u64,
    /// All of it; 0: there is none.
    pub size_kb: u64,
}

impl SwapUse {
    /// Rounded down; 0 of nothing.
    #[must_use]
    pub fn percent(&self) -> u64 {
        let used = u128::from(self.used_kb.min(self.size_kb)).saturating_mul(100);
        u64::try_from(used.checked_div(self.size_kb.into()).unwrap_or_default()).unwrap_or_default()
    }

    fn of<'a>(areas: impl Iterator<Item = &'a SwapArea>) -> Self {
        areas.fold(Self::default(), |sum, area| Self {
            used_kb: sum.used_kb.saturating_add(area.used_kb),
            size_kb: sum.size_kb.saturating_add(area.size_kb),
        })
    }
}

/// All swap of the node; `None`: it could not be read.
pub(super) fn node_swap(facts: &Facts) -> Option<SwapUse> {
    facts.swaps.as_ref().map(|areas| SwapUse::of(areas.iter()))
}

/// The swap area on this device; `None`: there is none, or it could not be read.
pub(super) fn device_use(facts: &Facts, device: &str) -> Option<SwapUse> {
    let areas = facts.swaps.as_ref()?;
    areas.iter().find(|area| is_on(area, device)).map(|area| SwapUse::of([area].into_iter()))
}

/// `/proc/swaps` shows a path as far as the reader's mounts reach: a node's `/dev/ublkb0` is `/ublkb0` in a container
/// (`seq_file_path()` in `mm/swapfile.c`).
fn is_on(area: &SwapArea, device: &str) -> bool {
    area.partition && (area.name == device || device.strip_prefix("/dev").is_some_and(|name| area.name == name))
}

/// Sentences beside the verdict on these processes, each with what to do; none where all is well.
pub(super) fn notes(facts: &Facts, counted: &[&Process], wanted: &Wanted, state: State) -> Vec<String> {
    let exposed = matches!(state, State::Swapped | State::Unlocked | State::Partial);
    let device = wanted.device.as_deref().and_then(|device| missing_device(facts, device));
    // Both would say that nothing is swapped to.
    let swap = if exposed && device.is_none() { swapping(facts) } else { None };
    [flushers(counted, wanted.io_flusher), room(facts), device, swap].into_iter().flatten().collect()
}

/// `PR_SET_IO_FLUSHER`: without it a thread that serves swap may wait for memory which only it can free.
fn flushers(counted: &[&Process], wanted: bool) -> Option<String> {
    let Some(threads) = counted.iter().map(|process| process.threads).collect::<Option<Vec<Threads>>>() else {
        let sentence = format!(
            "whether its threads are IO flushers cannot be seen without the agent; set {}: \"true\"",
            names::AGENT
        );
        return wanted.then_some(sentence);
    };
    let sum = |pick: fn(&Threads) -> u64| threads.iter().map(pick).fold(0, u64::saturating_add);
    let (all, marked) = (sum(|t| t.count), sum(|t| t.io_flushers));
    if marked == all {
        wanted.then(|| format!("all {all} threads are IO flushers"))
    } else if wanted || marked > 0 {
        Some(format!(
            "{marked} of {all} threads are IO flushers, and the others may wait for memory that only they can free; call prctl(PR_SET_IO_FLUSHER) before the first thread starts, with SYS_RESOURCE"
        ))
    } else {
        None
    }
}

/// Locked memory is not given back: what is charged beyond the limit is paid with the daemon's life.
fn room(facts: &Facts) -> Option<String> {
    let memory = facts.memory?;
    let (limit, left) = (memory.limit?, memory.headroom()?);
    (left < SMALLEST_HEADROOM).then(|| {
        format!(
            "only {} MiB are left of its memory limit of {} MiB; raise the limit before the daemon is killed",
            left >> 20,
            limit >> 20
        )
    })
}

fn missing_device(facts: &Facts, device: &str) -> Option<String> {
    let areas = facts.swaps.as_ref()?;
    let found = areas.iter().any(|area| is_on(area, device));
    (!found).then(|| format!("the node has no swap on {device}; swapon it, or name it as /proc/swaps does"))
}

/// How much it matters that something is not locked.
fn swapping(facts: &Facts) -> Option<String> {
    let limit = facts.memory.and_then(|memory| memory.swap);
    if limit == Some(SwapLimit::Bytes(0)) {
        Some("its control group may not swap (memory.swap.max is 0), but the kernel may still drop its program and files".to_owned())
    } else if facts.swaps.as_ref().is_some_and(Vec::is_empty) {
        Some("the node has no swap now, so this harms once it has some".to_owned())
    } else {
        // The kubelet gives none to such pods (LimitedSwap); on cgroup v1 nothing is known.
        limit
            .map(|_| "its control group may swap; requests equal to limits (QoS Guaranteed) would forbid it".to_owned())
    }
}

#[cfg(test)]
#[path = "surroundings_tests.rs"]
mod tests;
