//! A certificate authority and a serving certificate signed by it.

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use thiserror::Error;
use time::OffsetDateTime;
use x509_parser::prelude::GeneralName;

/// Life of authority and leaf alike: both are replaced together, at two thirds of it.
const LIFE: SignedDuration = SignedDuration::from_hours(24 * 365);
/// Clocks that are behind by less than this accept a new certificate.
const SKEW: SignedDuration = SignedDuration::from_hours(1);

/// Everything that one issue gives, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The new authority, followed by the one it replaces: what a client must trust.
    pub authorities: String,
    /// The leaf.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// Why nothing could be issued.
#[derive(Debug, Error)]
pub enum IssueError {
    /// The library refused.
    #[error("the certificate could not be made: {0}")]
    Generate(#[from] rcgen::Error),
    /// The clock is outside what a certificate can say.
    #[error("the clock shows a time that no certificate can carry: {0}")]
    Clock(#[from] time::error::ComponentRange),
}

/// Makes a new authority and a leaf for the names. `previous` are the authorities to keep trusting.
///
/// The authority's key is not kept: nobody can sign with it afterwards.
pub fn issue(names: &[String], previous: Option<&str>, now: Timestamp) -> Result<Issued, IssueError> {
    let authority_key = KeyPair::generate()?;
    let mut authority = params("memlock-operator CA", Vec::new(), now)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_certificate = authority.self_signed(&authority_key)?;

    let key = KeyPair::generate()?;
    let mut leaf = params("memlock-operator webhook", names.to_vec(), now)?;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = leaf.signed_by(&key, &Issuer::new(authority, authority_key))?;

    let mut authorities = authority_certificate.pem();
    authorities.push_str(previous.map(first_certificate).unwrap_or_default().as_str());
    Ok(Issued { authorities, certificate: certificate.pem(), key: key.serialize_pem() })
}

fn params(name: &str, names: Vec<String>, now: Timestamp) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = OffsetDateTime::from_unix_timestamp(now.as_second() - SKEW.as_secs())?;
    params.not_after = OffsetDateTime::from_unix_timestamp(now.as_second() + LIFE.as_secs())?;
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// The authority in use: of a bundle only the newest is kept, or it would grow for ever.
fn first_certificate(bundle: &str) -> String {
    const END: &str = "-----END CERTIFICATE-----";
    bundle
        .find(END)
        .and_then(|at| bundle.get(..at + END.len()))
        .map(|pem| format!("{}\n", pem.trim_start()))
        .unwrap_or_default()
}

/// Whether a leaf is still good: readable, for these names, before two thirds of its life.
#[must_use]
pub(super) fn is_fresh(certificate: &str, names: &[String], now: Timestamp) -> bool {
    let Ok(der) = CertificateDer::from_pem_slice(certificate.as_bytes()) else { return false };
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(&der) else { return false };
    let (start, end) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    let due = start + (end - start) / 3 * 2;
    let known: Vec<&str> = match parsed.subject_alternative_name() {
        Ok(Some(extension)) => extension.value.general_names.iter().filter_map(dns_name).collect(),
        _ => Vec::new(),
    };
    start <= now.as_second() && now.as_second() < due && names.iter().all(|name| known.contains(&name.as_str()))
}

fn dns_name<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    match name {
        GeneralName::DNSName(name) => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const NAMES: [&str; 2] = ["memlock.memlock-system.svc", "memlock"];

    fn names() -> Vec<String> {
        NAMES.map(str::to_owned).to_vec()
    }

    #[rstest]
    #[case::new(0, &NAMES, true)]
    #[case::before_two_thirds(24 * 243, &NAMES, true)]
    #[case::after_two_thirds(24 * 244, &NAMES, false)]
    #[case::expired(24 * 366, &NAMES, false)]
    #[case::clock_set_back(-2, &NAMES, false)]
    #[case::other_name(0, &["other"], false)]
    fn freshness(#[case] hours: i64, #[case] asked: &[&str], #[case] fresh: bool) {
        let now = Timestamp::now();
        let issued = issue(&names(), None, now).unwrap();
        let asked: Vec<String> = asked.iter().map(|n| (*n).to_owned()).collect();
        assert_eq!(is_fresh(&issued.certificate, &asked, now + SignedDuration::from_hours(hours)), fresh);
    }

    #[test]
    fn garbage_is_not_fresh() {
        assert!(!is_fresh("garbage", &names(), Timestamp::now()));
    }

    #[test]
    fn one_old_authority_stays_trusted() {
        let count = |issued: &Issued| issued.authorities.matches("BEGIN").count();
        let first = issue(&names(), None, Timestamp::now()).unwrap();
        let second = issue(&names(), Some(&first.authorities), Timestamp::now()).unwrap();
        let third = issue(&names(), Some(&second.authorities), Timestamp::now()).unwrap();
        assert_eq!((count(&first), count(&second), count(&third)), (1, 2, 2));
        assert!(second.authorities.ends_with(&first.authorities));
        assert!(!third.authorities.contains(&first.authorities));
    }
}
