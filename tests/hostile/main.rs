//! The webhook as somebody who only wants to hurt would use it: the real process, over TLS on loopback.
//!
//! While each attack lasts, ordinary reviews are asked for over a connection that is kept and over new ones, and every one
//! is answered within two seconds; the process never has more memory of its own than half of what the chart gives it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may panic, and prints what it measured"
)]

mod attacks;
mod bodies;
mod connection;
mod image;
mod victim;
