//! How long the webhook's certificate is good for.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use rustls_pki_types::{CertificateDer, pem::PemObject};

use super::{
    finding::{Finding, Mark},
    installation::Installation,
    readable,
    serving::Serving,
};
use crate::cli::cluster::{connect::Cluster, failure::Failure};

const CHECK: &str = "certificate";
/// Ours are replaced when a third of their year is left, those of cert-manager likewise: with less than this, they were not.
const FEW_DAYS: i64 = 14;

pub(super) async fn check(
    cluster: &Cluster,
    installation: &Installation,
    serving: Option<&Serving>,
) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    let now = Timestamp::now();
    findings.extend(serving.map(|serving| trust(installation, serving, now)));
    let name =
        installation.flag("controller", "certificate-secret").map(str::to_owned).or_else(|| mounted(installation));
    let Some(name) = name else { return Ok(findings) };
    let api: Api<Secret> = cluster.api(Some(&installation.namespace));
    findings.push(match readable(cluster.ask(api.get(&name)).await)? {
        Ok(secret) => leaf(installation, &name, &secret, now),
        Err(failure) => Finding::unreadable(CHECK, &failure),
    });
    Ok(findings)
}

fn mounted(installation: &Installation) -> Option<String> {
    let spec = installation.part("webhook")?.spec.as_ref()?.template.spec.as_ref()?;
    spec.volumes.iter().flatten().find_map(|volume| volume.secret.as_ref()?.secret_name.clone())
}

/// The authorities in the webhook configuration.
fn trust(installation: &Installation, serving: &Serving, now: Timestamp) -> Finding {
    let bundle = |n: usize| {
        serving.entries.get(n).and_then(|entry| entry.client_config.ca_bundle.as_ref()).map(|bundle| &bundle.0)
    };
    let bundles: Vec<Option<&Vec<u8>>> = (0..serving.entries.len()).map(bundle).collect();
    let lacking = bundles.iter().filter(|bundle| bundle.is_none_or(Vec::is_empty)).count();
    let configuration = &serving.name;
    let again = if installation.manages_ca_bundle() {
        "see the controller's log: it writes the authorities anew within seconds"
    } else {
        "certificates.manageCABundle is false, so whoever writes them there has to: cert-manager's cainjector, or helm upgrade with certificates.caBundle"
    };
    if lacking > 0 {
        let sentence = format!(
            "{lacking} of {} entries of webhook configuration {configuration} have no caBundle, so that the API server cannot trust the webhook",
            bundles.len()
        );
        return Finding::new(CHECK, Mark::Wrong, sentence).remedy(again);
    }
    if bundles.windows(2).any(|pair| matches!(pair, [a, b] if a != b)) {
        let sentence = format!("the entries of webhook configuration {configuration} have different authorities");
        return Finding::new(CHECK, Mark::Wrong, sentence).remedy(again);
    }
    // During a change the old authority stands beside the new one.
    let last = bundles.first().copied().flatten().and_then(|bundle| ends(bundle).into_iter().max());
    lasting("the authority that the API server trusts", last, now)
}

/// The webhook's own certificate.
fn leaf(installation: &Installation, name: &str, secret: &Secret, now: Timestamp) -> Finding {
    let pem = secret.data.as_ref().and_then(|data| data.get("tls.crt")).map(|bytes| bytes.0.as_slice());
    if pem.is_none_or(<[u8]>::is_empty) {
        let sentence = format!("Secret {name} holds no certificate, so that the webhook cannot start");
        return Finding::new(CHECK, Mark::Wrong, sentence).remedy(if installation.issues_certificates() {
            "see the controller's log: it issues one within seconds"
        } else {
            "see why whoever fills that Secret has not: the controller does not, by certificates.mode"
        });
    }
    lasting(
        &format!("the webhook's certificate in Secret {name}"),
        pem.and_then(|pem| ends(pem).into_iter().min()),
        now,
    )
}

fn lasting(what: &str, last: Option<i64>, now: Timestamp) -> Finding {
    let Some(last) = last else {
        return Finding::new(CHECK, Mark::Wrong, format!("{what} cannot be read"))
            .remedy("see the controller's log, and whoever else writes it");
    };
    let left = last.saturating_sub(now.as_second()).div_euclid(24 * 3600);
    let replaced = "see why it is not replaced in the controller's log, or with the one who issues it";
    match left {
        ..0 => Finding::new(CHECK, Mark::Wrong, format!("{what} has expired, {} days ago", -left)).remedy(replaced),
        0..FEW_DAYS => {
            Finding::new(CHECK, Mark::Warning, format!("{what} is good for {left} days only")).remedy(replaced)
        }
        _ => Finding::new(CHECK, Mark::Good, format!("{what} is good for {left} days")),
    }
}

/// When each certificate ends, in seconds of the epoch; empty where one of them cannot be read.
fn ends(pem: &[u8]) -> Vec<i64> {
    let end = |der: CertificateDer<'_>| {
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).ok()?;
        Some(parsed.validity().not_after.timestamp())
    };
    let all: Option<Vec<i64>> = CertificateDer::pem_slice_iter(pem).map(|der| der.ok().and_then(end)).collect();
    all.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use rstest::rstest;

    use super::{
        super::{installation::tests::installation, serving::tests::serving},
        *,
    };

    /// A certificate that ends then.
    fn pem(until: Timestamp) -> String {
        let mut params = rcgen::CertificateParams::new(vec!["w".to_owned()]).unwrap();
        params.not_after = time::OffsetDateTime::from_unix_timestamp(until.as_second()).unwrap();
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    }

    fn in_days(days: i64) -> Timestamp {
        NOW + jiff::SignedDuration::from_hours(24 * days + 1)
    }

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn secret(pem: &str) -> Secret {
        let data = [("tls.crt".to_owned(), ByteString(pem.as_bytes().to_vec()))].into();
        Secret { data: Some(data), ..Secret::default() }
    }

    #[rstest]
    #[case(200, Mark::Good, "good for 200 days")]
    #[case(13, Mark::Warning, "good for 13 days only")]
    #[case(-3, Mark::Wrong, "has expired, 3 days ago")]
    fn days_left(#[case] days: i64, #[case] mark: Mark, #[case] says: &str) {
        let finding = leaf(&installation("0.1.0", 1, 1), "tls", &secret(&pem(in_days(days))), NOW);
        assert_eq!(finding.mark, mark);
        assert!(finding.line(false).contains(says), "{}", finding.line(false));
    }

    #[rstest]
    #[case("")]
    #[case("nonsense")]
    #[case("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")]
    fn what_is_no_certificate_is_wrong(#[case] pem: &str) {
        assert_eq!(leaf(&installation("0.1.0", 1, 1), "tls", &secret(pem), NOW).mark, Mark::Wrong);
    }

    #[test]
    fn who_has_to_write_is_told_the_remedy() {
        let mut found = installation("0.1.0", 1, 1);
        let remedies = |found: &Installation| {
            [trust(found, &serving(), NOW).line(false), leaf(found, "tls", &secret(""), NOW).line(false)]
        };
        assert!(
            remedies(&found).iter().all(|line| line.contains("see the controller's log")),
            "{:?}",
            remedies(&found)
        );
        found.add_flag("controller", "--certificates=secret");
        found.add_flag("controller", "--manage-ca-bundle=false");
        let [authorities, leaf] = remedies(&found);
        assert!(authorities.contains("helm upgrade with certificates.caBundle"), "{authorities}");
        assert!(leaf.contains("the controller does not, by certificates.mode"), "{leaf}");
    }

    #[test]
    fn every_entry_has_the_same_authorities_and_one_of_them_lasts() {
        let mut serving = serving();
        let trust = |serving: &Serving| trust(&installation("0.1.0", 1, 1), serving, NOW);
        assert!(trust(&serving).line(false).contains("3 of 3 entries"), "{:?}", trust(&serving));
        let both = format!("{}{}", pem(in_days(-1)), pem(in_days(300)));
        for entry in &mut serving.entries {
            entry.client_config.ca_bundle = Some(ByteString(both.clone().into_bytes()));
        }
        assert_eq!(trust(&serving).mark, Mark::Good);
        serving.entries[1].client_config.ca_bundle = Some(ByteString(pem(in_days(300)).into_bytes()));
        assert!(trust(&serving).line(false).contains("different authorities"));
    }
}
