//! Sentences for people on standard error, with the place they speak of.

use std::{
    fmt,
    io::{self, IsTerminal as _, Write as _},
};

/// How serious it is; the worst one decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// Done, with something to know.
    Warning,
    /// A pod or service was denied.
    Refused,
    /// The input cannot be read.
    Unreadable,
}

/// One sentence and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) severity: Severity,
    /// The file.
    pub(super) source: String,
    /// Which document of it, and on which line.
    pub(super) place: Option<(usize, usize)>,
    /// `Deployment storage/ublk`.
    pub(super) subject: Option<String>,
    pub(super) sentence: String,
}

impl fmt::Display for Note {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ", self.source)?;
        if let Some((number, line)) = self.place {
            write!(out, "document {number} (line {line}): ")?;
        }
        if let Some(subject) = &self.subject {
            write!(out, "{subject}: ")?;
        }
        if self.severity == Severity::Warning {
            out.write_str("warning: ")?;
        }
        out.write_str(&self.sentence)
    }
}

/// Prints them, in colour on a terminal.
pub(super) fn print(notes: &[Note]) {
    let error = io::stderr();
    let colour = error.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut error = error.lock();
    for note in notes {
        let paint = if note.severity == Severity::Warning { "\u{1b}[33m" } else { "\u{1b}[31m" };
        // Nobody is left to be told when standard error is closed.
        let _ = if colour { writeln!(error, "{paint}{note}\u{1b}[0m") } else { writeln!(error, "{note}") };
    }
}
