//! What runs inside other people's pods: no runtime, no C library, no heap.
//!
//! `install` brings it there, `preflight` measures whether memory can be locked, `launch` becomes the daemon and makes
//! it able to lock, or locks it, and `probe` shows what is locked. Everything that needs `unsafe` is in [`arch`],
//! [`sys`] and [`start`].
#![cfg_attr(not(test), no_std)]

pub mod arch;
pub mod arguments;
pub mod cgroup;
pub mod install;
pub mod launch;
pub mod lines;
pub mod populate;
pub mod preflight;
pub mod probe;
pub mod program;
pub mod say;
pub mod start;
pub mod sys;
pub mod text;
pub mod tracer;

use arguments::{Command, Conditions};
use say::{last_words, say};
use start::Start;
use sys::File;

/// Exit code for a wrong command line (`EX_USAGE`).
const USAGE: i32 = 64;

/// Does what the command line says; the exit code.
#[must_use]
pub fn run(start: &Start) -> i32 {
    let Some((_, arguments)) = start.arguments.split_first() else { return USAGE };
    match arguments::parse(arguments) {
        Ok(Command::Install(wanted)) => match install::install(wanted) {
            Ok(()) => 0,
            Err(failure) => {
                last_words(say::TERMINATION_LOG, &text::Sentence::of(format_args!("{failure}")));
                1
            }
        },
        Ok(Command::Preflight(conditions)) => check(&conditions),
        Ok(Command::Launch(wanted)) => launch::launch(start, &wanted),
        Ok(Command::Probe) => probe::run(),
        Ok(Command::Help) => print(arguments::HELP),
        Ok(Command::Version) => print(concat!("memlock ", env!("CARGO_PKG_VERSION"), "\n")),
        Err(what) => {
            say(format_args!("{what}"));
            USAGE
        }
    }
}

fn check(conditions: &Conditions<'_>) -> i32 {
    match preflight::measure(conditions.size) {
        Ok(passed) => {
            let sentence = preflight::success(conditions, passed);
            say(format_args!("{}", core::str::from_utf8(sentence.bytes()).unwrap_or_default()));
            0
        }
        Err(cause) => {
            last_words(conditions.termination_log, &preflight::failure(conditions, cause));
            if conditions.required { launch::CANNOT_LOCK } else { 0 }
        }
    }
}

fn print(text: &str) -> i32 {
    i32::from(File::standard_output().write(text.as_bytes()).is_err())
}
