//! The product on a real cluster: API server, kubelet, containerd, helm, kubectl.
//!
//! Run by `make e2e`, which brings the cluster up and installs the chart as `make demo` does.
//! KUBECONFIG names it; kubectl and helm are on PATH. The tests run one after another, because
//! some of them stop the webhook.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test may panic, and prints what it measured"
)]

mod admission;
mod audit;
mod availability;
mod chart;
mod cluster;
mod devices;
mod docs;
mod fleet;
mod harmless;
mod host;
mod init;
mod injectors;
mod levels;
mod matrix;
mod monitoring;
mod offline;
mod outage;
mod plugin;
mod policies;
mod rights;
mod states;
mod swap;
mod verification;
mod workloads;
