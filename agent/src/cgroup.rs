//! The memory control group of this process, version 1 or 2.

use core::{ffi::CStr, fmt};

use crate::{
    lines,
    sys::{Errno, File},
    text::{Path, decimal},
};

/// A folder of `/sys/fs/cgroup`.
#[derive(Debug)]
pub struct Group {
    folder: Path,
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
    /// The group of this process. A container sees its own at the root of the mount; where the whole tree is mounted,
    /// as on a node, it is found by the path in `/proc/self/cgroup`.
    #[must_use]
    pub fn own() -> Option<Self> {
        let mut first = Path::new();
        let mut second = Path::new();
        let _ = lines::for_each(c"/proc/self/cgroup", |line| {
            let mut parts = line.splitn(3, |byte| *byte == b':');
            let (Some(number), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
                return;
            };
            // Seen from a namespace below: nothing that could be joined.
            let path = if path.starts_with(b"/..") { b"" } else { path };
            if number == b"0" && controllers.is_empty() {
                second.push(path);
            } else if controllers.split(|byte| *byte == b',').any(|name| name == b"memory") {
                first.push(path);
            }
        });
        let at = |root: &[u8], path: &[u8], second: bool| {
            let mut folder = Path::new();
            folder.push(root);
            folder.push(path);
            let group = Self { folder, second };
            group.open(group.file(c"memory.max", c"memory.limit_in_bytes")).is_ok().then_some(group)
        };
        at(b"/sys/fs/cgroup/memory", first.bytes(), false)
            .or_else(|| at(b"/sys/fs/cgroup/memory", b"", false))
            .or_else(|| at(b"/sys/fs/cgroup", second.bytes(), true))
            .or_else(|| at(b"/sys/fs/cgroup", b"", true))
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
        let _ = self.lines(c"memory.stat", |line| {
            if let Some(number) = line.strip_prefix(b"swap ") {
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

    /// Groups below, whose processes are in no list here (version 2).
    #[must_use]
    pub fn descendants(&self) -> u64 {
        let mut count = 0;
        let _ = self.lines(c"cgroup.stat", |line| {
            if let Some(number) = line.strip_prefix(b"nr_descendants ") {
                count = decimal(number).unwrap_or(u64::MAX);
            }
        });
        count
    }

    /// Calls `each` with every process of the group; 0 stands for one that this process cannot see.
    pub fn processes(&self, mut each: impl FnMut(u64)) -> Result<(), Errno> {
        let mut whole = true;
        self.lines(c"cgroup.procs", |line| match decimal(line) {
            Some(pid) => each(pid),
            None => whole = false,
        })?;
        if whole { Ok(()) } else { Err(Errno::INVAL) }
    }

    fn file(&self, second: &'static CStr, first: &'static CStr) -> &'static CStr {
        if self.second { second } else { first }
    }

    fn path(&self, name: &CStr) -> Path {
        let mut path = Path::new();
        path.push(self.folder.bytes());
        path.push(b"/");
        path.push(name.to_bytes());
        path
    }

    fn open(&self, name: &CStr) -> Result<File, Errno> {
        File::open(self.path(name).c_str().ok_or(Errno::INVAL)?)
    }

    fn lines(&self, name: &CStr, each: impl FnMut(&[u8])) -> Result<(), Errno> {
        lines::for_each(self.path(name).c_str().ok_or(Errno::INVAL)?, each)
    }

    fn value(&self, name: &CStr) -> Option<Limit> {
        let path = self.path(name);
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
