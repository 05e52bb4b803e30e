//! What may run inside a container, and what its output means.

mod agent;
mod command;
mod cost;
mod facts;
mod parse;
mod sections;

pub use command::{AGENT, AGENT_WITH_CAPABILITY, ALLOWED, CAT, MAX_OUTPUT, SH};
pub use cost::{SMALLEST_HEADROOM, unaffordable};
pub use facts::{Facts, LockedLimit, Mappings, Memory, Process, SwapArea, SwapLimit, Threads};
pub use parse::{ParseError, parse};
