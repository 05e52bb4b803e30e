//! `caBundle` in the entries of the live webhook configuration.

use k8s_openapi::{ByteString, api::admissionregistration::v1::MutatingWebhook};
use serde_json::{Value, json};

use super::bundle::Bundle;

pub(super) const CONFIGURATION: &str = "MutatingWebhookConfiguration";

/// Whether every entry trusts the newest authority.
pub(super) fn is_out(webhooks: &[MutatingWebhook], authorities: &Bundle) -> bool {
    let Some(newest) = authorities.newest() else { return false };
    !webhooks.is_empty() && webhooks.iter().all(|entry| trusted(entry).certificates().any(|known| known == newest))
}

/// What an entry trusts.
pub(super) fn trusted(entry: &MutatingWebhook) -> Bundle {
    let pem = entry.client_config.ca_bundle.as_ref().map(|bytes| String::from_utf8_lossy(&bytes.0));
    Bundle::read(pem.as_deref().unwrap_or_default())
}

/// The apply that gives every entry this `caBundle`; `None` where each of them has it.
///
/// Always every entry: one that an apply leaves out loses what this manager gave it before.
pub(super) fn trust_patch(name: &str, webhooks: &[MutatingWebhook], authorities: &str) -> Option<Value> {
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
    use jiff::Timestamp;

    use super::*;
    use crate::platform::certs::issue::{Lives, issue_authority};

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

    #[test]
    fn an_authority_is_out_when_every_entry_trusts_it() {
        let pem = || issue_authority(Lives::default(), Timestamp::now()).unwrap().certificate;
        let (old, new) = (pem(), pem());
        let both = new.clone() + &old;
        let bundle = Bundle::read(&both);
        assert!(is_out(&[entry("a", Some(&both)), entry("b", Some(&format!("{old}{new}")))], &bundle));
        assert!(!is_out(&[entry("a", Some(&both)), entry("b", Some(&old))], &bundle));
        assert!(!is_out(&[entry("a", Some(&both)), entry("b", None)], &bundle));
        assert!(!is_out(&[], &bundle) && !is_out(&[entry("a", Some(&both))], &Bundle::default()));
    }
}
