//! What an election counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Gauges and counters of one election.
#[derive(Debug, Clone)]
pub struct Metrics {
    held: Gauge,
    transitions: Gauge,
    calls: Family<Call, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    call: &'static str,
    outcome: &'static str,
}

impl Metrics {
    /// Makes and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self { held: Gauge::default(), transitions: Gauge::default(), calls: Family::default() };
        registry.register("lease_held", "1 while this process leads", metrics.held.clone());
        registry.register(
            "lease_transitions",
            "How often the lease has changed its holder, as last read",
            metrics.transitions.clone(),
        );
        registry.register("lease_calls", "Reads and writes of the lease, by outcome", metrics.calls.clone());
        metrics
    }

    pub(super) fn held(&self, held: bool) {
        self.held.set(held.into());
    }

    pub(super) fn transitions(&self, count: i32) {
        self.transitions.set(count.into());
    }

    pub(super) fn called(&self, call: &'static str, outcome: &'static str) {
        self.calls.get_or_create(&Call { call, outcome }).inc();
    }
}
