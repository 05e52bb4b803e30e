//! Bytes of a probe → [`Facts`].
//!
//! The bytes come from somebody else's container: nothing in them is trusted to be
//! there, to be in order or to be small. What is missing is an error, never a zero.

use std::collections::BTreeSet;

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
    /// Neither `cgroup.procs` file was readable, or it is not the container's.
    #[error("the list of the container's processes (cgroup.procs) could not be read")]
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
    let reader_pid = number(reader, "Pid")?;
    // Equal control groups mean the same container; empty ones mean that nothing is known.
    let ours = |block: &&Block<'_>| !block.cgroup.is_empty() && block.cgroup == reader.cgroup;
    let members: Vec<&Block<'_>> = others.iter().filter(ours).collect();
    let mut processes = Vec::with_capacity(members.len());
    let mut read: BTreeSet<u64> = BTreeSet::from([reader_pid]);
    for block in members {
        let pid = number(block, "Pid")?;
        // The reader is among them when a shell listed /proc; a zombie has no memory left.
        if read.insert(pid) && !is_dead(block) {
            processes.push(process(block, pid)?);
        }
    }
    if processes.is_empty() {
        return Err(ParseError::ForeignProcesses);
    }
    let listed = sections.processes().ok_or(ParseError::NoProcessList)?;
    // Whoever was read is a process of the container too: a list without them is another's.
    if !listed.contains(&reader_pid) || !processes.iter().any(|process| listed.contains(&process.pid)) {
        return Err(ParseError::NoProcessList);
    }
    let unlockable_kb = sections.unlockable_bytes / 1024;
    if sections.mappings == 0 || unlockable_kb > MOST_UNLOCKABLE_KB {
        return Err(ParseError::NoMappings);
    }
    let unread = listed.iter().collect::<BTreeSet<_>>().into_iter().filter(|pid| !read.contains(pid)).count();
    Ok(Facts {
        processes,
        // Each control group below holds at least one process, or would not be worth making.
        unread_processes: unread.saturating_add(usize::try_from(sections.descendants).unwrap_or(usize::MAX)),
        unlockable_kb,
        memory: sections.memory(),
        swaps: sections.swaps,
    })
}

/// `Z (zombie)` or `X (dead)`: its lines of memory are gone, and so is its memory.
fn is_dead(block: &Block<'_>) -> bool {
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
