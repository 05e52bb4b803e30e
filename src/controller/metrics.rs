//! What the controller counts. Labels come from enums: their number is bounded.

use std::{collections::HashMap, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::schedule::Written;
use crate::domain::verdict::State;

/// Buckets in seconds: an exec takes some tens of milliseconds, its deadline is 10 s.
const BUCKETS: [f64; 10] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

/// Counts checks and what they found.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    devices: Family<ByState, Gauge>,
    checks: Family<ByState, Counter>,
    check_duration: Histogram,
    time_to_verdict: Histogram,
    writes: Family<ByWrite, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByState {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByWrite {
    object: &'static str,
    outcome: &'static str,
}

impl From<State> for ByState {
    fn from(state: State) -> Self {
        Self { state: state.label() }
    }
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            devices: Family::default(),
            checks: Family::default(),
            check_duration: Histogram::new(BUCKETS),
            time_to_verdict: Histogram::new(BUCKETS),
            writes: Family::default(),
        };
        registry.register("writes", "Writes to the API server, by object and how they ended", metrics.writes.clone());
        registry.register("swap_devices", "Pods that opted in, by what was last said of them", metrics.devices.clone());
        registry.register("checks", "Looks into a pod, by what they found", metrics.checks.clone());
        let mut seconds = |name, help, histogram: &Histogram| {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        };
        seconds("check_duration", "One look into all chosen containers of a pod", &metrics.check_duration);
        seconds("time_to_verdict", "From a container seen running to its verdict on the pod", &metrics.time_to_verdict);
        metrics
    }

    pub(super) fn checked(&self, state: State, took: Duration) {
        self.checks.get_or_create(&state.into()).inc();
        self.check_duration.observe(took.as_secs_f64());
    }

    /// A write to the API server ended: of a `pod`'s status, a `swapdevice` or an `event`.
    pub(super) fn wrote(&self, object: &'static str, outcome: Written) {
        let outcome = match outcome {
            Written::Done => "done",
            Written::Moot => "moot",
            Written::Failed => "failed",
        };
        self.writes.get_or_create(&ByWrite { object, outcome }).inc();
    }

    pub(super) fn verdict_after(&self, wait: Duration) {
        self.time_to_verdict.observe(wait.as_secs_f64());
    }

    /// Every state is there, also at zero: an alert on an absent series never fires.
    pub(super) fn devices(&self, counts: &HashMap<State, i64>) {
        for state in State::ALL {
            self.devices.get_or_create(&state.into()).set(counts.get(&state).copied().unwrap_or_default());
        }
    }
}
