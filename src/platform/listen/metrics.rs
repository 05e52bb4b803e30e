//! What is counted of connections.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Counts connections.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    pub(super) open: Gauge,
    closed: Family<Labels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    reason: &'static str,
}

/// Why this side closed a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// The handshake took too long.
    Handshake,
    /// The headers of a request took too long.
    Headers,
    /// Nothing was asked for too long.
    Idle,
    /// A request did not end.
    Request,
    /// Another one needed its place.
    Displaced,
    /// All others were at work.
    Refused,
}

impl Closed {
    fn as_str(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Headers => "headers",
            Self::Idle => "idle",
            Self::Request => "request",
            Self::Displaced => "displaced",
            Self::Refused => "refused",
        }
    }
}

impl Metrics {
    /// Makes and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("connections", "Open connections to the webhook's port", metrics.open.clone());
        registry.register(
            "connections_closed",
            "Connections that the webhook closed before their client did",
            metrics.closed.clone(),
        );
        metrics
    }

    pub(super) fn closed(&self, reason: Closed) {
        self.closed.get_or_create(&Labels { reason: reason.as_str() }).inc();
    }
}
