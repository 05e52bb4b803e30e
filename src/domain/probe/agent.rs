//! The output of the agent → [`Facts`]. The format is described in docs/agent.md.
//!
//! Strict: the lines stand in one order, each has its fields and no more, and the last one must be there. The agent
//! writes nothing else, so anything else is damage or was written by somebody else.

use std::collections::BTreeSet;

use super::{
    facts::{Facts, LockedLimit, Mappings, Memory, Process, SwapArea, SwapLimit, Threads},
    parse::{MOST_UNLOCKABLE_KB, ParseError},
};

/// Begins every version of the format.
const NAME: &str = "memlock-probe ";

/// Whether it is the agent that speaks.
pub(super) fn is_agent(text: &str) -> bool {
    text.starts_with(NAME)
}

/// Reads version 1.
pub(super) fn parse(text: &str) -> Result<Facts, ParseError> {
    let (first, body) = text.split_once('\n').ok_or(ParseError::Incomplete)?;
    if first.strip_prefix(NAME) != Some("1") {
        return Err(ParseError::Version);
    }
    let body = body.strip_suffix("\nend\n").ok_or(ParseError::Incomplete)?;
    let mut lines = body.split('\n').peekable();
    let reader = Fields::of("reader", lines.next())?;
    let [reader_pid, unlockable_kb] = reader.numbers()?;
    if unlockable_kb > MOST_UNLOCKABLE_KB {
        return Err(ParseError::Line("reader"));
    }
    let memory = lines.next_if(|line| is(line, "memory")).map(memory).transpose()?;
    let mut swaps = Vec::new();
    while let Some(line) = lines.next_if(|line| is(line, "swap")) {
        swaps.push(swap(line)?);
    }
    let mut processes = Vec::new();
    let mut pids = BTreeSet::from([reader_pid]);
    while let Some(line) = lines.next_if(|line| is(line, "process")) {
        let mut process = process(line)?;
        if !pids.insert(process.pid) {
            return Err(ParseError::Line("process"));
        }
        if let Some(line) = lines.next_if(|line| is(line, "smaps")) {
            process.mappings = Some(mappings(line, &process)?);
        }
        processes.push(process);
    }
    let unread = Fields::of("unread", lines.next())?;
    if lines.next().is_some() {
        return Err(ParseError::Line("end"));
    }
    let unread = match unread.all::<1>()? {
        ["-"] => return Err(ParseError::NoProcessList),
        [count] => number(count).ok_or(ParseError::Line("unread"))?,
    };
    if processes.is_empty() {
        return Err(ParseError::NoStatus);
    }
    let unread_processes = usize::try_from(unread).unwrap_or(usize::MAX);
    Ok(Facts { processes, unread_processes, unlockable_kb, memory, swaps: Some(swaps) })
}

fn is(line: &str, name: &str) -> bool {
    line.split(' ').next() == Some(name)
}

/// The fields of a line behind its name.
struct Fields<'a> {
    name: &'static str,
    rest: &'a str,
}

impl<'a> Fields<'a> {
    fn of(name: &'static str, line: Option<&'a str>) -> Result<Self, ParseError> {
        let rest = line.and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(Self { name, rest: rest.ok_or(ParseError::Line(name))? })
    }

    /// As many as are wanted, no fewer and no more; the last one keeps its blanks.
    fn text<const N: usize>(&self) -> Result<[&'a str; N], ParseError> {
        let fields: Vec<&str> = self.rest.splitn(N, ' ').collect();
        fields.try_into().map_err(|_| ParseError::Line(self.name))
    }

    /// The same, where no field may hold blanks.
    fn all<const N: usize>(&self) -> Result<[&'a str; N], ParseError> {
        let fields = self.text::<N>()?;
        if fields.iter().any(|field| field.contains(' ')) { Err(ParseError::Line(self.name)) } else { Ok(fields) }
    }

    fn numbers<const N: usize>(&self) -> Result<[u64; N], ParseError> {
        let mut numbers = [0; N];
        for (slot, field) in numbers.iter_mut().zip(self.all::<N>()?) {
            *slot = number(field).ok_or(ParseError::Line(self.name))?;
        }
        Ok(numbers)
    }
}

/// Digits and nothing else.
fn number(field: &str) -> Option<u64> {
    field.bytes().all(|byte| byte.is_ascii_digit()).then(|| field.parse().ok()).flatten()
}

fn memory(line: &str) -> Result<Memory, ParseError> {
    let read = |fields: [&str; 5]| {
        let [limit, current, reclaimable, swap, swapped] = fields;
        Some(Memory {
            limit: if limit == "unlimited" { None } else { Some(number(limit)?) },
            current: number(current)?,
            reclaimable: number(reclaimable)?,
            swap: match swap {
                "-" => None,
                "unlimited" => Some(SwapLimit::Unlimited),
                bytes => Some(SwapLimit::Bytes(number(bytes)?)),
            },
            swapped: if swapped == "-" { None } else { Some(number(swapped)?) },
        })
    };
    read(Fields::of("memory", Some(line))?.all()?).ok_or(ParseError::Line("memory"))
}

fn swap(line: &str) -> Result<SwapArea, ParseError> {
    let [kind, size, used, name] = Fields::of("swap", Some(line))?.text()?;
    match (number(size), number(used)) {
        (Some(size_kb), Some(used_kb)) => {
            Ok(SwapArea { name: printable(name, 256), partition: kind == "partition", size_kb, used_kb })
        }
        _ => Err(ParseError::Line("swap")),
    }
}

fn process(line: &str) -> Result<Process, ParseError> {
    let read = |fields: [&str; 12]| {
        let [pid, uid, capabilities, size, locked, swapped, hugetlb, limit, namespace, threads, flushers, name] =
            fields;
        let threads = Threads { count: number(threads)?, io_flushers: number(flushers)? };
        let process = Process {
            pid: number(pid)?,
            name: printable(name, 32),
            uid: uid.parse().ok().filter(|_| number(uid).is_some())?,
            size_kb: number(size)?,
            locked_kb: number(locked)?,
            swapped_kb: number(swapped)?,
            hugetlb_kb: number(hugetlb)?,
            effective_capabilities: u64::from_str_radix(capabilities, 16).ok()?,
            locked_limit: match limit {
                "-" => None,
                "unlimited" => Some(LockedLimit::Unlimited),
                bytes => Some(LockedLimit::Bytes(number(bytes)?)),
            },
            user_namespace: match namespace {
                "nested" => true,
                // Not known is not nested, as where `cat` could not read the map.
                "initial" | "-" => false,
                _ => return None,
            },
            threads: (threads.count > 0).then_some(threads),
            mappings: None,
        };
        (threads.io_flushers <= threads.count).then_some(process)
    };
    read(Fields::of("process", Some(line))?.text()?).ok_or(ParseError::Line("process"))
}

/// They belong to the process before them and are parts of its address space.
fn mappings(line: &str, process: &Process) -> Result<Mappings, ParseError> {
    let [pid, explained_kb, unexplained_kb, swapped_kb] = Fields::of("smaps", Some(line))?.numbers()?;
    let fits = explained_kb.checked_add(unexplained_kb).is_some_and(|sum| sum <= process.size_kb);
    if pid == process.pid && fits {
        Ok(Mappings { explained_kb, unexplained_kb, swapped_kb })
    } else {
        Err(ParseError::Line("smaps"))
    }
}

/// A name that somebody else chose.
pub(super) fn printable(name: &str, most: usize) -> String {
    name.chars().filter(|c| !c.is_control()).take(most).collect()
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
