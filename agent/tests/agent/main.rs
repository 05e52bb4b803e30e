//! The agent as it ships, against the real kernel. Needs root, gcc, musl-gcc and go; says so and fails without.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod install;
mod launch;
mod memory;
mod place;
mod preflight;
mod preload;
mod probe;
