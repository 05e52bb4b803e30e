//! Processes: their life, their names, what they may keep over an exec.
#![allow(unsafe_code, reason = "system calls; each names what keeps it sound")]

use core::{ffi::CStr, ptr};

use super::{Errno, call};
use crate::{arch::number, start::Vector};

/// A process id.
pub type Pid = i32;

const SIGCHLD: usize = 17;
/// Children with any exit signal.
const WAIT_ALL: usize = 0x4000_0000;

/// Which side of a fork this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    /// The new process.
    Child,
    /// The old one.
    Parent(Pid),
}

/// How a child changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// It has ended.
    Gone,
    /// It stopped under ptrace, with the signal and the event (`PTRACE_EVENT_…`, 0: none).
    Stopped {
        /// The signal, with 0x80 for a system call.
        signal: u32,
        /// The event.
        event: u32,
    },
}

/// A kernel argument that is a process id.
pub(super) fn pid_argument(pid: Pid) -> usize {
    isize::try_from(pid).unwrap_or_default().cast_unsigned()
}

fn as_pid(value: usize) -> Pid {
    Pid::try_from(value).unwrap_or_default()
}

/// This process.
#[must_use]
pub fn own_pid() -> Pid {
    // SAFETY: no arguments.
    unsafe { call(number::GETPID, []) }.map(as_pid).unwrap_or_default()
}

/// Whether a process is there, seen or not.
#[must_use]
pub fn exists(pid: Pid) -> bool {
    const ESRCH: Errno = Errno(3);
    // SAFETY: signal 0 is only a question.
    let answer = unsafe { call(number::KILL, [pid_argument(pid), 0]) };
    answer != Err(ESRCH)
}

/// The effective user of this process.
#[must_use]
pub fn own_uid() -> u32 {
    // SAFETY: no arguments.
    unsafe { call(number::GETEUID, []) }.ok().and_then(|uid| u32::try_from(uid).ok()).unwrap_or(u32::MAX)
}

/// Ends this process.
pub fn exit(code: i32) -> ! {
    loop {
        // SAFETY: does not return.
        let _ = unsafe { call(number::EXIT_GROUP, [pid_argument(code)]) };
    }
}

/// A copy of this process, which is single-threaded.
pub fn fork() -> Result<Forked, Errno> {
    // SAFETY: as fork(2): the child has its own copy of all memory, and no other thread exists that could hold a lock.
    let pid = unsafe { call(number::CLONE, [SIGCHLD, 0, 0, 0, 0]) }?;
    Ok(if pid == 0 { Forked::Child } else { Forked::Parent(as_pid(pid)) })
}

/// Becomes another program. Returns only when it fails.
#[must_use]
pub fn execute(path: &CStr, arguments: Vector, environment: Vector) -> Errno {
    // SAFETY: a C string and two arrays of C strings that end with null.
    let result = unsafe { call(number::EXECVE, [path.as_ptr() as usize, arguments.address(), environment.address()]) };
    result.err().unwrap_or(Errno(0))
}

/// Waits for a change of a child or tracee.
pub fn wait(pid: Pid) -> Result<Wait, Errno> {
    loop {
        let mut status = 0_u32;
        let arguments = [pid_argument(pid), ptr::from_mut(&mut status) as usize, WAIT_ALL, 0];
        // SAFETY: the kernel writes one int.
        match unsafe { call(number::WAIT4, arguments) } {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
            Ok(_) if status & 0xff == 0x7f => {
                return Ok(Wait::Stopped { signal: status >> 8 & 0xff, event: status >> 16 });
            }
            Ok(_) => return Ok(Wait::Gone),
        }
    }
}

/// The arguments of `waitid` that take a process out of the list of children and write nothing anywhere: what the
/// tracee calls to reap its tracer.
#[must_use]
pub fn wait_no_zombie(pid: Pid) -> [u64; 4] {
    const P_PID: u64 = 1;
    const WNOHANG: u64 = 1;
    const WEXITED: u64 = 4;
    [P_PID, u64::try_from(pid).unwrap_or_default(), 0, WNOHANG | WEXITED | WAIT_ALL as u64]
}

fn prctl<const N: usize>(arguments: [usize; N]) -> Result<usize, Errno> {
    // SAFETY: the options below take no addresses, but for a name: a C string, or 16 bytes that are written.
    unsafe { call(number::PRCTL, arguments) }
}

/// Sets this thread's `comm`.
pub fn name_self(name: &CStr) {
    const PR_SET_NAME: usize = 15;
    let _ = prctl([PR_SET_NAME, name.as_ptr() as usize]);
}

/// This thread's `comm`, with the zeros behind it.
#[must_use]
pub fn own_name() -> [u8; 16] {
    const PR_GET_NAME: usize = 16;
    let mut name = [0; 16];
    // The kernel writes 16 bytes (PR_GET_NAME(2const)).
    let _ = prctl([PR_GET_NAME, name.as_mut_ptr() as usize]);
    name
}

/// The kernel's allocations for this thread start no I/O; inherited by new threads and kept over an exec.
pub fn set_io_flusher() -> Result<(), Errno> {
    const PR_SET_IO_FLUSHER: usize = 57;
    prctl([PR_SET_IO_FLUSHER, 1, 0, 0, 0]).map(drop)
}

/// Lets a process of the same user trace this one, under Yama's scope 1.
pub fn set_tracer(pid: Pid) -> Result<(), Errno> {
    const PR_SET_PTRACER: usize = 0x5961_6d61;
    prctl([PR_SET_PTRACER, pid_argument(pid), 0, 0, 0]).map(drop)
}

/// A gain of rights at exec takes this away, and with it the right to be traced.
pub fn set_dumpable() -> Result<(), Errno> {
    const PR_SET_DUMPABLE: usize = 4;
    prctl([PR_SET_DUMPABLE, 1, 0, 0, 0]).map(drop)
}

/// Keeps a capability over the exec of an ordinary program. It must be permitted and inheritable.
pub fn raise_ambient(capability: u32) -> Result<(), Errno> {
    const PR_CAP_AMBIENT: usize = 47;
    const PR_CAP_AMBIENT_RAISE: usize = 2;
    prctl([PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability as usize, 0, 0]).map(drop)
}

/// Whether an exec may not gain rights (`allowPrivilegeEscalation: false`).
#[must_use]
pub fn no_new_privileges() -> bool {
    const PR_GET_NO_NEW_PRIVS: usize = 39;
    prctl([PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0]) == Ok(1)
}

/// Whether an exec may gain a capability at all.
#[must_use]
pub fn in_bounding_set(capability: u32) -> bool {
    const PR_CAPBSET_READ: usize = 23;
    prctl([PR_CAPBSET_READ, capability as usize, 0, 0, 0]) == Ok(1)
}

/// No signal but SIGKILL and SIGSTOP reaches this process any more.
pub fn block_signals() {
    const SIG_SETMASK: usize = 2;
    let all = u64::MAX;
    // SAFETY: the kernel reads a mask of 8 bytes.
    let _ = unsafe { call(number::RT_SIGPROCMASK, [SIG_SETMASK, ptr::from_ref(&all) as usize, 0, 8]) };
}

/// Ends this process by SIGALRM after some seconds, whatever it does.
pub fn alarm(seconds: u64) -> Result<(), Errno> {
    // struct itimerval: interval and value, each seconds and microseconds.
    let timer = [0, 0, seconds, 0];
    // SAFETY: the kernel reads the structure.
    unsafe { call(number::SETITIMER, [0, timer.as_ptr() as usize, 0]) }.map(drop)
}
