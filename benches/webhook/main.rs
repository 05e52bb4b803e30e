//! What the webhook bears: reviews over TLS on loopback, the process on one core and its client on the other. Run by
//! `make bench`.
//!
//! Reviews for each second of the process's own time (user and system) are the figure that does not depend on the
//! client; the plain rate beside it does.
//!
//! - `BENCH_SECONDS=COUNT`: length of each load (10)
//! - `BENCH_SERVER=FILE`: another binary that takes the same flags

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a measurement may panic and prints"
)]

mod client;
#[path = "../../tests/hostile/image.rs"]
mod image;
mod profile;
mod review;
mod server;

use std::time::Duration;

use client::{Load, Pace, Protocol};
use server::Server;

/// Core of the process, and of its client.
const SERVER_CORE: &str = "0";
const CLIENT_CORE: &str = "1";
/// What the API server keeps open, and as many reviews at a time over HTTP/2.
const AT_A_TIME: usize = 16;
const STEADY: u32 = 200;

fn main() {
    // `cargo test` runs every target once.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    server::pin_myself(CLIENT_CORE);
    let seconds =
        std::env::var("BENCH_SECONDS").ok().map_or(10, |text| text.parse().expect("BENCH_SECONDS is a number"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure(Duration::from_secs(seconds)));
}

async fn measure(length: Duration) {
    let server = Server::start(SERVER_CORE).await;
    let body = review::body();
    println!("review of {} bytes; answer of {} bytes", body.len(), client::answer_length(&server, &body).await);
    let rest = server.memory();
    let loads = [
        ("full rate, HTTP/1.1", Protocol::Http1, Pace::Full),
        ("full rate, HTTP/2", Protocol::Http2, Pace::Full),
        ("200/s, HTTP/1.1", Protocol::Http1, Pace::Each(STEADY)),
        ("200/s, HTTP/2", Protocol::Http2, Pace::Each(STEADY)),
    ];
    println!(
        "{:<22} {:>9} {:>14} {:>13} {:>8} {:>8} {:>8} {:>11}",
        "", "reviews/s", "per core and s", "us of CPU each", "p50 us", "p99 us", "max us", "memory KiB"
    );
    for (name, protocol, pace) in loads {
        let load = Load { protocol, pace, at_a_time: AT_A_TIME, length };
        // The first ones warm caches and buffers.
        client::run(&server, &body, &Load { length: Duration::from_secs(1), ..load }).await;
        let before = server.processor();
        let outcome = client::run(&server, &body, &load).await;
        let used = server.processor().saturating_sub(before);
        let reviews = outcome.latencies.len() as f64;
        println!(
            "{name:<22} {:>9.0} {:>14.0} {:>13.1} {:>8.0} {:>8.0} {:>8.0} {:>11}",
            reviews / outcome.lasted.as_secs_f64(),
            reviews / used.as_secs_f64(),
            used.as_secs_f64() * 1e6 / reviews,
            outcome.quantile(0.5),
            outcome.quantile(0.99),
            outcome.quantile(1.0),
            outcome.highest_memory,
        );
    }
    println!(
        "memory at rest {rest} KiB before the load, {} KiB after it, highest {} KiB",
        server.memory(),
        server.highest()
    );
    let load = Load { protocol: Protocol::Http1, pace: Pace::Full, at_a_time: AT_A_TIME, length };
    println!("\nwhere the time goes at full rate over HTTP/1.1:");
    match profile::of(&server, client::run(&server, &body, &load)).await {
        Some(profile) => println!("{profile}"),
        None => println!("unknown: perf is not installed (linux-perf), or may not look"),
    }
}
