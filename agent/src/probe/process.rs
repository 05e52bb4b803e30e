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

/// Where a process can be read: the folder of a thread of it that has not ended.
///
/// The first thread may end before the others. It is a zombie then and shows no memory, and they have all of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pid: Pid,
    /// `None`: the first one.
    thread: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/proc/{}", self.pid)?;
        self.thread.map_or(Ok(()), |thread| write!(f, "/task/{thread}"))
    }
}

impl Place {
    /// A file of it.
    pub(super) fn file(self, name: &str) -> Path {
        Path::of(format_args!("{self}/{name}"))
    }

    fn stat(self) -> Result<Stat, Errno> {
        self.file("stat").c_str().ok_or(Errno::INVAL).and_then(stat)
    }
}

/// What came of looking for it.
pub(super) enum Life {
    /// It has memory.
    Alive(Place),
    /// A zombie, one that is ending, a thread of the kernel.
    Dead,
    /// Gone, or it does not show itself.
    Unseen,
}

/// Looks for a thread of a process that has not ended.
pub(super) fn find(pid: Pid) -> Life {
    let leader = Place { pid, thread: None };
    let Ok(stat) = leader.stat() else { return Life::Unseen };
    if !stat.has_ended() {
        return Life::Alive(leader);
    }
    if stat.threads <= 1 {
        return Life::Dead;
    }
    let mut alive = None;
    for_each_thread(pid, |place, _| alive = alive.or(Some(place)));
    match alive {
        Some(place) => Life::Alive(place),
        // One that was begun meanwhile may have been missed.
        None if leader.stat().is_ok_and(|stat| stat.threads > 1) => Life::Unseen,
        None => Life::Dead,
    }
}

/// Calls `each` with every thread that has not ended.
fn for_each_thread(pid: Pid, mut each: impl FnMut(Place, &Stat)) {
    let folder = Place { pid, thread: None }.file("task");
    let Some(folder) = folder.c_str() else { return };
    let _ = sys::entries(folder, |name| {
        let place = Place { pid, thread: decimal(name.to_bytes()) };
        if place.thread.is_some()
            && let Ok(stat) = place.stat()
            && !stat.has_ended()
        {
            each(place, &stat);
        }
    });
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

/// Looks at a process of this container, where it was found.
///
/// `swapped`: something of the container is in swap.
pub(super) fn read(place: Place, unlockable_kb: u64, swapped: bool) -> Outcome {
    let of = |place: Place, file: &str, each: &mut dyn FnMut(&[u8])| {
        lines::for_each(place.file(file).c_str().ok_or(Errno::INVAL)?, each)
    };
    let pid = place.pid;
    let mut status = Status::default();
    let read = of(place, "status", &mut |line| status.take(line));
    let Ok(stat) = place.stat() else { return Outcome::Unreadable };
    if stat.has_ended() {
        return if matches!(find(pid), Life::Dead) { Outcome::Dead } else { Outcome::Unreadable };
    }
    let mut leader = Status::default();
    if place.thread.is_some() {
        // A process is called as its first thread is, alive or not.
        let _ = of(Place { pid, thread: None }, "status", &mut |line| leader.take(line));
        status.name = leader.name;
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
    let _ = of(place, "limits", &mut |line| {
        if let Some(rest) = line.strip_prefix(b"Max locked memory") {
            limit = match words(rest).next() {
                Some(b"unlimited") => Some(Limit::Unlimited),
                word => word.and_then(decimal).map(Limit::Bytes),
            };
        }
    });
    let mut nested = None;
    let _ = of(place, "uid_map", &mut |line| {
        let whole = words(line).eq([&b"0"[..], b"0", b"4294967295"]);
        nested = Some(nested.unwrap_or(false) || !whole);
    });
    let (mut threads, mut flushers) = (0, 0);
    for_each_thread(pid, |_, stat| {
        threads += 1;
        flushers += u64::from(stat.flags & IO_FLUSHER == IO_FLUSHER);
    });
    // A lock of the process's memory is taken: only where it can change the verdict.
    let lockable = size_kb.saturating_sub(hugetlb_kb);
    let gap = lockable.saturating_sub(locked_kb);
    // More than can be locked: a driver counts there what it pins (VFIO), and the counters prove nothing.
    let counts_more = locked_kb > lockable;
    let doubtful = locked_kb > 0 && (gap > unlockable_kb || counts_more || swapped && swapped_kb == 0);
    let smaps = doubtful.then(|| smaps::read(place.file("smaps").c_str()?, size_kb)).flatten();
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
    /// Of the whole process, those that ended before the others among them: the first one alone stays.
    threads: u64,
    /// In ticks since boot.
    pub(super) started: u64,
}

impl Stat {
    /// It has given its memory back, or never had any.
    fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X') || self.flags & (EXITING | KERNEL_THREAD) != 0
    }
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
        threads: field(20).and_then(decimal).ok_or(Errno::INVAL)?,
        started: field(22).and_then(decimal).ok_or(Errno::INVAL)?,
    })
}
