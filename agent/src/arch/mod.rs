//! Everything that depends on the processor: entering the kernel, starting, copying memory, registers of a tracee.
//!
//! Each has the same items. The compiler calls `memcpy` and its like for copies and comparisons, and there is no libc that
//! has them; they are hidden, because the preload must never stand in for the daemon's own.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub use aarch64::{ALIGNMENT, CALL, ELF_MACHINE, Registers, call, number};
#[cfg(target_arch = "x86_64")]
pub use x86_64::{ALIGNMENT, CALL, ELF_MACHINE, Registers, call, number};

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the agent knows the system calls of x86_64 and aarch64: add the architecture to agent/src/arch");
