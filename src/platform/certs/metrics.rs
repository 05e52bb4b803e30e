//! What is known of certificates. A moment is a gauge in Unix seconds, so that an alert can subtract `time()`.

use jiff::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Which {
    certificate: &'static str,
}

fn not_after(registry: &mut Registry) -> Family<Which, Gauge> {
    let family = Family::default();
    let help = "End of a certificate's life, in Unix time";
    registry.register_with_unit("certificate_not_after_timestamp", help, Unit::Seconds, Family::clone(&family));
    family
}

/// Of the process that serves a pair.
#[derive(Debug, Clone)]
pub struct ServedMetrics {
    not_after: Family<Which, Gauge>,
    last_reload: Gauge,
    rejected: Counter,
    kept_out: Gauge,
}

impl ServedMetrics {
    /// Makes and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            not_after: not_after(registry),
            last_reload: Gauge::default(),
            rejected: Counter::default(),
            kept_out: Gauge::default(),
        };
        registry.register_with_unit(
            "certificate_last_reload_timestamp",
            "When a pair was last taken into use, in Unix time",
            Unit::Seconds,
            metrics.last_reload.clone(),
        );
        registry.register("certificate_rejected", "New pairs that were kept out", metrics.rejected.clone());
        let help = "1 while the files hold a pair that cannot be served";
        registry.register("certificate_kept_out", help, metrics.kept_out.clone());
        metrics
    }

    pub(super) fn loaded(&self, not_after: i64) {
        self.not_after.get_or_create(&Which { certificate: "served" }).set(not_after);
        self.last_reload.set(Timestamp::now().as_second());
    }

    pub(super) fn rejected(&self) {
        self.rejected.inc();
        self.kept_out(true);
    }

    /// Whether the files hold a pair that cannot be served.
    pub(super) fn kept_out(&self, kept_out: bool) {
        self.kept_out.set(kept_out.into());
    }
}

/// Of the process that publishes pair and trust.
#[derive(Debug, Clone)]
pub struct PublishedMetrics {
    not_after: Family<Which, Gauge>,
    issued: Family<Which, Counter>,
    trusted: Gauge,
    failures: Counter,
}

impl PublishedMetrics {
    /// Makes and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            not_after: not_after(registry),
            issued: Family::default(),
            trusted: Gauge::default(),
            failures: Counter::default(),
        };
        registry.register("certificates_issued", "Certificates made by this process", metrics.issued.clone());
        registry.register(
            "certificate_authority_trusted",
            "1 while every entry of the webhook configuration trusts the newest authority; of the leader",
            metrics.trusted.clone(),
        );
        registry.register(
            "certificate_publish_failures",
            "Looks at Secret and webhook configuration that ended in an error",
            metrics.failures.clone(),
        );
        metrics
    }

    pub(super) fn seen(&self, certificate: &'static str, not_after: i64) {
        self.not_after.get_or_create(&Which { certificate }).set(not_after);
    }

    pub(super) fn issued(&self, certificate: &'static str) {
        self.issued.get_or_create(&Which { certificate }).inc();
    }

    pub(super) fn trusted(&self, trusted: bool) {
        self.trusted.set(trusted.into());
    }

    pub(super) fn failed(&self) {
        self.failures.inc();
    }
}
