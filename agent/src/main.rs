//! The program `memlock`. `agent/build` makes it freestanding; otherwise it is started by the C library, for tools that
//! check code.
#![cfg_attr(freestanding, no_std)]
#![no_main]
#![allow(unsafe_code, reason = "the entry of a program without a runtime")]

use core::ffi::{c_char, c_int};

use memlock_agent::start::Start;

#[cfg(freestanding)]
memlock_agent::entry_point!();

/// # Safety
/// Called once by the start code, with what the kernel put on the stack.
#[unsafe(no_mangle)]
unsafe extern "C" fn main(_count: c_int, argv: *const *const c_char, envp: *const *const c_char) -> c_int {
    // SAFETY: the start code's promise.
    memlock_agent::run(&unsafe { Start::new(argv, envp) })
}

/// Nothing here is meant to panic; if it does, the program ends and says where.
#[cfg(freestanding)]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    memlock_agent::say::say(format_args!("internal error: {info}"));
    memlock_agent::sys::exit(70)
}
