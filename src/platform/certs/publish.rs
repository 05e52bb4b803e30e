//! Keeps certificate and trust where the API server and the webhook find them.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration},
        core::v1::Secret,
    },
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::json;
use thiserror::Error;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    bundle::{Bundle, not_after},
    due::{Due, Held, due},
    issue::{IssueError, Lives, issue_authority, issue_leaf},
    metrics::PublishedMetrics,
    trust::{CONFIGURATION, is_out, trust_patch, trusted},
};
use crate::{
    domain::names::CERTIFICATE_MANAGER,
    platform::{
        client::{CALL_DEADLINE, CallError, within},
        runtime::Readiness,
    },
};

/// How often the live objects are compared with what they should be: until then an entry that was added
/// or put back has no authorities, and the pods that it serves are refused.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// The same while a new leaf waits for the trust in it.
const SOON: Duration = Duration::from_secs(1);
/// The same after a failure.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// How long a new authority is out before a leaf of it is served: each API server reads the configuration by a watch
/// of its own.
const SETTLE: Duration = Duration::from_secs(15);
/// Least time between two certificates of a kind, whatever the clock or another writer of the Secret does.
const ISSUE_PAUSE: Duration = Duration::from_mins(1);

const AUTHORITIES: &str = "ca.crt";
const AUTHORITY_KEY: &str = "ca.key";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// The objects that carry them.
#[derive(Debug, Clone)]
pub struct Names {
    /// Namespace of Secret and Service.
    pub namespace: String,
    /// The Secret; it must exist.
    pub secret: String,
    /// The Service by which the API server calls the webhook.
    pub service: String,
    /// The webhook configuration; it must exist.
    pub configuration: String,
}

/// Who makes the certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// This process.
    Internal(Lives),
    /// Somebody else, who puts them into the Secret.
    Secret,
}

/// Why the pair is not published.
#[derive(Debug, Error)]
pub(super) enum PublishError {
    /// A call failed.
    #[error("{what} {name} cannot be {verb}: {source}; is the chart installed and its Role in place?")]
    Call {
        /// Kind of object.
        what: &'static str,
        /// Its name.
        name: String,
        /// What was tried.
        verb: &'static str,
        /// What came back.
        source: CallError,
    },
    /// No certificate.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The same again.
    #[error(
        "a new {what} is due, and one was made {} s ago; does the clock jump, or does somebody else write the Secret?",
        .ago.as_secs()
    )]
    TooSoon {
        /// Which of the two.
        what: &'static str,
        /// When the last one was made.
        ago: Duration,
    },
    /// Somebody else's Secret is not complete.
    #[error("Secret {0} has no authority in ca.crt; put it there, or let somebody else write caBundle")]
    NoAuthority(String),
}

/// Keeps Secret and webhook configuration as they should be.
#[derive(Debug)]
pub struct Publisher {
    secrets: Api<Secret>,
    configurations: Api<MutatingWebhookConfiguration>,
    names: Names,
    source: Source,
    /// Whether `caBundle` is ours to write.
    manage_bundle: bool,
    metrics: PublishedMetrics,
    /// The newest authority, and since when every entry has been seen to trust it.
    out: Option<(CertificateDer<'static>, Instant)>,
    /// When this process made the last one of each kind.
    made: BTreeMap<&'static str, Instant>,
}

impl Publisher {
    /// For the objects of one installation.
    #[must_use]
    pub fn new(client: &Client, names: Names, source: Source, manage_bundle: bool, metrics: PublishedMetrics) -> Self {
        Self {
            secrets: Api::namespaced(client.clone(), &names.namespace),
            configurations: Api::all(client.clone()),
            names,
            source,
            manage_bundle,
            metrics,
            out: None,
            made: BTreeMap::new(),
        }
    }

    /// Publishes, opens the gate, then looks again for ever.
    pub async fn run(mut self, readiness: Readiness, gate: &'static str) {
        let mut last = String::new();
        loop {
            let pause = match self.publish(Timestamp::now()).await {
                Ok(pause) => {
                    readiness.open(gate);
                    last.clear();
                    pause
                }
                Err(error) => {
                    self.metrics.failed();
                    let said = error.to_string();
                    if said != last {
                        warn!(error = said, "the webhook's certificate is not in order; trying again");
                        last = said;
                    }
                    TRY_AGAIN
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// One look. Gives the time until the next one.
    async fn publish(&mut self, now: Timestamp) -> Result<Duration, PublishError> {
        let secret = self.call("Secret", &self.names.secret, "read", self.secrets.get(&self.names.secret)).await?;
        let held = held(&secret);
        self.observe(&held);
        match self.source {
            Source::Internal(lives) => self.issue(&secret, held, lives, now).await,
            Source::Secret => {
                let authorities = Bundle::read(&held.authorities);
                if authorities.is_empty() && self.manage_bundle {
                    return Err(PublishError::NoAuthority(self.names.secret.clone()));
                }
                self.trust(authorities, now, true).await?;
                Ok(LOOK_AGAIN)
            }
        }
    }

    async fn issue(
        &mut self,
        secret: &Secret,
        mut held: Held,
        lives: Lives,
        now: Timestamp,
    ) -> Result<Duration, PublishError> {
        let names = self.dns_names();
        let mut step = due(&held, &names, lives, now);
        let mut version = secret.metadata.resource_version.clone();
        if step == Due::Authority {
            let pause = self.may_make("authority", lives)?;
            let issued = issue_authority(lives, now)?;
            let bundle = Bundle::read(&issued.certificate).and(self.before(&held).await?, now);
            (held.authorities, held.authority_key) = (bundle.pem(), issued.key);
            let data = [(AUTHORITIES, &held.authorities), (AUTHORITY_KEY, &held.authority_key)];
            version = self.store(version, data).await?;
            self.note("authority", pause);
            step = due(&held, &names, lives, now);
        }
        self.trust(Bundle::read(&held.authorities), now, false).await?;
        if let Due::Leaf { served } = step {
            if served && !self.is_settled(lives) {
                return Ok(SOON);
            }
            let pause = self.may_make("leaf", lives)?;
            let issued = issue_leaf(&names, &held.authority_key, lives, now)?;
            (held.certificate, held.key) = (issued.certificate, issued.key);
            self.store(version, [(CERTIFICATE, &held.certificate), (KEY, &held.key)]).await?;
            self.note("leaf", pause);
        }
        self.observe(&held);
        Ok(LOOK_AGAIN.min(lives.certificate.unsigned_abs() / 20))
    }

    /// The authorities that leaves in use may come from: those of the Secret, or where somebody emptied it, those that
    /// the configuration still trusts.
    async fn before(&self, held: &Held) -> Result<Bundle, PublishError> {
        let known = Bundle::read(&held.authorities);
        Ok(if known.is_empty() { self.webhooks().await?.first().map(trusted).unwrap_or_default() } else { known })
    }

    /// Writes `caBundle`, and only that, into each webhook of the configuration that lacks it. `keep`: an authority
    /// that is not in the bundle stays trusted until it expires.
    async fn trust(&mut self, bundle: Bundle, now: Timestamp, keep: bool) -> Result<(), PublishError> {
        let live = self.webhooks().await?;
        self.look(&live, &bundle);
        if !self.manage_bundle {
            return Ok(());
        }
        let older = live.first().filter(|_| keep).map(trusted).unwrap_or_default();
        let wanted = bundle.clone().and(older, now);
        let name = &self.names.configuration;
        let Some(patch) = trust_patch(name, &live, &wanted.pem()) else { return Ok(()) };
        let parameters = PatchParams::apply(CERTIFICATE_MANAGER).force();
        let patch = Patch::Apply(&patch);
        let written =
            self.call(CONFIGURATION, name, "written", self.configurations.patch(name, &parameters, &patch)).await?;
        info!(configuration = name, "caBundle written");
        self.look(&written.webhooks.unwrap_or_default(), &bundle);
        Ok(())
    }

    /// Notes since when every entry has been seen to trust the newest authority. Where others write `caBundle`, the Secret
    /// need not name one, and that each entry trusts any is all there is to see.
    fn look(&mut self, live: &[MutatingWebhook], bundle: &Bundle) {
        let newest = bundle.newest().filter(|_| is_out(live, bundle));
        let trusts_any = || !live.is_empty() && live.iter().all(|entry| !trusted(entry).is_empty());
        self.metrics.trusted(newest.is_some() || bundle.is_empty() && trusts_any());
        self.out = newest.map(|newest| match self.out.take() {
            Some((known, since)) if known == *newest => (known, since),
            _ => (newest.clone(), Instant::now()),
        });
    }

    async fn webhooks(&self) -> Result<Vec<MutatingWebhook>, PublishError> {
        let name = &self.names.configuration;
        let live = self.call(CONFIGURATION, name, "read", self.configurations.get(name)).await?;
        Ok(live.webhooks.unwrap_or_default())
    }

    fn is_settled(&self, lives: Lives) -> bool {
        let settle = SETTLE.min(lives.certificate.unsigned_abs() / 10);
        self.out.as_ref().is_some_and(|(_, since)| since.elapsed() >= settle)
    }

    /// The moment to note once it is made.
    fn may_make(&self, what: &'static str, lives: Lives) -> Result<Instant, PublishError> {
        let pause = ISSUE_PAUSE.min(lives.certificate.unsigned_abs() / 6);
        match self.made.get(what).map(Instant::elapsed) {
            Some(ago) if ago < pause => Err(PublishError::TooSoon { what, ago }),
            _ => Ok(Instant::now()),
        }
    }

    fn note(&mut self, what: &'static str, at: Instant) {
        self.made.insert(what, at);
        self.metrics.issued(what);
        info!(secret = self.names.secret, what, "certificate issued");
    }

    fn observe(&self, held: &Held) {
        for (which, pem) in [("authority", &held.authorities), ("leaf", &held.certificate)] {
            if let Some(end) = CertificateDer::from_pem_slice(pem.as_bytes()).ok().as_ref().and_then(not_after) {
                self.metrics.seen(which, end);
            }
        }
    }

    /// With the version that was read: what somebody else wrote since is never overwritten. Gives the new version.
    async fn store<const N: usize>(
        &self,
        version: Option<String>,
        data: [(&str, &String); N],
    ) -> Result<Option<String>, PublishError> {
        let data: BTreeMap<_, _> =
            data.into_iter().map(|(key, pem)| (key, ByteString(pem.clone().into_bytes()))).collect();
        let patch = Patch::Merge(json!({ "metadata": { "resourceVersion": version }, "data": data }));
        let parameters = PatchParams { field_manager: Some(CERTIFICATE_MANAGER.to_owned()), ..PatchParams::default() };
        let name = &self.names.secret;
        let stored = self.call("Secret", name, "written", self.secrets.patch(name, &parameters, &patch)).await?;
        Ok(stored.metadata.resource_version)
    }

    async fn call<T>(
        &self,
        what: &'static str,
        name: &str,
        verb: &'static str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, PublishError> {
        within(CALL_DEADLINE, call).await.map_err(|source| PublishError::Call {
            what,
            name: name.to_owned(),
            verb,
            source,
        })
    }

    fn dns_names(&self) -> Vec<String> {
        let Names { service, namespace, .. } = &self.names;
        vec![format!("{service}.{namespace}.svc"), format!("{service}.{namespace}.svc.cluster.local")]
    }
}

fn held(secret: &Secret) -> Held {
    let text = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        bytes.and_then(|bytes| String::from_utf8(bytes.0.clone()).ok()).unwrap_or_default()
    };
    Held {
        authorities: text(AUTHORITIES),
        authority_key: text(AUTHORITY_KEY),
        certificate: text(CERTIFICATE),
        key: text(KEY),
    }
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;
