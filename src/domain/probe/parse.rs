//! Bytes of the `cat` probe → [`Facts`].
//!
//! The bytes come from somebody else's container: nothing in them is trusted to be
//! there, to be in order or to be small. What is missing is an error, never a zero.

use std::collections::BTreeSet;

use thiserror::Error;

use super::facts::{Facts, LockedLimit, Process};

/// Why the output says nothing about the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParseError {
    /// Not two blocks of `/proc/PID/status`.
    #[error("the output holds {0} blocks of /proc/PID/status instead of 2")]
    Blocks(usize),
    /// A line that the verdict needs.
    #[error("/proc/{pid}/status has no readable {field} line")]
    Missing {
        /// Whose file.
        pid: &'static str,
        /// Which line.
        field: &'static str,
    },
    /// `/proc/1` and the reader are in different control groups.
    #[error("process 1 belongs to another container (shared or host PID namespace)")]
    ForeignFirstProcess,
    /// Neither `cgroup.procs` file was readable.
    #[error("the list of the container's processes (cgroup.procs) could not be read")]
    NoProcessList,
    /// The reader's own mappings, from which the unlockable ones are measured.
    #[error("/proc/self/maps could not be read")]
    NoMappings,
}

impl ParseError {
    /// A bounded word.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Blocks(_) => "NoStatus",
            Self::Missing { .. } => "MissingField",
            Self::ForeignFirstProcess => "ForeignFirstProcess",
            Self::NoProcessList => "NoProcessList",
            Self::NoMappings => "NoMappings",
        }
    }
}

/// Reads what [`super::CAT`] printed.
pub fn parse(output: &[u8]) -> Result<Facts, ParseError> {
    let text = String::from_utf8_lossy(output);
    let sections = Sections::split(&text);
    let [daemon, reader] = sections.statuses.as_slice() else {
        return Err(ParseError::Blocks(sections.statuses.len()));
    };
    let reader_pid = field(reader, "self", "Pid")?;
    let daemon = process(daemon)?;
    let [daemon_cgroup, reader_cgroup] = sections.cgroups.as_slice() else {
        return Err(ParseError::ForeignFirstProcess);
    };
    if daemon.pid != 1 || daemon_cgroup != reader_cgroup {
        return Err(ParseError::ForeignFirstProcess);
    }
    // The reader is a process of the container too: a list without it is another's or a part.
    if !sections.processes.contains(&1) || !sections.processes.contains(&reader_pid) {
        return Err(ParseError::NoProcessList);
    }
    if sections.mappings == 0 {
        return Err(ParseError::NoMappings);
    }
    let unread_processes = sections.processes.iter().filter(|pid| **pid != 1 && **pid != reader_pid).count();
    Ok(Facts {
        daemon,
        unlockable_kb: sections.unlockable_bytes / 1024,
        unread_processes,
        locked_limit: sections.locked_limit,
        user_namespace: sections.user_namespace,
    })
}

/// The lines of the output, sorted by the file they can only have come from.
#[derive(Default)]
struct Sections<'a> {
    statuses: Vec<Vec<(&'a str, &'a str)>>,
    cgroups: Vec<Vec<&'a str>>,
    processes: BTreeSet<u64>,
    mappings: usize,
    unlockable_bytes: u64,
    locked_limit: Option<LockedLimit>,
    user_namespace: bool,
}

impl<'a> Sections<'a> {
    fn split(text: &'a str) -> Self {
        let mut sections = Self::default();
        let mut in_cgroup = false;
        for line in text.lines() {
            let cgroup = is_cgroup(line);
            if cgroup && !in_cgroup {
                sections.cgroups.push(Vec::new());
            }
            in_cgroup = cgroup;
            sections.take(line, cgroup);
        }
        sections
    }

    fn take(&mut self, line: &'a str, cgroup: bool) {
        if cgroup {
            if let Some(block) = self.cgroups.last_mut() {
                block.push(line);
            }
        } else if let Some((key, value)) = line.split_once(":\t") {
            if key == "Name" {
                self.statuses.push(Vec::new());
            }
            if let Some(block) = self.statuses.last_mut() {
                block.push((key, value.trim()));
            }
        } else if let Some(rest) = line.strip_prefix("Max locked memory") {
            self.locked_limit = match rest.split_whitespace().next() {
                Some("unlimited") => Some(LockedLimit::Unlimited),
                Some(bytes) => bytes.parse().ok().map(LockedLimit::Bytes),
                None => None,
            };
        } else if let Some(size) = mapping_size(line) {
            self.mappings += 1;
            if ["[vdso]", "[vvar]", "[vvar_vclock]"].iter().any(|name| line.ends_with(name)) {
                self.unlockable_bytes = self.unlockable_bytes.saturating_add(size);
            }
        } else {
            self.take_numbers(line);
        }
    }

    /// One number: a line of `cgroup.procs`. Three: a line of `uid_map`.
    fn take_numbers(&mut self, line: &str) {
        let numbers: Result<Vec<u64>, _> = line.split_whitespace().map(str::parse).collect();
        match numbers.as_deref() {
            Ok([pid]) => {
                self.processes.insert(*pid);
            }
            // The whole range mapped onto itself is the initial user namespace (user_namespaces(7)).
            Ok([inside, outside, count]) => self.user_namespace |= (*inside, *outside, *count) != (0, 0, 4_294_967_295),
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
fn mapping_size(line: &str) -> Option<u64> {
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    let address = |hex| u64::from_str_radix(hex, 16).ok();
    address(end)?.checked_sub(address(start)?)
}

fn process(lines: &[(&str, &str)]) -> Result<Process, ParseError> {
    let named = |field: &'static str| lookup(lines, field).ok_or(ParseError::Missing { pid: "1", field });
    let uid = named("Uid")?.split_whitespace().nth(1).and_then(|v| v.parse().ok());
    let capabilities = u64::from_str_radix(named("CapEff")?, 16).ok();
    let pid = u32::try_from(field(lines, "1", "Pid")?).ok();
    Ok(Process {
        pid: pid.ok_or(ParseError::Missing { pid: "1", field: "Pid" })?,
        name: named("Name")?.chars().filter(|c| !c.is_control()).take(32).collect(),
        uid: uid.ok_or(ParseError::Missing { pid: "1", field: "Uid" })?,
        size_kb: field(lines, "1", "VmSize")?,
        locked_kb: field(lines, "1", "VmLck")?,
        swapped_kb: field(lines, "1", "VmSwap")?,
        // Absent on kernels without hugetlb; a zero here can only make the verdict worse.
        hugetlb_kb: field(lines, "1", "HugetlbPages").unwrap_or(0),
        effective_capabilities: capabilities.ok_or(ParseError::Missing { pid: "1", field: "CapEff" })?,
    })
}

/// A decimal, followed by ` kB` where it is a size.
fn field(lines: &[(&str, &str)], pid: &'static str, name: &'static str) -> Result<u64, ParseError> {
    lookup(lines, name)
        .and_then(|value| value.strip_suffix(" kB").unwrap_or(value).parse().ok())
        .ok_or(ParseError::Missing { pid, field: name })
}

/// A key that stands twice is a forgery or a cut: it counts as missing.
fn lookup<'a>(lines: &[(&str, &'a str)], name: &str) -> Option<&'a str> {
    let mut found = lines.iter().filter(|(key, _)| *key == name).map(|(_, value)| *value);
    found.next().filter(|_| found.next().is_none())
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
