//! Memory and its locks.
#![allow(unsafe_code, reason = "system calls; mappings are ours and are never read or written")]

use super::{Errno, call};
use crate::arch::number;

/// Bytes of a page. A larger one only makes a measurement of one page a measurement of one larger page.
pub const PAGE: usize = 4096;
/// Everything that is mapped now.
pub const MCL_CURRENT: usize = 1;
/// Everything that will be mapped.
pub const MCL_FUTURE: usize = 2;
/// A page is locked when it is first touched.
pub const MCL_ONFAULT: usize = 4;
/// The default of `memlock.dev/lock-flags`.
pub const MCL_ALL: usize = MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT;

const MLOCK_ONFAULT: usize = 1;
const RLIMIT_MEMLOCK: usize = 8;

/// Address space that nobody refers to.
#[derive(Debug)]
pub struct Mapping {
    address: usize,
    bytes: usize,
}

impl Mapping {
    /// Reserves it. `MAP_NORESERVE` and no access: nothing is charged.
    pub fn reserve(bytes: usize) -> Result<Self, Errno> {
        Self::new(bytes, 0)
    }

    /// One page that can be read.
    pub fn page() -> Result<Self, Errno> {
        const PROT_READ: usize = 1;
        Self::new(PAGE, PROT_READ)
    }

    fn new(bytes: usize, access: usize) -> Result<Self, Errno> {
        const MAP_PRIVATE_ANONYMOUS_NORESERVE: usize = 0x02 | 0x20 | 0x4000;
        let arguments = [0, bytes, access, MAP_PRIVATE_ANONYMOUS_NORESERVE, usize::MAX, 0];
        // SAFETY: a new mapping at an address of the kernel's choice.
        let address = unsafe { call(number::MMAP, arguments) }?;
        Ok(Self { address, bytes })
    }

    /// Locks it and brings it into memory (`mlock`).
    pub fn lock(&self) -> Result<(), Errno> {
        // SAFETY: the mapping is ours.
        unsafe { call(number::MLOCK, [self.address, self.bytes]) }.map(drop)
    }

    /// Locks it without touching it: counted against the limit, not against memory (`mlock2`).
    pub fn lock_on_fault(&self) -> Result<(), Errno> {
        // SAFETY: the mapping is ours.
        unsafe { call(number::MLOCK2, [self.address, self.bytes, MLOCK_ONFAULT]) }.map(drop)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing refers to it.
        let _ = unsafe { call(number::MUNMAP, [self.address, self.bytes]) };
    }
}

/// `mlockall` of this process.
pub fn lock_all(flags: usize) -> Result<(), Errno> {
    // SAFETY: no addresses.
    unsafe { call(number::MLOCKALL, [flags]) }.map(drop)
}

/// Whether something stands before the kernel's own answer to `mlockall` and to `mlock2`: flags that no kernel knows
/// give EINVAL before any check of rights (`mm/mlock.c`), so another answer comes from a seccomp filter.
#[must_use]
pub fn filtered() -> (bool, bool) {
    // SAFETY: no memory is named: both calls fail on their flags.
    let (all, one) = unsafe { (call(number::MLOCKALL, [0]), call(number::MLOCK2, [0, 0, 0x80])) };
    (all != Err(Errno::INVAL), one != Err(Errno::INVAL))
}

/// Soft and hard `RLIMIT_MEMLOCK`, in bytes; `u64::MAX` is unlimited.
pub fn limit() -> Result<(u64, u64), Errno> {
    let mut limits = [0_u64; 2];
    // SAFETY: the kernel writes a struct rlimit64, two u64.
    unsafe { call(number::PRLIMIT64, [0, RLIMIT_MEMLOCK, 0, limits.as_mut_ptr() as usize]) }?;
    let [soft, hard] = limits;
    Ok((soft, hard))
}

/// Changes the soft limit of this process and leaves the hard one.
pub fn set_soft_limit(soft: u64) -> Result<(), Errno> {
    let limits = [soft, limit()?.1];
    // SAFETY: the kernel reads a struct rlimit64.
    unsafe { call(number::PRLIMIT64, [0, RLIMIT_MEMLOCK, limits.as_ptr() as usize, 0]) }.map(drop)
}
