//! What may run inside a container, and what its output means.

mod command;
mod cost;
mod facts;
mod parse;
mod sections;

pub use command::{ALLOWED, CAT, MAX_OUTPUT, SH};
pub use cost::unaffordable;
pub use facts::{Facts, LockedLimit, Memory, Process};
pub use parse::{ParseError, parse};
