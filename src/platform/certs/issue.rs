//! A certificate authority, and serving certificates signed by it.

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use thiserror::Error;
use time::OffsetDateTime;

/// Clocks that are behind by less than this accept a new certificate.
pub(super) const SKEW: SignedDuration = SignedDuration::from_hours(1);

/// How long what is issued may be used; it is replaced when a third of that is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lives {
    /// Of a leaf.
    pub certificate: SignedDuration,
    /// Of an authority: three times that of a leaf at least, so that no leaf is cut short by it.
    pub authority: SignedDuration,
}

impl Default for Lives {
    fn default() -> Self {
        Self { certificate: SignedDuration::from_hours(24 * 90), authority: SignedDuration::from_hours(24 * 365) }
    }
}

/// A certificate and its key, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Issued {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Why nothing could be issued.
#[derive(Debug, Error)]
pub(super) enum IssueError {
    /// The library refused.
    #[error("the certificate could not be made: {0}")]
    Generate(#[from] rcgen::Error),
    /// The clock is outside what a certificate can say.
    #[error("the clock shows a time that no certificate can carry: {0}")]
    Clock(#[from] time::error::ComponentRange),
}

/// Makes an authority.
pub(super) fn issue_authority(lives: Lives, now: Timestamp) -> Result<Issued, IssueError> {
    let key = KeyPair::generate()?;
    let certificate = authority(lives.authority, now)?.self_signed(&key)?;
    Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// Makes a leaf for the names, signed with the key of an authority of ours.
pub(super) fn issue_leaf(
    names: &[String],
    authority_key: &str,
    lives: Lives,
    now: Timestamp,
) -> Result<Issued, IssueError> {
    // Of its issuer a leaf carries the name and a hash of the key: the same for every authority that this file makes.
    let issuer = Issuer::new(authority(lives.authority, now)?, KeyPair::from_pem(authority_key)?);
    let key = KeyPair::generate()?;
    let mut leaf = params("memlock-operator webhook", names.to_vec(), lives.certificate, now)?;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = leaf.signed_by(&key, &issuer)?;
    Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn authority(life: SignedDuration, now: Timestamp) -> Result<CertificateParams, IssueError> {
    let mut authority = params("memlock-operator CA", Vec::new(), life, now)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(authority)
}

fn params(
    name: &str,
    names: Vec<String>,
    life: SignedDuration,
    now: Timestamp,
) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = OffsetDateTime::from_unix_timestamp(now.as_second().saturating_sub(SKEW.as_secs()))?;
    params.not_after = OffsetDateTime::from_unix_timestamp(now.as_second().saturating_add(life.as_secs()))?;
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}
