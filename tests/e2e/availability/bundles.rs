//! What the webhook configuration trusted at each moment, by the API server's record of what was written.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use serde_json::Value;

use super::trust::{NAME, Served};
use crate::{audit, cluster::kubectl};

const CONFIGURATION: &str = "memlock-operator";
/// A leaf is served for less than this before a handshake sees it.
const UNSEEN: Duration = Duration::from_secs(1);

/// What each entry trusts, PEM.
pub type State = Vec<String>;

/// Of the live object.
pub fn now() -> State {
    let live = kubectl(&["get", "mutatingwebhookconfiguration", CONFIGURATION, "-o", "json"]);
    state(&serde_json::from_str(&live).unwrap())
}

fn state(configuration: &Value) -> State {
    let entries = configuration["webhooks"].as_array().cloned().unwrap_or_default();
    let pem = |entry: &Value| {
        let encoded = entry["clientConfig"]["caBundle"].as_str().unwrap_or_default();
        String::from_utf8(BASE64_STANDARD.decode(encoded).unwrap()).unwrap()
    };
    entries.iter().map(pem).collect()
}

/// The state at that moment, and each one that was written since, whoever wrote it.
pub fn since(before: State, since: Timestamp) -> BTreeMap<Timestamp, State> {
    let mut states = BTreeMap::from([(since, before)]);
    for event in audit::all() {
        let asked = &event["objectRef"];
        let written =
            event["responseObject"]["kind"] == "MutatingWebhookConfiguration" && asked["name"] == CONFIGURATION;
        let dry = event["requestURI"].as_str().unwrap_or_default().contains("dryRun=All");
        if written && !dry {
            let at: Timestamp = event["stageTimestamp"].as_str().unwrap().parse().unwrap();
            if at >= since {
                states.insert(at, state(&event["responseObject"]));
            }
        }
    }
    states
}

/// States that held while a leaf was served which some entry of them does not trust.
pub fn untrusted(states: &BTreeMap<Timestamp, State>, served: &BTreeMap<Vec<Vec<u8>>, Served>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (chain, Served { pod, first, last }) in served {
        let first = first.checked_sub(UNSEEN).unwrap();
        let begun = states.range(..=first).next_back();
        for (at, state) in begun.into_iter().chain(states.range(first..=*last).skip_while(|(at, _)| **at == first)) {
            let moment = (*at).max(first);
            for (entry, trusted) in state.iter().enumerate() {
                if let Err(error) = accepts(trusted, chain, moment) {
                    wrong.push(format!("{moment}: entry {entry}, {pod}: {error}"));
                }
            }
        }
    }
    wrong
}

/// Whether a client that trusts these authorities accepts the chain then.
#[allow(clippy::unwrap_in_result, reason = "the result is the client's word; anything else is a fault of the test")]
fn accepts(trusted: &str, chain: &[Vec<u8>], at: Timestamp) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(trusted.as_bytes()).filter_map(Result::ok));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| error.to_string())?;
    let chain: Vec<_> = chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at.as_second()).unwrap()));
    let (leaf, above) = chain.split_first().unwrap();
    let name = ServerName::try_from(NAME).unwrap();
    verifier.verify_server_cert(leaf, above, &name, &[], now).map(drop).map_err(|error| error.to_string())
}

/// One leaf of an authority, and the authority's PEM.
fn example() -> (Vec<Vec<u8>>, String) {
    let mut above = CertificateParams::new(Vec::new()).unwrap();
    above.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (key, leaf_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let pem = above.self_signed(&key).unwrap().pem();
    let leaf = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    let leaf = leaf.signed_by(&leaf_key, &Issuer::new(above, key)).unwrap();
    (vec![leaf.der().to_vec()], pem)
}

#[test]
fn a_moment_of_distrust_in_the_record_is_found() {
    let ((chain, own), (_, other)) = (example(), example());
    let at = |second: i64| Timestamp::now() + jiff::SignedDuration::from_secs(second);
    let (first, last) = (at(10), at(20));
    let served = BTreeMap::from([(chain, Served { pod: "webhook".to_owned(), first, last })]);
    let both = format!("{other}{own}");
    let wrong = |states: [(i64, [&String; 2]); 3]| {
        let state = |(second, entries): (i64, [&String; 2])| (at(second), entries.map(Clone::clone).to_vec());
        untrusted(&states.map(state).into_iter().collect(), &served).len()
    };
    assert_eq!(wrong([(0, [&own, &own]), (12, [&both, &own]), (30, [&other, &other])]), 0, "never while it was served");
    assert_eq!(wrong([(0, [&own, &own]), (12, [&other, &own]), (13, [&own, &own])]), 1, "one entry, for a second");
    assert_eq!(wrong([(0, [&other, &other]), (15, [&own, &own]), (30, [&other, &other])]), 2, "from the start");
    assert_eq!(wrong([(0, [&own, &own]), (12, [&String::new(), &own]), (13, [&own, &own])]), 1, "no authority at all");
}
