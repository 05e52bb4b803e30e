//! Capabilities of this process.
#![allow(unsafe_code, reason = "system calls on structures of fixed size")]

use super::{Errno, call};
use crate::arch::number;

/// `CAP_IPC_LOCK`: locks memory beyond the limit.
pub const IPC_LOCK: u32 = 14;
/// `CAP_SYS_PTRACE`.
pub const SYS_PTRACE: u32 = 19;
/// `CAP_SYS_RESOURCE`: needed by `PR_SET_IO_FLUSHER`.
pub const SYS_RESOURCE: u32 = 24;

const VERSION_3: u32 = 0x2008_0522;

/// The three sets that `capget(2)` gives, as masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// What counts.
    pub effective: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What an exec may keep.
    pub inheritable: u64,
}

impl Capabilities {
    /// Those of this process.
    pub fn own() -> Result<Self, Errno> {
        let header = [VERSION_3, 0];
        let mut data = [0_u32; 6];
        // SAFETY: version 3 has two structures of three u32.
        unsafe { call(number::CAPGET, [header.as_ptr() as usize, data.as_mut_ptr() as usize]) }?;
        let [effective, permitted, inheritable, effective_high, permitted_high, inheritable_high] = data;
        let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        Ok(Self {
            effective: join(effective, effective_high),
            permitted: join(permitted, permitted_high),
            inheritable: join(inheritable, inheritable_high),
        })
    }

    /// Makes them those of this process.
    pub fn apply(self) -> Result<(), Errno> {
        let header = [VERSION_3, 0];
        #[allow(clippy::cast_possible_truncation, reason = "the low and the high half")]
        let halves = |mask: u64| (mask as u32, (mask >> 32) as u32);
        let (effective, permitted, inheritable) =
            (halves(self.effective), halves(self.permitted), halves(self.inheritable));
        let data = [effective.0, permitted.0, inheritable.0, effective.1, permitted.1, inheritable.1];
        // SAFETY: the kernel reads two structures of three u32.
        unsafe { call(number::CAPSET, [header.as_ptr() as usize, data.as_ptr() as usize]) }.map(drop)
    }
}
