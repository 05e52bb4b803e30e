//! `libmemlock.so`: locks the memory of the program that it is loaded into, before its `main`.
//!
//! Named in `LD_PRELOAD` of a container. It needs nothing of the C library, so that it fits any, and exports nothing.
#![cfg_attr(freestanding, no_std)]
#![allow(unsafe_code, reason = "the entry that a dynamic loader calls, and the environment that it passes")]

use core::ffi::{c_char, c_int};

use memlock_agent::{
    arguments::{self, Conditions},
    cgroup::Group,
    launch::CANNOT_LOCK,
    lines, populate,
    preflight::{self, Cause},
    say::{TERMINATION_LOG, last_words, say},
    sys,
    text::{Path, Printable, Sentence, Text},
};

#[used]
#[unsafe(link_section = ".init_array")]
static LOADED: unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char) = loaded;

/// Called by the loader. glibc passes what `main` gets and musl passes nothing, so the arguments are not looked at.
unsafe extern "C" fn loaded(_count: c_int, _argv: *const *const c_char, _envp: *const *const c_char) {
    // Every other process of the container, a probe or a shell of `kubectl exec`, would be locked in the daemon's memory.
    let first = sys::own_pid() == 1;
    let Some(wishes) = Wishes::read() else {
        if first {
            say(format_args!(
                "the memory is not locked: /proc/self/environ cannot be read; make the program readable in the image (chmod a+r)"
            ));
        }
        return;
    };
    if first || wishes.process.as_ref().is_some_and(|process| is_own_name(process.bytes())) {
        wishes.fulfil();
    }
}

fn is_own_name(name: &[u8]) -> bool {
    let own = sys::own_name();
    !name.is_empty() && own.split(|byte| *byte == 0).next() == Some(name)
}

/// What the container's environment says, read from the kernel: it is the same under every C library.
#[derive(Default)]
struct Wishes {
    flags: Text<64>,
    required: bool,
    process: Option<Text<64>>,
    container: Text<128>,
    termination_log: Option<Path>,
}

impl Wishes {
    fn read() -> Option<Self> {
        let mut wishes = Self::default();
        lines::for_each_until(c"/proc/self/environ", 0, |entry| {
            let mut parts = entry.splitn(2, |byte| *byte == b'=');
            let (Some(name), Some(value)) = (parts.next(), parts.next()) else { return };
            match name {
                b"MEMLOCK_FLAGS" => wishes.flags.push(value),
                b"MEMLOCK_REQUIRED" => wishes.required = value == b"true",
                b"MEMLOCK_PROCESS" => wishes.process.get_or_insert_default().push(value),
                b"MEMLOCK_CONTAINER" => wishes.container.push(value),
                b"MEMLOCK_TERMINATION_LOG" => wishes.termination_log.get_or_insert_default().push(value),
                _ => {}
            }
        })
        .ok()?;
        Some(wishes)
    }

    fn fulfil(&self) {
        let conditions = Conditions {
            container: self.container.c_str().unwrap_or(c"?"),
            required: self.required,
            // What the container may use at most.
            size: Group::own().and_then(|group| group.limit()?.bytes()),
            termination_log: self.termination_log.as_ref().and_then(Path::c_str).unwrap_or(TERMINATION_LOG),
        };
        let sentence = match self.lock(&conditions) {
            Ok(()) => return,
            Err(sentence) => sentence,
        };
        if self.required {
            last_words(conditions.termination_log, &sentence);
            sys::exit(CANNOT_LOCK);
        }
        let text = core::str::from_utf8(sentence.bytes()).unwrap_or_default();
        say(format_args!("{text}; it runs all the same (memlock.dev/required: false)"));
    }

    fn lock(&self, conditions: &Conditions<'_>) -> Result<(), Sentence> {
        let flags = arguments::flags(self.flags.bytes()).map_err(|what| {
            let container = Printable(conditions.container.to_bytes());
            Sentence::of(format_args!(
                "container {container} cannot lock its memory: MEMLOCK_FLAGS is wrong: {what}; correct memlock.dev/lock-flags"
            ))
        })?;
        let refused = |cause| preflight::failure(conditions, cause);
        if !self.required {
            // A lock under a small limit works at first, and then every larger allocation fails.
            preflight::measure(conditions.size).map_err(refused)?;
        }
        if let Some(shortage) = populate::shortage(sys::own_pid(), flags) {
            return Err(refused(Cause::MemoryLimit(shortage)));
        }
        sys::lock_all(flags).map_err(|error| refused(preflight::cause(error)))
    }
}

/// Nothing here is meant to panic. The daemon is not to suffer from it.
#[cfg(freestanding)]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    sys::exit(70)
}
