//! The kubectl plugin: `kubectl memlock`.

use std::process::ExitCode;

use clap::Parser;
use memlock_operator::cli::Plugin;

fn main() -> ExitCode {
    // The TLS of the client; a second one cannot have been chosen before the first line.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Plugin::parse().run()
}
