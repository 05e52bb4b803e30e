//! What `mlockall` without `onfault` brings into memory at once, held against the memory limit.
//!
//! The kernel does not refuse a lock that the limit has no room for: it kills the process while it fills the memory.

use core::fmt;

use crate::{
    cgroup::Group,
    lines,
    sys::{MCL_ONFAULT, Pid},
    text::{Path, decimal, hexadecimal, words},
};

/// More is to be brought into memory than the control group may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// In bytes, as the others.
    limit: u64,
    /// What of it can still be had.
    free: u64,
    needed: u64,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "its memory limit of {} kB has room for {} kB, and locking its program at once takes {} kB, so that it would be \
             killed; raise resources.limits.memory, or lock with onfault (memlock.dev/lock-flags: current,future,onfault)",
            self.limit / 1024,
            self.free / 1024,
            self.needed / 1024
        )
    }
}

/// Whether a process of this control group would be killed by its memory limit for `mlockall` with these flags. `None`
/// also where that is not certain: what it maps later is not known, and nothing is told that could not be read.
#[must_use]
pub fn shortage(pid: Pid, flags: usize) -> Option<Shortage> {
    if flags & MCL_ONFAULT != 0 {
        return None;
    }
    let group = Group::own()?;
    let limit = group.limit()?.bytes()?;
    let free = limit.saturating_sub(group.current()?.saturating_sub(group.reclaimable()));
    let needed = writable(pid)?.saturating_sub(resident(pid)?);
    (needed > free).then_some(Shortage { limit, free, needed })
}

/// Bytes of the mappings of which every page becomes the process's own: private ones that can be written
/// (`populate_vma_page_range()`). Pages of files may be in memory already, at the cost of somebody else.
fn writable(pid: Pid) -> Option<u64> {
    let mut sum = 0_u64;
    lines::for_each(file(pid, "maps").c_str()?, |line| {
        let mut fields = words(line);
        let (Some(range), Some([_, b'w', _, b'p'])) = (fields.next(), fields.next()) else { return };
        let mut ends = range.split(|byte| *byte == b'-').filter_map(hexadecimal);
        if let (Some(start), Some(end)) = (ends.next(), ends.next()) {
            sum = sum.saturating_add(end.saturating_sub(start));
        }
    })
    .ok()?;
    Some(sum)
}

/// Bytes of its own that are in memory already.
fn resident(pid: Pid) -> Option<u64> {
    let mut found = None;
    lines::for_each(file(pid, "status").c_str()?, |line| {
        if let Some(rest) = line.strip_prefix(b"RssAnon:") {
            found = words(rest).next().and_then(decimal);
        }
    })
    .ok()?;
    found?.checked_mul(1024)
}

fn file(pid: Pid, name: &str) -> Path {
    Path::of(format_args!("/proc/{pid}/{name}"))
}
