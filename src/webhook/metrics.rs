//! What the webhook counts. Labels come from enums: their number is bounded.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

/// Buckets in seconds: a decision takes some tens of microseconds, the time-out is 5 s.
const BUCKETS: [f64; 10] = [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.025, 0.1, 1.0, 5.0];

/// Counts reviews.
#[derive(Debug, Clone)]
pub struct Metrics {
    reviews: Family<Labels, Counter>,
    duration: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    allowed: &'static str,
    reason: &'static str,
}

impl Metrics {
    /// Makes and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self { reviews: Family::default(), duration: Histogram::new(BUCKETS) };
        registry.register("admission_reviews", "Admission reviews answered, by answer", metrics.reviews.clone());
        registry.register_with_unit(
            "admission_duration",
            "From the whole body of a review to its answer",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        metrics
    }

    pub(super) fn answered(&self, allowed: bool, reason: &'static str, took: Duration) {
        let allowed = if allowed { "true" } else { "false" };
        self.reviews.get_or_create(&Labels { allowed, reason }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// Refused before its body was there.
    pub(super) fn refused(&self, reason: &'static str) {
        self.reviews.get_or_create(&Labels { allowed: "false", reason }).inc();
    }
}
