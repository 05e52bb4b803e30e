//! The election on a real API server, and the work that its winner does.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease as Object, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, Client, api::PostParams};
use thiserror::Error;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::{
    Clock, Leadership, Metrics, Timing,
    election::{Election, Loss, Next, Record},
};
use crate::{
    domain::names::LEASE_MANAGER,
    platform::{
        client::{CallError, within},
        runtime::{Readiness, Shutdown},
    },
};

/// Why a leader stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LeaseError {
    /// No renewal in time.
    #[error("the lease could not be renewed in time; another replica may lead, so this process ends and starts anew")]
    Deadline,
    /// Another holder.
    #[error("somebody else holds the lease now, so this process ends and starts anew as one that waits")]
    TakenOver,
    /// No object.
    #[error("the lease was deleted, so anybody may lead; this process ends and starts anew")]
    Deleted,
}

impl From<Loss> for LeaseError {
    fn from(loss: Loss) -> Self {
        match loss {
            Loss::Deadline => Self::Deadline,
            Loss::TakenOver => Self::TakenOver,
            Loss::Deleted => Self::Deleted,
        }
    }
}

/// One contender for a lease.
#[derive(Debug)]
pub struct Lease {
    leases: Api<Object>,
    name: String,
    identity: String,
    timing: Timing,
    clock: Clock,
    election: Election,
    /// As last read or written.
    object: Object,
    leadership: Leadership,
    metrics: Metrics,
    readiness: Readiness,
    gate: &'static str,
}

impl Lease {
    /// A contender of this name; two processes of one name are still told apart.
    /// The gate opens once the lease was read: whoever waits for it is as ready as its holder.
    #[must_use]
    pub fn new(
        leases: Api<Object>,
        name: String,
        instance: &str,
        metrics: Metrics,
        readiness: Readiness,
        gate: &'static str,
    ) -> Self {
        let identity = format!("{instance}_{:016x}", RandomState::new().hash_one(instance));
        let (timing, clock) = (Timing::default(), Clock::boot());
        metrics.held(false);
        Self {
            election: Election::new(identity.clone(), timing, jitter),
            leadership: Leadership::new(clock.clone()),
            object: Object::default(),
            leases,
            name,
            identity,
            timing,
            clock,
            metrics,
            readiness,
            gate,
        }
    }

    /// The lease of that name in a namespace.
    #[must_use]
    pub fn api(client: &Client, namespace: &str) -> Api<Object> {
        Api::namespaced(client.clone(), namespace)
    }

    /// What the work's requests must ask: the layer of its API client.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Waits for the lease, then runs the work until it ends. The work is dropped when the lease is lost, which is an
    /// error; it must follow the request to stop by itself, and the lease is given back after it.
    pub async fn lead(
        mut self,
        shutdown: Shutdown,
        work: impl Future<Output = Result<()>> + Send + 'static,
    ) -> Result<()> {
        while self.election.held_until().is_none() {
            match shutdown.unless_stopped(self.turn()).await {
                None => return Ok(()),
                Some(turn) => turn?,
            }
        }
        info!(lease = self.name, holder = self.identity, "leading");
        let mut tasks = JoinSet::new();
        tasks.spawn(work);
        let done = loop {
            tokio::select! {
                Some(done) = tasks.join_next() => break done,
                turn = self.turn() => if let Err(loss) = turn {
                    self.let_go();
                    drop(tasks);
                    return Err(loss.into());
                },
            }
        };
        self.release().await;
        done?
    }

    /// One step of the election.
    async fn turn(&mut self) -> Result<(), LeaseError> {
        match self.election.next(self.clock.now()) {
            Next::Wait(pause) => tokio::time::sleep(pause).await,
            Next::Read => self.read().await,
            Next::Write { transitions } => {
                let held = self.election.held_until().is_some();
                let spec = self.claim(transitions, held);
                self.write(spec).await;
            }
            Next::Lost(loss) => return Err(loss.into()),
        }
        self.leadership.hold(self.election.held_until());
        Ok(())
    }

    /// How long a call may take: a holder's not beyond its deadline, at which its work is to end.
    fn patience(&self) -> Duration {
        let left = self.election.held_until().map(|until| until.saturating_sub(self.clock.now()));
        left.map_or(self.timing.call, |left| left.min(self.timing.call))
    }

    async fn read(&mut self) {
        let answer = within(self.patience(), self.leases.get_opt(&self.name)).await;
        let now = self.clock.now();
        match answer {
            Ok(found) => {
                self.metrics.called("read", "ok");
                self.readiness.open(self.gate);
                let record = found.as_ref().map(|object| record(object, self.timing.life));
                self.metrics.transitions(record.as_ref().map_or(0, |record| record.transitions));
                self.object = found.unwrap_or_default();
                self.election.read(record, now);
            }
            Err(error) => {
                self.metrics.called("read", outcome(&error));
                warn!(lease = self.name, error = error.to_string(), "the lease cannot be read; trying again");
                self.election.failed(now);
            }
        }
    }

    async fn write(&mut self, spec: LeaseSpec) {
        let started = self.clock.now();
        let answer = within(self.patience(), self.put(spec)).await;
        let now = self.clock.now();
        match answer {
            Ok(object) => {
                self.metrics.called("write", "ok");
                let record = record(&object, self.timing.life);
                self.metrics.transitions(record.transitions);
                self.metrics.held(true);
                self.object = object;
                self.election.wrote(record, started, now);
            }
            Err(error) if error.is_moot() || error.is_conflict() => {
                self.metrics.called("write", "conflict");
                debug!(lease = self.name, error = error.to_string(), "the lease has changed");
                self.election.refused(now);
            }
            Err(error) => {
                self.metrics.called("write", outcome(&error));
                warn!(lease = self.name, error = error.to_string(), "the lease cannot be written; trying again");
                self.election.failed(now);
            }
        }
    }

    /// With the version that was read, so that it fails when anybody wrote since.
    async fn put(&self, spec: LeaseSpec) -> kube::Result<Object> {
        let parameters = PostParams { field_manager: Some(LEASE_MANAGER.to_owned()), ..PostParams::default() };
        let mut object = self.object.clone();
        object.spec = Some(spec);
        if object.metadata.resource_version.is_some() {
            self.leases.replace(&self.name, &parameters, &object).await
        } else {
            object.metadata.name = Some(self.name.clone());
            self.leases.create(&parameters, &object).await
        }
    }

    /// The times are for people; no contender reads them.
    fn claim(&self, transitions: i32, held: bool) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let since = self.object.spec.as_ref().and_then(|spec| spec.acquire_time.clone()).filter(|_| held);
        LeaseSpec {
            acquire_time: Some(since.unwrap_or_else(|| now.clone())),
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.timing.life.as_secs()).ok(),
            lease_transitions: Some(transitions),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }
    }

    fn let_go(&self) {
        self.leadership.hold(None);
        self.metrics.held(false);
    }

    /// Empties the record, so that the next holder need not wait. Nothing is lost when it fails.
    async fn release(&mut self) {
        self.let_go();
        let mut outcome = self.give_back().await;
        if outcome.as_ref().is_err_and(|error| error.is_moot() || error.is_conflict()) {
            // A renewal was on its way when the work ended, and this is its version.
            match within(self.timing.call, self.leases.get(&self.name)).await {
                Ok(object) if record(&object, self.timing.life).holder == self.identity => {
                    self.object = object;
                    outcome = self.give_back().await;
                }
                Ok(_) => return,
                Err(error) => outcome = Err(error),
            }
        }
        match outcome {
            Ok(()) => info!(lease = self.name, "the lease was given back"),
            Err(error) => {
                warn!(lease = self.name, error = error.to_string(), "the lease was not given back; it runs out");
            }
        }
    }

    async fn give_back(&self) -> Result<(), CallError> {
        let transitions = record(&self.object, self.timing.life).transitions;
        let spec = LeaseSpec { holder_identity: None, ..self.claim(transitions, true) };
        within(self.timing.call, self.put(spec)).await.map(|_| ())
    }
}

fn record(object: &Object, life: Duration) -> Record {
    let spec = object.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        transitions: spec.lease_transitions.unwrap_or_default(),
        version: object.metadata.resource_version.clone().unwrap_or_default(),
        life: seconds.map_or(life, Duration::from_secs),
    }
}

/// A bounded word for the metric.
fn outcome(error: &CallError) -> &'static str {
    match error {
        CallError::Deadline(_) => "deadline",
        CallError::Api(kube::Error::Api(status)) if status.code == 429 => "overloaded",
        CallError::Api(kube::Error::Api(_)) => "refused",
        CallError::Api(_) => "unreachable",
    }
}

fn jitter() -> f64 {
    f64::from(u16::try_from(RandomState::new().hash_one(()) & 0xffff).unwrap_or_default()) / f64::from(u16::MAX)
}

#[cfg(test)]
#[path = "lead_tests.rs"]
mod tests;
