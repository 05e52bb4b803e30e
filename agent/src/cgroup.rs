//! The memory control group of the container that this process is in, version 1 or 2.

use core::{ffi::CStr, fmt};

use crate::{
    lines,
    sys::{self, Errno, File},
    text::{Path, decimal},
};

/// Where version 1 mounts the hierarchy of memory.
const FIRST: &[u8] = b"/sys/fs/cgroup/memory";
/// Where version 2 mounts its only one.
const SECOND: &[u8] = b"/sys/fs/cgroup";
/// Hexadecimal digits of the id that a runtime gives to a container, and its group for a name.
const CONTAINER_ID: usize = 64;
/// Groups below groups that are followed; what is deeper counts as not read.
const DEEPEST: usize = 16;

/// A folder of `/sys/fs/cgroup`.
#[derive(Debug)]
pub struct Group {
    folder: Path,
    /// What `/proc/PID/cgroup` shows of its processes.
    name: Path,
    /// The names of the files are those of version 2.
    pub second: bool,
}

/// A limit that may be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// In bytes.
    Bytes(u64),
    /// There is none.
    Unlimited,
}

impl Limit {
    /// In bytes; `None`: there is none.
    #[must_use]
    pub fn bytes(self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Unlimited => None,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes}"),
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}

impl Group {
    /// The group of this process's container.
    ///
    /// That is not always the group of this process: where a container divides its own among its processes, a runtime
    /// puts an exec beside the first one, into a group below (version 2 allows no process above them).
    #[must_use]
    pub fn own() -> Option<Self> {
        let place = Place::read(c"/proc/self/cgroup").ok()?;
        let at = |root: &[u8], path: &[u8], name: &[u8], second: bool| {
            let mut folder = Path::new();
            folder.push(root);
            // Seen from a namespace below: nothing that could be joined.
            folder.push(if is_outside(path) { b"" } else { path });
            let mut group = Self { folder, name: Path::new(), second };
            group.name.push(name);
            group.open(group.file(c"memory.max", c"memory.limit_in_bytes")).is_ok().then_some(group)
        };
        let (first, second) = (place.first.bytes(), place.second.bytes());
        let container = named_by_id(first).unwrap_or(first);
        let in_first = at(FIRST, container, container, false).or_else(|| at(FIRST, b"", container, false));
        // The root of a namespace is the container's group; that of the machine has no limit.
        let root = if is_outside(second) { second } else { b"/" };
        in_first
            .or_else(|| named_by_id(second).and_then(|container| at(SECOND, container, container, true)))
            .or_else(|| at(SECOND, b"", root, true))
            .or_else(|| at(SECOND, second, second, true))
    }

    /// Whether a process, of which this is the file `cgroup`, is in this group or one below.
    pub fn holds(&self, cgroup: &CStr) -> Result<bool, Errno> {
        let place = Place::read(cgroup)?;
        let path = if place.first.bytes().is_empty() { &place.second } else { &place.first };
        Ok(is_at_or_below(path.bytes(), self.name.bytes()))
    }

    /// The limit.
    #[must_use]
    pub fn limit(&self) -> Option<Limit> {
        self.value(self.file(c"memory.max", c"memory.limit_in_bytes"))
    }

    /// What is charged now, in bytes.
    #[must_use]
    pub fn current(&self) -> Option<u64> {
        self.value(self.file(c"memory.current", c"memory.usage_in_bytes"))?.bytes()
    }

    /// `memory.swap.max`, version 2 only.
    #[must_use]
    pub fn swap_limit(&self) -> Option<Limit> {
        if self.second { self.value(c"memory.swap.max") } else { None }
    }

    /// What of it is in swap now, in bytes: anonymous and shared memory, whoever maps it.
    #[must_use]
    pub fn swapped(&self) -> Option<u64> {
        if self.second {
            return self.value(c"memory.swap.current")?.bytes();
        }
        let mut found = None;
        // Of the groups below too, as version 2 has it.
        let _ = self.lines(c"memory.stat", |line| {
            if let Some(number) = line.strip_prefix(b"total_swap ") {
                found = decimal(number);
            }
        });
        found
    }

    /// File pages that the kernel gives back under pressure, in bytes.
    #[must_use]
    pub fn reclaimable(&self) -> u64 {
        let mut sum = 0_u64;
        let _ = self.lines(c"memory.stat", |line| {
            let mut words = crate::text::words(line);
            if matches!(words.next(), Some(b"inactive_file" | b"active_file")) {
                sum = sum.saturating_add(words.next().and_then(decimal).unwrap_or_default());
            }
        });
        sum
    }

    /// Calls `each` with every process of the group and of those below; 0 stands for one that this process cannot see.
    /// The number of groups below whose processes could not be listed.
    pub fn processes(&self, each: &mut dyn FnMut(u64)) -> Result<u64, Errno> {
        list(&self.folder, each)?;
        Ok(list_below(&self.folder, DEEPEST, each))
    }

    fn file(&self, second: &'static CStr, first: &'static CStr) -> &'static CStr {
        if self.second { second } else { first }
    }

    fn open(&self, name: &CStr) -> Result<File, Errno> {
        File::open(inside(&self.folder, name).c_str().ok_or(Errno::INVAL)?)
    }

    fn lines(&self, name: &CStr, each: impl FnMut(&[u8])) -> Result<(), Errno> {
        lines::for_each(inside(&self.folder, name).c_str().ok_or(Errno::INVAL)?, each)
    }

    fn value(&self, name: &CStr) -> Option<Limit> {
        let path = inside(&self.folder, name);
        let mut buffer = [0; 32];
        Some(match lines::first(path.c_str()?, &mut buffer).ok()? {
            b"max" => Limit::Unlimited,
            number => match decimal(number)? {
                // Version 1 writes "no limit" as a number just below 2^63 (PAGE_COUNTER_MAX pages).
                bytes if bytes >= 1 << 62 => Limit::Unlimited,
                bytes => Limit::Bytes(bytes),
            },
        })
    }
}

fn inside(folder: &Path, name: &CStr) -> Path {
    let mut path = Path::new();
    path.push(folder.bytes());
    path.push(b"/");
    path.push(name.to_bytes());
    path
}

fn list(folder: &Path, each: &mut dyn FnMut(u64)) -> Result<(), Errno> {
    let mut whole = true;
    lines::for_each(inside(folder, c"cgroup.procs").c_str().ok_or(Errno::INVAL)?, |line| match decimal(line) {
        Some(pid) => each(pid),
        None => whole = false,
    })?;
    if whole { Ok(()) } else { Err(Errno::INVAL) }
}

fn list_below(folder: &Path, levels: usize, each: &mut dyn FnMut(u64)) -> u64 {
    let Some(path) = folder.c_str() else { return 1 };
    let mut unread = 0_u64;
    let listed = sys::entries(path, |name| {
        if matches!(name.to_bytes(), b"." | b"..") {
            return;
        }
        let below = inside(folder, name);
        let more = match list(&below, each) {
            // A file of this group, or a group that is gone.
            Err(Errno::NOTDIR | Errno::NOENT) => 0,
            Err(_) => 1,
            Ok(()) if levels == 0 => 1,
            Ok(()) => list_below(&below, levels - 1, each),
        };
        unread = unread.saturating_add(more);
    });
    match listed {
        Ok(()) | Err(Errno::NOENT) => unread,
        Err(_) => unread.saturating_add(1),
    }
}

/// What `/proc/PID/cgroup` says of memory: a path in the hierarchy of version 1, where memory has one, and in that of
/// version 2.
struct Place {
    first: Path,
    second: Path,
}

impl Place {
    fn read(cgroup: &CStr) -> Result<Self, Errno> {
        let mut place = Self { first: Path::new(), second: Path::new() };
        lines::for_each(cgroup, |line| {
            let mut parts = line.splitn(3, |byte| *byte == b':');
            let (Some(number), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
                return;
            };
            if number == b"0" && controllers.is_empty() {
                place.second.push(path);
            } else if controllers.split(|byte| *byte == b',').any(|name| name == b"memory") {
                place.first.push(path);
            }
        })?;
        Ok(place)
    }
}

/// The group that bears the id of a container: this one, or the nearest above.
fn named_by_id(path: &[u8]) -> Option<&[u8]> {
    let is_id = |name: &[u8]| {
        let mut runs = name.split(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        runs.any(|run| run.len() == CONTAINER_ID)
    };
    let ends = (1..=path.len()).rev().filter(|end| path.get(*end).is_none_or(|byte| *byte == b'/'));
    ends.filter_map(|end| path.get(..end)).find(|path| path.rsplit(|byte| *byte == b'/').next().is_some_and(is_id))
}

/// Whether one path of a group is the other or leads below it.
fn is_at_or_below(path: &[u8], group: &[u8]) -> bool {
    let Some(rest) = path.strip_prefix(group) else { return false };
    match rest {
        [] | [b'/', ..] => !group.is_empty(),
        _ => group == b"/" && !is_outside(path),
    }
}

/// Whether a path leads out of the namespace from which it was read.
fn is_outside(path: &[u8]) -> bool {
    path == b"/.." || path.starts_with(b"/../")
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
