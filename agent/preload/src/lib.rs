//! `libmemlock.so`: locks the memory of the program that it is loaded into, before its `main`.
//!
//! Named in `LD_PRELOAD` of a container. It needs nothing of the C library, so that it fits any, and exports nothing.
#![cfg_attr(freestanding, no_std)]
#![allow(unsafe_code, reason = "the entry that a dynamic loader calls, and the environment that it passes")]

use core::ffi::{CStr, c_char, c_int};

use memlock_agent::{
    arguments,
    launch::CANNOT_LOCK,
    lines,
    say::{TERMINATION_LOG, last_words, say},
    start::{Vector, variable},
    sys,
    text::{Printable, Sentence, Text},
};

#[used]
#[unsafe(link_section = ".init_array")]
static LOADED: unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char) = loaded;

/// glibc passes the arguments of `main`; musl passes nothing, and the registers hold anything.
unsafe extern "C" fn loaded(_count: c_int, _argv: *const *const c_char, _envp: *const *const c_char) {
    let environment = Environment::own();
    if is_the_daemon(&environment) {
        lock(&environment);
    }
}

/// What the container was given, read from the kernel: it is the same under every C library.
#[derive(Default)]
struct Environment {
    flags: Text<64>,
    required: bool,
    process: Option<Text<64>>,
    container: Text<128>,
}

impl Environment {
    fn own() -> Self {
        let mut own = Self::default();
        let _ = lines::for_each_until(c"/proc/self/environ", 0, |entry| {
            if let Some(value) = entry.strip_prefix(b"MEMLOCK_FLAGS=") {
                own.flags.push(value);
            } else if let Some(value) = entry.strip_prefix(b"MEMLOCK_REQUIRED=") {
                own.required = value == b"true";
            } else if let Some(value) = entry.strip_prefix(b"MEMLOCK_PROCESS=") {
                own.process.get_or_insert_default().push(value);
            } else if let Some(value) = entry.strip_prefix(b"MEMLOCK_CONTAINER=") {
                own.container.push(value);
            }
        });
        own
    }
}
