//! Puts certificate and trust where the API server and the webhook find them.
//!
//! The trust (`caBundle`) goes out before the certificate that needs it, and holds the old
//! authority as well, so that no moment of a change is without a matching pair.

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
use serde_json::{Value, json};
use thiserror::Error;
use tracing::{info, warn};

use super::issue::{IssueError, is_fresh, issue};
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
/// The same after a failure.
const TRY_AGAIN: Duration = Duration::from_secs(2);

const CONFIGURATION: &str = "MutatingWebhookConfiguration";
const AUTHORITIES: &str = "ca.crt";
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
}

/// Keeps Secret and webhook configuration as they should be.
#[derive(Debug)]
pub struct Publisher {
    secrets: Api<Secret>,
    configurations: Api<MutatingWebhookConfiguration>,
    names: Names,
}

impl Publisher {
    /// For the objects of one installation.
    #[must_use]
    pub fn new(client: &Client, names: Names) -> Self {
        Self {
            secrets: Api::namespaced(client.clone(), &names.namespace),
            configurations: Api::all(client.clone()),
            names,
        }
    }

    /// Publishes, opens the gate, then looks again for ever.
    pub async fn run(self, readiness: Readiness, gate: &'static str) {
        loop {
            let pause = match self.publish(Timestamp::now()).await {
                Ok(()) => {
                    readiness.open(gate);
                    LOOK_AGAIN
                }
                Err(error) => {
                    warn!(error = error.to_string(), "the webhook's certificate is not in order");
                    TRY_AGAIN
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn publish(&self, now: Timestamp) -> Result<(), PublishError> {
        let secret = self.call("Secret", &self.names.secret, "read", self.secrets.get(&self.names.secret)).await?;
        let held = |key: &str| -> Option<String> {
            let bytes = secret.data.as_ref()?.get(key)?;
            String::from_utf8(bytes.0.clone()).ok()
        };
        let current = (held(AUTHORITIES), held(CERTIFICATE), held(KEY));
        if let (Some(authorities), Some(certificate), Some(_)) = &current
            && is_fresh(certificate, &self.dns_names(), now)
        {
            return self.trust(authorities).await;
        }
        let issued = issue(&self.dns_names(), current.0.as_deref(), now)?;
        self.trust(&issued.authorities).await?;
        let data: BTreeMap<&str, ByteString> =
            [(AUTHORITIES, issued.authorities), (CERTIFICATE, issued.certificate), (KEY, issued.key)]
                .into_iter()
                .map(|(key, pem)| (key, ByteString(pem.into_bytes())))
                .collect();
        // With the version that was read: somebody else's pair is never overwritten.
        let patch = json!({ "metadata": { "resourceVersion": secret.metadata.resource_version }, "data": data });
        let parameters = PatchParams { field_manager: Some(CERTIFICATE_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(&patch);
        self.call("Secret", &self.names.secret, "written", self.secrets.patch(&self.names.secret, &parameters, &patch))
            .await?;
        info!(secret = self.names.secret, "certificate issued");
        Ok(())
    }

    /// Writes `caBundle`, and only that, into each webhook of the configuration that lacks it.
    async fn trust(&self, authorities: &str) -> Result<(), PublishError> {
        let name = &self.names.configuration;
        let live = self.call(CONFIGURATION, name, "read", self.configurations.get(name)).await?;
        let Some(patch) = trust_patch(name, &live.webhooks.unwrap_or_default(), authorities) else { return Ok(()) };
        let parameters = PatchParams::apply(CERTIFICATE_MANAGER).force();
        self.call(CONFIGURATION, name, "written", self.configurations.patch(name, &parameters, &Patch::Apply(&patch)))
            .await?;
        info!(configuration = name, "caBundle written");
        Ok(())
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

/// The apply that gives every entry this `caBundle`; `None` where each of them has it.
///
/// Always every entry: one that an apply leaves out loses what this manager gave it before.
fn trust_patch(name: &str, webhooks: &[MutatingWebhook], authorities: &str) -> Option<Value> {
    let bundle = ByteString(authorities.as_bytes().to_vec());
    if webhooks.iter().all(|w| w.client_config.ca_bundle.as_ref() == Some(&bundle)) {
        return None;
    }
    let entries: Vec<_> =
        webhooks.iter().map(|w| json!({ "name": w.name, "clientConfig": { "caBundle": bundle } })).collect();
    Some(json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": CONFIGURATION,
        "metadata": { "name": name },
        "webhooks": entries,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, authorities: Option<&str>) -> MutatingWebhook {
        let mut entry = MutatingWebhook { name: name.to_owned(), ..MutatingWebhook::default() };
        entry.client_config.ca_bundle = authorities.map(|pem| ByteString(pem.as_bytes().to_vec()));
        entry
    }

    #[test]
    fn one_entry_without_the_authorities_is_enough_to_write_all() {
        for other in [None, Some("old"), Some("")] {
            let webhooks = [entry("a", Some("new")), entry("b", other), entry("c", Some("new"))];
            let patch = trust_patch("memlock-operator", &webhooks, "new").unwrap();
            let bundled = |name: &str| json!({ "name": name, "clientConfig": { "caBundle": "bmV3" } });
            assert_eq!(patch["webhooks"], json!([bundled("a"), bundled("b"), bundled("c")]), "{other:?}");
            assert_eq!(patch["metadata"], json!({ "name": "memlock-operator" }), "{other:?}");
        }
    }

    #[test]
    fn nothing_is_written_where_every_entry_has_them() {
        assert_eq!(trust_patch("x", &[entry("a", Some("new")), entry("b", Some("new"))], "new"), None);
        assert_eq!(trust_patch("x", &[], "new"), None);
    }
}
