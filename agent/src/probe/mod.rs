//! `probe`: shows what is locked in this container, in lines that the operator reads.
//!
//! Version 1 of the format, one fact a line, sizes in kB of 1,024 bytes, `-` for what is not known:
//! ```text
//! memlock-probe 1
//! reader PID UNLOCKABLE
//! memory LIMIT|unlimited CURRENT RECLAIMABLE SWAPLIMIT|unlimited|- SWAPPED|-  in bytes
//! swap partition|file SIZE USED NAME
//! process PID UID CAPEFF SIZE LOCKED SWAPPED HUGETLB LIMIT|unlimited|- initial|nested|- THREADS FLUSHERS NAME
//! smaps PID EXPLAINED UNEXPLAINED SWAPPED
//! unread COUNT|-
//! end
//! ```
//! It reads counters that the kernel keeps, never what is in the memory of a process (`cmdline`, `environ`), and takes a
//! lock of a process (`smaps`) only where the counters alone leave a doubt.

mod process;
mod smaps;

use core::{ffi::CStr, fmt};

use self::process::{Life, Outcome, Process};
use crate::{
    cgroup::Group,
    lines,
    say::say,
    sys::{self, Errno, File, Pid},
    text::{Printable, Text, decimal, words},
};

/// It ends itself after so many seconds: a lock of the daemon's memory may never come free.
const ALARM: u64 = 8;
/// The name that another probe knows it by.
const NAME: &CStr = c"memlock-probe";
/// Processes that are shown; what is beyond counts as not read.
const MOST: usize = 1024;
/// Swap areas that are shown (the kernel has at most 32).
const MOST_SWAPS: usize = 32;
/// Exit code beside an older probe (`EX_TEMPFAIL`).
const BUSY: i32 = 75;

/// Shows it; the exit code.
#[must_use]
pub fn run() -> i32 {
    sys::name_self(NAME);
    match sys::alarm(ALARM).map_err(Failure::Alarm).and_then(|()| Probe::new()?.show()) {
        Ok(()) => 0,
        Err(failure) => {
            say(format_args!("{failure}"));
            if matches!(failure, Failure::Busy(_)) { BUSY } else { 1 }
        }
    }
}

/// Why nothing, or not everything, was shown: the last line of the output is missing then.
#[derive(Debug)]
enum Failure {
    /// It could not be made sure that this process ends.
    Alarm(Errno),
    /// Another one is at work, or hangs.
    Busy(Pid),
    /// A file of this process.
    Own(&'static str, Errno),
    /// Nobody reads the output.
    Output(Errno),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alarm(error) => write!(f, "the probe could not set an alarm ({error}); allow setitimer"),
            Self::Busy(pid) => {
                write!(f, "an older probe, process {pid}, still runs in this container; see whether the daemon hangs")
            }
            Self::Own(file, error) => write!(f, "the probe could not read {file} ({error}); mount /proc"),
            Self::Output(error) => write!(f, "the probe could not write its output ({error})"),
        }
    }
}

struct Probe {
    pid: Pid,
    started: u64,
    unlockable_kb: u64,
    group: Option<Group>,
    /// Something of the container is in swap: shared memory perhaps, which no counter of a process shows.
    swapped: bool,
}

impl Probe {
    fn new() -> Result<Self, Failure> {
        let pid = sys::own_pid();
        let stat = process::stat(c"/proc/self/stat").map_err(|error| Failure::Own("/proc/self/stat", error))?;
        let mut unlockable = 0_u64;
        let mut mappings = 0;
        lines::for_each(c"/proc/self/maps", |line| {
            mappings += 1;
            if [&b"[vdso]"[..], b"[vvar]", b"[vvar_vclock]"].iter().any(|name| line.ends_with(name)) {
                unlockable += smaps::mapping_bytes(line).unwrap_or_default();
            }
        })
        .map_err(|error| Failure::Own("/proc/self/maps", error))?;
        if mappings == 0 {
            return Err(Failure::Own("/proc/self/maps", Errno::NOENT));
        }
        Ok(Self { pid, started: stat.started, unlockable_kb: unlockable / 1024, group: Group::own(), swapped: false })
    }

    fn show(mut self) -> Result<(), Failure> {
        let mut output = Output(Ok(()));
        output.line(format_args!("memlock-probe 1"));
        output.line(format_args!("reader {} {}", self.pid, self.unlockable_kb));
        if let Some(group) = &self.group {
            show_memory(&mut output, group);
        }
        let in_use = show_swaps(&mut output);
        self.swapped = self.group.as_ref().and_then(Group::swapped).map_or(in_use, |bytes| bytes > 0);
        let mut seen = Seen::new();
        let mut busy = None;
        sys::entries(c"/proc", |name| {
            if let Some(pid) = decimal(name.to_bytes()).and_then(|pid| Pid::try_from(pid).ok()) {
                self.examine(pid, &mut seen, &mut output, &mut busy);
            }
        })
        .map_err(|error| Failure::Own("/proc", error))?;
        // Whoever came since, or is not to be seen in /proc.
        let mut complete = None;
        if let Some(group) = &self.group {
            let mut own = false;
            let mut unread = 0_u64;
            let listed = group.processes(&mut |pid| {
                let pid = Pid::try_from(pid).unwrap_or_default();
                own |= pid == self.pid;
                if pid != self.pid && !seen.contains(pid) && !self.examine(pid, &mut seen, &mut output, &mut busy) {
                    unread += u64::from(pid == 0 || sys::exists(pid));
                }
            });
            // Lists without this process are those of another group.
            complete = listed.ok().filter(|_| own).map(|groups| unread.saturating_add(groups));
        }
        if let Some(pid) = busy {
            return Err(Failure::Busy(pid));
        }
        output.line(format_args!("unread {}", OrDash(complete.map(|unread| unread.saturating_add(seen.beyond)))));
        output.line(format_args!("end"));
        output.0.map_err(Failure::Output)
    }

    /// Shows a process of this container. False when it is there and could not be read.
    fn examine(&self, pid: Pid, seen: &mut Seen, output: &mut Output, busy: &mut Option<Pid>) -> bool {
        if pid == self.pid || pid <= 0 {
            return pid == self.pid;
        }
        let place = match process::find(pid) {
            Life::Alive(place) => place,
            Life::Dead => return true,
            // What is there and hidden is told by the group's own list.
            Life::Unseen => return false,
        };
        let holds = |group: &Group| place.file("cgroup").c_str().is_some_and(|file| group.holds(file) == Ok(true));
        if !self.group.as_ref().is_some_and(holds) {
            // Another container's (shared or host PID namespace).
            return false;
        }
        match process::read(place, self.unlockable_kb, self.swapped) {
            Outcome::Alive(found) => {
                if found.name() == NAME.to_bytes() {
                    if (found.started, pid) < (self.started, self.pid) {
                        *busy = Some(pid);
                    }
                    // A younger one ends by itself.
                    seen.insert(pid);
                } else if seen.insert(pid) {
                    output.process(&found);
                }
                true
            }
            Outcome::Dead => true,
            Outcome::Unreadable => false,
        }
    }
}

fn show_memory(output: &mut Output, group: &Group) {
    let (Some(limit), Some(current)) = (group.limit(), group.current()) else { return };
    let (swap, reclaimable, swapped) = (OrDash(group.swap_limit()), group.reclaimable(), OrDash(group.swapped()));
    output.line(format_args!("memory {limit} {current} {reclaimable} {swap} {swapped}"));
}

/// Whether any of them is in use.
fn show_swaps(output: &mut Output) -> bool {
    let mut count = 0;
    let mut in_use = false;
    let _ = lines::for_each(c"/proc/swaps", |line| {
        let mut fields = words(line);
        let (Some(name), Some(kind), size, used) = (fields.next(), fields.next(), fields.next(), fields.next()) else {
            return;
        };
        // The first line is a heading.
        if let (Some(size), Some(used)) = (size.and_then(decimal), used.and_then(decimal))
            && count < MOST_SWAPS
        {
            count += 1;
            in_use |= used > 0;
            output.line(format_args!("swap {} {size} {used} {}", Printable(kind), Printable(name)));
        }
    });
    in_use
}

/// The processes that need not be looked at again.
struct Seen {
    pids: [Pid; MOST],
    count: usize,
    /// Those that no longer fitted.
    beyond: u64,
}

impl Seen {
    fn new() -> Self {
        Self { pids: [0; MOST], count: 0, beyond: 0 }
    }

    fn contains(&self, pid: Pid) -> bool {
        self.pids.iter().take(self.count).any(|seen| *seen == pid)
    }

    /// False when it was there already, or there is no room.
    fn insert(&mut self, pid: Pid) -> bool {
        if self.contains(pid) {
            return false;
        }
        let Some(slot) = self.pids.get_mut(self.count) else {
            self.beyond = self.beyond.saturating_add(1);
            return false;
        };
        *slot = pid;
        self.count += 1;
        true
    }
}

/// Standard output; the first error stays.
struct Output(Result<(), Errno>);

impl Output {
    fn line(&mut self, line: fmt::Arguments<'_>) {
        let text: Text<1024> = Text::of(format_args!("{line}\n"));
        if self.0.is_ok() {
            self.0 = File::standard_output().write(text.bytes());
        }
    }

    fn process(&mut self, process: &Process) {
        self.line(format_args!("{process}"));
        if let Some(flags) = &process.smaps {
            self.line(format_args!("smaps {} {flags}", process.pid));
        }
    }
}

/// What may not be known.
struct OrDash<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for OrDash<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("-"),
        }
    }
}
