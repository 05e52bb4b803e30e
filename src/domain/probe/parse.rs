//! Bytes of a probe → [`Facts`].
//!
//! The bytes come from somebody else's container: nothing in them is trusted to be
//! there, to be in order or to be small. What is missing is an error, never a zero.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::{
    agent,
    facts::{Facts, Process},
    sections::{Block, Sections},
};

/// More than any kernel's vvar and vdso take, in kB: the reader's own figure is not believed beyond it.
pub(super) const MOST_UNLOCKABLE_KB: u64 = 1024;

/// Why the output says nothing about the container.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParseError {
    /// No block of `/proc/PID/status` besides the reader's.
    #[error("no process but the reader could be read")]
    NoStatus,
    /// A line that the verdict needs.
    #[error("/proc/PID/status of a process has no readable {0} line")]
    Missing(&'static str),
    /// None of the processes that were read belongs to the reader's control group.
    #[error("process 1 belongs to another container (shared or host PID namespace)")]
    ForeignProcesses,
    /// The first thread of the only process has ended, and the others are not in what was read.
    #[error("the first thread of the process has ended, and only the agent reads the others")]
    FirstThreadEnded,
    /// No `cgroup.procs` file was readable, it is not the container's, or (v1) the number of its threads is missing.
    #[error("the list of the container's processes (cgroup.procs, pids.current) could not be read")]
    NoProcessList,
    /// The reader's own mappings, from which the unlockable ones are measured, or they cannot be true.
    #[error("/proc/self/maps could not be read")]
    NoMappings,
    /// The agent in the container speaks another version.
    #[error("the agent in the container speaks a version of the format that this controller does not know")]
    Version,
    /// The agent did not come to its end.
    #[error("the agent's output is not complete")]
    Incomplete,
    /// A line of the agent that it would not write.
    #[error("the agent's output has a line that cannot be read ({0})")]
    Line(&'static str),
}

impl ParseError {
    /// A bounded word.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoStatus => "NoStatus",
            Self::Missing(_) => "MissingField",
            Self::ForeignProcesses => "ForeignProcesses",
            Self::FirstThreadEnded => "FirstThreadEnded",
            Self::NoProcessList => "NoProcessList",
            Self::NoMappings => "NoMappings",
            Self::Version => "Version",
            Self::Incomplete => "Incomplete",
            Self::Line(_) => "Line",
        }
    }
}

/// Reads what one of [`super::ALLOWED`] printed.
pub fn parse(output: &[u8]) -> Result<Facts, ParseError> {
    let text = String::from_utf8_lossy(output);
    if agent::is_agent(&text) {
        return agent::parse(&text);
    }
    let sections = Sections::split(&text);
    let Some((reader, others)) = sections.blocks.split_last().filter(|(_, others)| !others.is_empty()) else {
        return Err(ParseError::NoStatus);
    };
    let members = Members::of(reader, others)?;
    if members.processes.is_empty() {
        return Err(if members.unread.is_empty() {
            ParseError::ForeignProcesses
        } else {
            ParseError::FirstThreadEnded
        });
    }
    let listed = sections.processes().ok_or(ParseError::NoProcessList)?;
    // The reader's `cgroup` is whole only where another one is equal to it.
    let whole = others.iter().any(|block| block.cgroup == reader.cgroup);
    // Whoever was read is a process of the container too: a list without them is another's.
    let known = members.processes.iter().any(|process| listed.contains(&process.pid));
    if !whole || !known || !listed.contains(&members.reader) {
        return Err(ParseError::NoProcessList);
    }
    let unlockable_kb = sections.unlockable_bytes / 1024;
    if sections.mappings == 0 || unlockable_kb > MOST_UNLOCKABLE_KB {
        return Err(ParseError::NoMappings);
    }
    let mut unread = members.unread;
    unread.extend(listed.into_iter().filter(|pid| !members.threads.contains_key(pid)));
    // Each control group below holds at least one process, or would not be worth making.
    let mut below = usize::try_from(sections.descendants).unwrap_or(usize::MAX);
    if members.first {
        let seen = members.threads.values().fold(0, |sum: u64, count| sum.saturating_add(*count));
        let more = sections.threads.ok_or(ParseError::NoProcessList)? > seen;
        // They are those of the processes that are known to be unread, or of others.
        below = below.max(usize::from(more && unread.is_empty()));
    }
    Ok(Facts {
        processes: members.processes,
        unread_processes: unread.len().saturating_add(below),
        unlockable_kb,
        memory: sections.memory(),
        swaps: sections.swaps,
    })
}

/// The processes of the container, as far as there is a block of them.
struct Members {
    reader: u64,
    /// By cgroup v1.
    first: bool,
    processes: Vec<Process>,
    /// Those whose first thread has ended before the others: what was read is of the first.
    unread: BTreeSet<u64>,
    /// Threads of whoever was read, the reader and the dead among them, by process.
    threads: BTreeMap<u64, u64>,
}

impl Members {
    /// The reader's control group is the container's; no group means that nothing is known.
    fn of(reader: &Block<'_>, others: &[Block<'_>]) -> Result<Self, ParseError> {
        let pid = number(reader, "Pid")?;
        let group = reader.memory_group().ok_or(ParseError::ForeignProcesses)?;
        let unified = reader.unified_group();
        let threads = BTreeMap::from([(pid, number(reader, "Threads")?)]);
        let mut members =
            Self { reader: pid, first: group.first, processes: Vec::new(), unread: BTreeSet::new(), threads };
        for block in others {
            let ours = block.memory_group().is_some_and(|other| group.holds(other));
            // cgroup v1 shows a zombie in no group.
            let ended = has_ended(block);
            let was_ours = || unified.zip(block.unified_group()).is_some_and(|(ours, theirs)| ours.holds(theirs));
            if ours || (ended && was_ours()) {
                members.take(block, ended)?;
            }
        }
        Ok(members)
    }

    fn take(&mut self, block: &Block<'_>, ended: bool) -> Result<(), ParseError> {
        let (pid, threads) = (number(block, "Pid")?, number(block, "Threads")?);
        if ended && threads > 1 {
            self.unread.insert(pid);
        } else if self.threads.insert(pid, threads).is_none() && !ended {
            self.processes.push(process(block, pid)?);
        }
        Ok(())
    }
}

/// `Z (zombie)` or `X (dead)`: the lines of memory are gone; and so is the memory, where no other thread is left.
fn has_ended(block: &Block<'_>) -> bool {
    lookup(block, "State").is_some_and(|state| state.starts_with(['Z', 'X']))
}

fn process(block: &Block<'_>, pid: u64) -> Result<Process, ParseError> {
    let named = |field: &'static str| lookup(block, field).ok_or(ParseError::Missing(field));
    let uid = named("Uid")?.split_whitespace().nth(1).and_then(|v| v.parse().ok());
    let capabilities = u64::from_str_radix(named("CapEff")?, 16).ok();
    Ok(Process {
        pid,
        name: named("Name")?.chars().filter(|c| !c.is_control()).take(32).collect(),
        uid: uid.ok_or(ParseError::Missing("Uid"))?,
        size_kb: number(block, "VmSize")?,
        locked_kb: number(block, "VmLck")?,
        swapped_kb: number(block, "VmSwap")?,
        // Absent on kernels without hugetlb; a zero here can only make the verdict worse.
        hugetlb_kb: number(block, "HugetlbPages").unwrap_or(0),
        effective_capabilities: capabilities.ok_or(ParseError::Missing("CapEff"))?,
        locked_limit: block.locked_limit,
        user_namespace: block.user_namespace,
        threads: None,
        mappings: None,
    })
}

/// A decimal, followed by ` kB` where it is a size.
fn number(block: &Block<'_>, field: &'static str) -> Result<u64, ParseError> {
    lookup(block, field)
        .and_then(|value| value.strip_suffix(" kB").unwrap_or(value).parse().ok())
        .ok_or(ParseError::Missing(field))
}

/// A key that stands twice is a forgery or a cut: it counts as missing.
fn lookup<'a>(block: &Block<'a>, name: &str) -> Option<&'a str> {
    let mut found = block.status.iter().filter(|(key, _)| *key == name).map(|(_, value)| *value);
    found.next().filter(|_| found.next().is_none())
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
