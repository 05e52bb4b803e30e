//! The lines of a probe's output, put back into the files they came from.

use super::{
    agent::printable,
    facts::{LockedLimit, Memory, SwapArea},
};

/// What the files of one process said, `/proc/PID/status` first.
#[derive(Debug, Default)]
pub(super) struct Block<'a> {
    pub(super) status: Vec<(&'a str, &'a str)>,
    pub(super) cgroup: Vec<&'a str>,
    pub(super) locked_limit: Option<LockedLimit>,
    pub(super) user_namespace: bool,
}

/// The control group of a process that memory belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group<'a> {
    path: &'a str,
    /// It is one of cgroup v1.
    pub(super) first: bool,
}

impl Group<'_> {
    /// Whether another one is this one, or below it.
    pub(super) fn holds(self, other: Self) -> bool {
        // It leads out of the namespace from which it was read.
        let outside = other.path == "/.." || other.path.starts_with("/../");
        self.first == other.first
            && other
                .path
                .strip_prefix(self.path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || self.path == "/" && !outside)
    }
}

impl<'a> Block<'a> {
    /// By the hierarchy of memory in cgroup v1, where there is one.
    pub(super) fn memory_group(&self) -> Option<Group<'a>> {
        let first = self.cgroup_of(|controllers| controllers.split(',').any(|name| name == "memory"));
        let first = first.map(|path| Group { path, first: true });
        first.or_else(|| self.unified_group())
    }

    /// By the hierarchy of cgroup v2, the only one that still shows the group of a zombie.
    pub(super) fn unified_group(&self) -> Option<Group<'a>> {
        self.cgroup_of(str::is_empty).map(|path| Group { path, first: false })
    }

    fn cgroup_of(&self, wanted: impl Fn(&str) -> bool) -> Option<&'a str> {
        self.cgroup.iter().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            wanted(controllers).then_some(path)
        })
    }
}

/// The whole output.
#[derive(Debug, Default)]
pub(super) struct Sections<'a> {
    /// One a process; the reader's is the last.
    pub(super) blocks: Vec<Block<'a>>,
    /// Lines of `/proc/self/maps`.
    pub(super) mappings: usize,
    pub(super) unlockable_bytes: u64,
    /// Lines of one word after the mappings: two or three of the memory control group, then processes.
    words: Vec<&'a str>,
    /// How many words stood before the first line of `memory.stat`.
    words_before_stat: Option<usize>,
    reclaimable: u64,
    /// `total_swap` of `memory.stat`, in bytes (v1).
    swapped: Option<u64>,
    /// `/proc/swaps`, where its heading was there.
    pub(super) swaps: Option<Vec<SwapArea>>,
    /// Control groups below the container's own (cgroup v2), whose processes are in no list here.
    pub(super) descendants: u64,
    /// Threads of the container, in groups below too (cgroup v1).
    pub(super) threads: Option<u64>,
}

impl<'a> Sections<'a> {
    pub(super) fn split(text: &'a str) -> Self {
        let mut sections = Self::default();
        for line in text.lines() {
            sections.take(line);
        }
        sections
    }

    /// `cgroup.procs`; `None` when a line of it is no number.
    pub(super) fn processes(&self) -> Option<Vec<u64>> {
        let words = self.words.get(self.words_before_stat.unwrap_or_default()..).unwrap_or_default();
        words.iter().map(|word| word.parse().ok()).collect()
    }

    /// Limit, usage and (v2) usage of swap stand before the statistics, in this order; anything else is not known.
    pub(super) fn memory(&self) -> Option<Memory> {
        let (limit, current, swapped) = match self.words.get(..self.words_before_stat?)? {
            [limit, current] => (limit, current, self.swapped),
            [limit, current, swapped] => (limit, current, Some(swapped.parse().ok()?)),
            _ => return None,
        };
        // cgroup v1 writes "no limit" as a number just below 2^63 (PAGE_COUNTER_MAX pages).
        let limit = match *limit {
            "max" => None,
            bytes => Some(bytes.parse().ok()?).filter(|bytes: &u64| *bytes < 1 << 62),
        };
        Some(Memory { limit, current: current.parse().ok()?, reclaimable: self.reclaimable, swap: None, swapped })
    }

    fn take(&mut self, line: &'a str) {
        if let Some((key, value)) = line.split_once(":\t") {
            if key == "Name" {
                self.blocks.push(Block::default());
            }
            if let Some(block) = self.blocks.last_mut() {
                block.status.push((key, value.trim()));
            }
        } else if is_cgroup(line) {
            if let Some(block) = self.blocks.last_mut() {
                block.cgroup.push(line);
            }
        } else if let Some(rest) = line.strip_prefix("Max locked memory") {
            if let Some(block) = self.blocks.last_mut() {
                block.locked_limit = match rest.split_whitespace().next() {
                    Some("unlimited") => Some(LockedLimit::Unlimited),
                    other => other.and_then(|bytes| bytes.parse().ok()).map(LockedLimit::Bytes),
                };
            }
        } else if let Some(size) = mapping_size(line) {
            self.mappings += 1;
            if ["[vdso]", "[vvar]", "[vvar_vclock]"].iter().any(|name| line.ends_with(name)) {
                self.unlockable_bytes = self.unlockable_bytes.saturating_add(size);
            }
        } else {
            self.take_fields(line);
        }
    }

    /// One word: before the mappings the number of threads, after them limit, usage or a process. Two: `memory.stat`.
    /// Three numbers: `uid_map`. Five: `/proc/swaps`.
    fn take_fields(&mut self, line: &'a str) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields.as_slice() {
            [word] if self.mappings > 0 => self.words.push(word),
            [word] => self.threads = word.parse().ok(),
            [key, value] if self.mappings > 0 => {
                self.words_before_stat.get_or_insert(self.words.len());
                // v1 counts the container alone and, as total_, what is below it too.
                if matches!(*key, "inactive_file" | "active_file") {
                    self.reclaimable = self.reclaimable.saturating_add(value.parse().unwrap_or_default());
                } else if *key == "total_swap" {
                    self.swapped = value.parse().ok();
                } else if *key == "nr_descendants" {
                    self.descendants = value.parse().unwrap_or(u64::MAX);
                }
            }
            [inside, outside, count] if fields.iter().all(|f| f.bytes().all(|b| b.is_ascii_digit())) => {
                // The whole range onto itself is the initial user namespace (user_namespaces(7)).
                if let Some(block) = self.blocks.last_mut() {
                    block.user_namespace |= (*inside, *outside, *count) != ("0", "0", "4294967295");
                }
            }
            ["Filename", "Type", "Size", "Used", "Priority"] => self.swaps = Some(Vec::new()),
            [name, kind @ ("partition" | "file"), size, used, _] => {
                if let (Some(areas), Ok(size_kb), Ok(used_kb)) = (&mut self.swaps, size.parse(), used.parse()) {
                    areas.push(SwapArea {
                        name: printable(name, 256),
                        partition: *kind == "partition",
                        size_kb,
                        used_kb,
                    });
                }
            }
            _ => {}
        }
    }
}

/// `4:memory:/kubepods/…` (v1) or `0::/…` (v2).
fn is_cgroup(line: &str) -> bool {
    let mut parts = line.splitn(3, ':');
    let number = parts.next().is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    number && parts.next().is_some() && parts.next().is_some_and(|path| path.starts_with('/'))
}

/// Bytes between the two addresses that begin a line of `/proc/PID/maps`.
pub(super) fn mapping_size(line: &str) -> Option<u64> {
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    let address = |hex| u64::from_str_radix(hex, 16).ok();
    address(end)?.checked_sub(address(start)?)
}
