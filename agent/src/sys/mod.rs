//! The system calls that the agent makes, in a safe form.

mod capability;
mod file;
mod memory;
mod process;
mod trace;

use core::fmt;

pub use capability::{Capabilities, IPC_LOCK, SYS_PTRACE, SYS_RESOURCE};
pub use file::{
    File, create, entries, exists_executable, make_executable, pipe, read_link, rename, set_xattr, unlink, xattr_size,
};
pub use memory::{
    MCL_ALL, MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT, Mapping, PAGE, filtered, limit, lock_all, set_soft_limit,
};
pub use process::{
    Forked, Pid, Wait, alarm, block_signals, execute, exists, exit, fork, in_bounding_set, name_self,
    no_new_privileges, own_name, own_pid, own_uid, raise_ambient, set_dumpable, set_io_flusher, set_tracer, wait,
    wait_no_zombie,
};
pub use trace::{Stop, Tracee};

use crate::arch;

/// `errno`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// Not permitted.
    pub const PERM: Self = Self(1);
    /// No such file.
    pub const NOENT: Self = Self(2);
    /// Interrupted.
    pub const INTR: Self = Self(4);
    /// Out of memory.
    pub const NOMEM: Self = Self(12);
    /// Permission denied.
    pub const ACCES: Self = Self(13);
    /// A part of the path is no folder.
    pub const NOTDIR: Self = Self(20);
    /// Bad argument.
    pub const INVAL: Self = Self(22);
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.0 {
            1 => "EPERM",
            2 => "ENOENT",
            3 => "ESRCH",
            4 => "EINTR",
            5 => "EIO",
            7 => "E2BIG",
            8 => "ENOEXEC",
            10 => "ECHILD",
            11 => "EAGAIN",
            12 => "ENOMEM",
            13 => "EACCES",
            17 => "EEXIST",
            20 => "ENOTDIR",
            21 => "EISDIR",
            22 => "EINVAL",
            26 => "ETXTBSY",
            28 => "ENOSPC",
            30 => "EROFS",
            38 => "ENOSYS",
            40 => "ELOOP",
            95 => "EOPNOTSUPP",
            other => return write!(f, "errno {other}"),
        };
        f.write_str(word)
    }
}

/// Makes a system call; an error is told by the kernel as -1 to -4095.
///
/// # Safety
/// As [`arch::call`].
#[allow(unsafe_code, reason = "the one door to the kernel")]
unsafe fn call<const N: usize>(number: usize, arguments: [usize; N]) -> Result<usize, Errno> {
    let mut all = [0; 6];
    for (slot, argument) in all.iter_mut().zip(arguments) {
        *slot = argument;
    }
    // SAFETY: the caller's promise.
    let result = unsafe { arch::call(number, all) };
    if (-4095..0).contains(&result) {
        Err(Errno(i32::try_from(-result).unwrap_or(i32::MAX)))
    } else {
        Ok(result.cast_unsigned())
    }
}
