//! Authorities that are trusted together: PEM in, PEM out, newest first.

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{certificate::Validity, extensions::ParsedExtension};

/// Most authorities that are trusted: the one in use and those whose leaves may still be served. Without a limit a
/// clock that jumps could let the list grow.
const MAX: usize = 4;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Certificates, each as text and as bytes. What cannot be read is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bundle(Vec<(String, CertificateDer<'static>)>);

impl Bundle {
    /// Reads PEM; text around the certificates does not matter.
    pub(super) fn read(pem: &str) -> Self {
        let blocks = pem.split(BEGIN).skip(1).filter_map(|rest| rest.split_once(END));
        let certificates = blocks.filter_map(|(body, _)| {
            let text = format!("{BEGIN}{body}{END}\n");
            let der = CertificateDer::from_pem_slice(text.as_bytes()).ok()?;
            x509_parser::parse_x509_certificate(&der).ok()?;
            Some((text, der))
        });
        Self(certificates.collect())
    }

    /// The authority in use.
    pub(super) fn newest(&self) -> Option<&CertificateDer<'static>> {
        self.0.first().map(|(_, der)| der)
    }

    pub(super) fn certificates(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.0.iter().map(|(_, der)| der)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These, then those of the other that are not among them and have not expired.
    pub(super) fn and(mut self, older: Self, now: Timestamp) -> Self {
        for (text, der) in older.0 {
            let alive = not_after(&der).is_some_and(|end| end > now.as_second());
            if alive && self.0.len() < MAX && !self.0.iter().any(|(_, known)| *known == der) {
                self.0.push((text, der));
            }
        }
        self
    }

    pub(super) fn pem(&self) -> String {
        self.0.iter().map(|(text, _)| text.as_str()).collect()
    }
}

/// End of a certificate, in seconds of Unix time.
pub(super) fn not_after(der: &CertificateDer<'_>) -> Option<i64> {
    validity(der).map(|validity| validity.not_after.timestamp())
}

/// In Unix time.
pub(super) fn not_before(der: &CertificateDer<'_>) -> Option<i64> {
    validity(der).map(|validity| validity.not_before.timestamp())
}

fn validity(der: &CertificateDer<'_>) -> Option<Validity> {
    x509_parser::parse_x509_certificate(der).ok().map(|(_, parsed)| parsed.validity().clone())
}

/// Name and key of who signed a certificate; `None` where it does not say which key that was.
pub(super) fn signer(der: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
    let key = parsed.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(said) => said.key_identifier.as_ref(),
        _ => None,
    })?;
    Some([parsed.issuer().as_raw(), key.0].concat())
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::platform::certs::issue::{Lives, issue_authority};

    fn authority(now: Timestamp) -> Bundle {
        Bundle::read(&issue_authority(Lives::default(), now).unwrap().certificate)
    }

    #[test]
    fn text_around_certificates_does_not_matter() {
        let now = Timestamp::now();
        let (a, b) = (authority(now), authority(now));
        let text = format!("# a comment\n{}\r\n\n{}trailing", a.pem().trim(), b.pem());
        let read = Bundle::read(&text);
        assert_eq!(read.pem(), a.pem() + &b.pem());
        assert_eq!((read.newest(), read.certificates().count()), (a.newest(), 2));
        for nothing in ["", "garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(Bundle::read(nothing).is_empty(), "{nothing}");
        }
    }

    #[test]
    fn older_ones_stay_until_they_expire_and_are_never_many() {
        let now = Timestamp::now();
        let old = authority(now - SignedDuration::from_hours(24 * 400));
        let (a, b) = (authority(now), authority(now));
        let both = b.clone().and(a.clone(), now).and(old, now).and(b.clone(), now);
        assert_eq!(both.pem(), b.pem() + &a.pem());
        let many = (0..9).fold(b.clone(), |bundle, _| bundle.and(authority(now), now));
        assert_eq!((many.certificates().count(), many.newest()), (MAX, b.newest()));
    }
}
