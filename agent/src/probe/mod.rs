//! probe
/// x
#[must_use]
pub fn run() -> i32 { 1 }
