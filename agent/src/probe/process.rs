//! One process, from the files of `/proc/PID` that everybody may read.

use core::{ffi::CStr, fmt};

use super::{OrDash, smaps};
use crate::{
    cgroup::Limit,
    lines,
    sys::{self, Errno, Pid},
    text::{Path, Printable, Text, decimal, hexadecimal, words},
};

/// `PF_EXITING`: it has given its memory back, or is about to.
const EXITING: u64 = 0x4;
/// `PF_KTHREAD`.
const KERNEL_THREAD: u64 = 0x0020_0000;
/// `PF_MEMALLOC_NOIO` and `PF_LOCAL_THROTTLE`: what `PR_SET_IO_FLUSHER` sets (`kernel/sys.c`).
const IO_FLUSHER: u64 = 0x0018_0000;

/// What came of looking at one.
#[expect(clippy::large_enum_variant, reason = "there is no heap, and it lives for one line of output")]
pub(super) enum Outcome {
    /// A process with memory.
    Alive(Process),
    /// A zombie, one that is ending, a thread of the kernel.
    Dead,
    /// It is there and does not show what is needed.
    Unreadable,
}

/// One process.
pub(super) struct Process {
    pub(super) pid: Pid,
    name: Text<80>,
    uid: u64,
    effective: u64,
    size_kb: u64,
    locked_kb: u64,
    swapped_kb: u64,
    hugetlb_kb: u64,
    limit: Option<Limit>,
    nested: Option<bool>,
    threads: u64,
    flushers: u64,
    /// In ticks since boot.
    pub(super) started: u64,
    pub(super) smaps: Option<smaps::Flags>,
}

impl Process {
    /// `comm`, as the kernel escapes it.
    pub(super) fn name(&self) -> &[u8] {
        self.name.bytes()
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, uid, effective, size_kb, locked_kb, swapped_kb, hugetlb_kb, threads, flushers, .. } = self;
        write!(
            f,
            "process {pid} {uid} {effective:016x} {size_kb} {locked_kb} {swapped_kb} {hugetlb_kb} {}",
            OrDash(self.limit)
        )?;
        let namespace = match self.nested {
            Some(true) => "nested",
            Some(false) => "initial",
            None => "-",
        };
        write!(f, " {namespace} {threads} {flushers} {}", Printable(self.name.bytes()))
    }
}

/// A file of a process.
pub(super) fn path(pid: Pid, file: &str) -> Path {
    Path::of(format_args!("/proc/{pid}/{file}"))
}

/// What `status` said; what is absent is not 0.
#[derive(Default)]
struct Status {
    name: Text<80>,
    uid: Option<u64>,
    effective: Option<u64>,
    size: Option<u64>,
    locked: Option<u64>,
    swapped: Option<u64>,
    hugetlb: Option<u64>,
}

/// Looks at a process of this container.
///
/// `swapped`: something of the container is in swap.
pub(super) fn read(pid: Pid, unlockable_kb: u64, swapped: bool) -> Outcome {
    let of =
        |file: &str, each: &mut dyn FnMut(&[u8])| lines::for_each(path(pid, file).c_str().ok_or(Errno::INVAL)?, each);
    let stat = || path(pid, "stat").c_str().ok_or(Errno::INVAL).and_then(stat);
    let mut status = Status::default();
    let read = of("status", &mut |line| status.take(line));
    let Ok(stat) = stat() else { return Outcome::Unreadable };
    if matches!(stat.state, b'Z' | b'X') || stat.flags & (EXITING | KERNEL_THREAD) != 0 {
        return Outcome::Dead;
    }
    let Status {
        name,
        uid: Some(uid),
        effective: Some(effective),
        size: Some(size_kb),
        locked: Some(locked_kb),
        swapped: Some(swapped_kb),
        hugetlb,
    } = status
    else {
        return Outcome::Unreadable;
    };
    if read.is_err() {
        return Outcome::Unreadable;
    }
    // Absent on kernels without huge pages; a 0 here can only make the verdict worse.
    let hugetlb_kb = hugetlb.unwrap_or_default();
    let mut limit = None;
    let _ = of("limits", &mut |line| {
        if let Some(rest) = line.strip_prefix(b"Max locked memory") {
            limit = match words(rest).next() {
                Some(b"unlimited") => Some(Limit::Unlimited),
                word => word.and_then(decimal).map(Limit::Bytes),
            };
        }
    });
    let mut nested = None;
    let _ = of("uid_map", &mut |line| {
        let whole = words(line).eq([&b"0"[..], b"0", b"4294967295"]);
        nested = Some(nested.unwrap_or(false) || !whole);
    });
    let (mut threads, mut flushers) = (0, 0);
    if let Some(folder) = path(pid, "task").c_str() {
        let _ = sys::entries(folder, |name| {
            let Some(thread) = decimal(name.to_bytes()) else { return };
            let file = Path::of(format_args!("/proc/{pid}/task/{thread}/stat"));
            if let Some(Ok(stat)) = file.c_str().map(self::stat) {
                threads += 1;
                flushers += u64::from(stat.flags & IO_FLUSHER == IO_FLUSHER);
            }
        });
    }
    // A lock of the process's memory is taken: only where it can change the verdict.
    let gap = size_kb.saturating_sub(locked_kb).saturating_sub(hugetlb_kb);
    let doubtful = locked_kb > 0 && (gap > unlockable_kb || swapped && swapped_kb == 0);
    let smaps = doubtful.then(|| path(pid, "smaps").c_str().and_then(|path| smaps::read(path, size_kb))).flatten();
    Outcome::Alive(Process {
        pid,
        name,
        uid,
        effective,
        size_kb,
        locked_kb,
        swapped_kb,
        hugetlb_kb,
        limit,
        nested,
        threads,
        flushers,
        started: stat.started,
        smaps,
    })
}

impl Status {
    fn take(&mut self, line: &[u8]) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(key), Some(value)) = (parts.next(), parts.next()) else { return };
        let mut fields = words(value);
        let number = |word: Option<&[u8]>| word.and_then(decimal);
        match key {
            b"Name" => self.name.push(value.strip_prefix(b"\t").unwrap_or(value)),
            // Real, effective, saved, file system.
            b"Uid" => self.uid = number(fields.nth(1)),
            b"CapEff" => self.effective = fields.next().and_then(hexadecimal),
            b"VmSize" => self.size = number(fields.next()),
            b"VmLck" => self.locked = number(fields.next()),
            b"VmSwap" => self.swapped = number(fields.next()),
            b"HugetlbPages" => self.hugetlb = number(fields.next()),
            _ => {}
        }
    }
}

/// Of `/proc/PID/stat` (`proc_pid_stat(5)`).
pub(super) struct Stat {
    state: u8,
    flags: u64,
    /// In ticks since boot.
    pub(super) started: u64,
}

pub(super) fn stat(path: &CStr) -> Result<Stat, Errno> {
    let mut buffer = [0; 1024];
    // The name stands in brackets and may hold brackets, blanks and ends of lines itself.
    let line = lines::beginning(path, &mut buffer)?;
    let end = line.iter().rposition(|byte| *byte == b')').ok_or(Errno::INVAL)?;
    let fields = || words(line.get(end + 1..).unwrap_or_default());
    let field = |number: usize| fields().nth(number - 3);
    Ok(Stat {
        state: field(3).and_then(<[u8]>::first).copied().ok_or(Errno::INVAL)?,
        flags: field(9).and_then(decimal).ok_or(Errno::INVAL)?,
        started: field(22).and_then(decimal).ok_or(Errno::INVAL)?,
    })
}
