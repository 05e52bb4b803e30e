//! The flags of every mapping of a process, where the counters alone leave a doubt.

use core::{ffi::CStr, fmt};

use crate::{
    lines,
    text::{decimal, hexadecimal, words},
};

/// `VmFlags` of mappings that the kernel never locks and never swaps: device and driver memory (`pf io de mm`), huge
/// pages (`ht`), memory that is dropped instead (`dp`) (`mlock_fixup()` in `mm/mlock.c`).
const UNLOCKABLE: [&[u8]; 6] = [b"pf", b"io", b"de", b"mm", b"ht", b"dp"];

/// What the flags say, in kB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// Not locked, and cannot be.
    explained: u64,
    /// Not locked, and could be.
    unexplained: u64,
    /// In swap, shared memory among it.
    swapped: u64,
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.explained, self.unexplained, self.swapped)
    }
}

/// The flags; `None` when they may not be read, or do not add up to the address space that `status` showed: then the
/// process changed in between.
pub(super) fn read(path: &CStr, size_kb: u64) -> Option<Flags> {
    let mut flags = Flags::default();
    let mut all = 0;
    let mut mapping: Option<u64> = None;
    let mut whole = true;
    lines::for_each(path, |line| {
        if let Some(rest) = line.strip_prefix(b"VmFlags:") {
            let Some(size) = mapping.take() else {
                whole = false;
                return;
            };
            let has = |wanted: &[u8]| words(rest).any(|flag| flag == wanted);
            all += size;
            if UNLOCKABLE.iter().any(|flag| has(flag)) && !has(b"lo") {
                flags.explained += size;
            } else if !has(b"lo") {
                flags.unexplained += size;
            }
        } else if let Some(rest) = line.strip_prefix(b"Swap:") {
            match words(rest).next().and_then(decimal) {
                Some(kb) => flags.swapped += kb,
                None => whole = false,
            }
        } else if let Some(bytes) = mapping_bytes(line) {
            whole &= mapping.is_none();
            // The gate page belongs to no process and is not in VmSize.
            mapping = Some(if line.ends_with(b"[vsyscall]") { 0 } else { bytes / 1024 });
        }
    })
    .ok()?;
    (whole && mapping.is_none() && all == size_kb).then_some(flags)
}

/// Bytes between the two addresses that begin a line of `/proc/PID/maps`.
pub(super) fn mapping_bytes(line: &[u8]) -> Option<u64> {
    let range = line.split(|byte| *byte == b' ').next()?;
    let dash = range.iter().position(|byte| *byte == b'-')?;
    let (start, end) = (hexadecimal(range.get(..dash)?)?, hexadecimal(range.get(dash + 1..)?)?);
    end.checked_sub(start)
}
