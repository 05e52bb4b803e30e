//! Sentences for people: to standard error, and to the file that the kubelet shows as the termination message.

use core::{ffi::CStr, fmt};

use crate::{
    sys::File,
    text::{Sentence, Text},
};

/// Where the kubelet reads a container's last words by default.
pub const TERMINATION_LOG: &CStr = c"/dev/termination-log";

/// A line on standard error.
pub fn say(message: fmt::Arguments<'_>) {
    let line: Text<2080> = Text::of(format_args!("memlock: {message}\n"));
    let _ = File::standard_error().write(line.bytes());
}

/// A line on standard error and in the termination log, which the kubelet has made; it is never created.
pub fn last_words(log: &CStr, sentence: &Sentence) {
    let text = core::str::from_utf8(sentence.bytes()).unwrap_or("the reason is no text");
    say(format_args!("{text}"));
    if let Ok(file) = File::append(log) {
        let _ = file.write(sentence.bytes());
        let _ = file.write(b"\n");
    }
}
