//! The registry of a process and its text form.

use prometheus_client::{encoding::text::encode, metrics::info::Info, registry::Registry};

/// Content type of [`text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Empty but for the build; every name begins with `memlock_`.
#[must_use]
pub fn registry() -> Registry {
    let mut registry = Registry::with_prefix("memlock");
    registry.register("build", "Version of this process", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    registry
}

/// All metrics, as Prometheus reads them.
#[must_use]
pub fn text(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = encode(&mut text, registry);
    text
}
