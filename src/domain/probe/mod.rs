//! What may run inside a container, and what its output means.

mod command;
mod facts;
mod parse;

pub use command::{CAT, MAX_OUTPUT};
pub use facts::{Facts, LockedLimit, Process};
pub use parse::{ParseError, parse};
