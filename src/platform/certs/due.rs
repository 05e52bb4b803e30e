//! What must be issued next: a pure function of what is held and of the time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{KeyPair, PublicKeyData};
use rustls::{
    RootCertStore,
    client::{verify_server_cert_signed_by_trust_anchor, verify_server_name},
    crypto::aws_lc_rs,
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};

use super::{
    bundle::Bundle,
    issue::{Lives, SKEW},
};

/// What the Secret holds, PEM; empty where it holds nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) authorities: String,
    pub(super) authority_key: String,
    pub(super) certificate: String,
    pub(super) key: String,
}

/// What is to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// The authority, and the leaf after it.
    Authority,
    /// The leaf.
    Leaf {
        /// The one before it still works, so it can wait until the new one is trusted everywhere.
        served: bool,
    },
    /// Nothing.
    Nothing,
}

/// An authority that can sign, and a leaf that it signed for these names, both with more than a third of life left.
pub(super) fn due(held: &Held, names: &[String], lives: Lives, now: Timestamp) -> Due {
    let trusted = Bundle::read(&held.authorities);
    let Some(authority) = trusted.newest() else { return Due::Authority };
    if !(is_fresh(authority, lives.authority, now) && fits(authority, &held.authority_key)) {
        return Due::Authority;
    }
    let Ok(leaf) = CertificateDer::from_pem_slice(held.certificate.as_bytes()) else {
        return Due::Leaf { served: false };
    };
    let paired = fits(&leaf, &held.key);
    if paired && is_fresh(&leaf, lives.certificate, now) && convinces(&leaf, &[authority], names, now) {
        return Due::Nothing;
    }
    let all: Vec<_> = trusted.certificates().collect();
    Due::Leaf { served: paired && convinces(&leaf, &all, names, now) }
}

/// Valid now, with more than a third of its life left, and not far more than all of it: that would be the work of a
/// clock which was ahead, and would be trusted longer than anybody asked for.
fn is_fresh(certificate: &CertificateDer<'_>, life: SignedDuration, now: Timestamp) -> bool {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return false };
    let (start, end) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    let (now, life) = (now.as_second(), life.as_secs());
    start <= now && now < end - life / 3 && end <= now + life + SKEW.as_secs()
}

/// Whether the key is that of the certificate.
fn fits(certificate: &CertificateDer<'_>, key: &str) -> bool {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return false };
    KeyPair::from_pem(key).is_ok_and(|key| key.subject_public_key_info() == parsed.public_key().raw)
}

/// Whether a client that trusts the authorities would accept the leaf under each of the names.
pub(super) fn convinces(
    leaf: &CertificateDer<'_>,
    authorities: &[&CertificateDer<'_>],
    names: &[String],
    now: Timestamp,
) -> bool {
    let Ok(parsed) = ParsedCertificate::try_from(leaf) else { return false };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities.iter().map(|der| der.as_ref().to_vec().into()));
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default()));
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, algorithms).is_ok()
        && names.iter().all(|name| {
            ServerName::try_from(name.as_str()).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
        })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::platform::certs::issue::{issue_authority, issue_leaf};

    const NAMES: [&str; 2] = ["memlock.memlock-system.svc", "memlock"];

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn held(now: Timestamp) -> Held {
        let lives = Lives::default();
        let authority = issue_authority(lives, now).unwrap();
        let leaf = issue_leaf(&names(&NAMES), &authority.key, lives, now).unwrap();
        Held {
            authorities: authority.certificate,
            authority_key: authority.key,
            certificate: leaf.certificate,
            key: leaf.key,
        }
    }

    fn asked(held: &Held, now: Timestamp) -> Due {
        due(held, &names(&NAMES), Lives::default(), now)
    }

    const WORKS: Due = Due::Leaf { served: true };
    const FAILS: Due = Due::Leaf { served: false };

    #[rstest]
    #[case::new(0, Due::Nothing)]
    #[case::a_third_left(24 * 59, Due::Nothing)]
    #[case::less_than_a_third_left(24 * 61, WORKS)]
    #[case::leaf_expired(24 * 91, FAILS)]
    #[case::less_than_a_third_of_the_authority_left(24 * 244, Due::Authority)]
    #[case::all_expired(24 * 366, Due::Authority)]
    #[case::clock_set_back_a_little(-1, Due::Nothing)]
    #[case::clock_set_back(-2, Due::Authority)]
    fn time_passes(#[case] hours: i64, #[case] expected: Due) {
        let now = Timestamp::now();
        assert_eq!(asked(&held(now), now + SignedDuration::from_hours(hours)), expected);
    }

    #[test]
    fn each_part_must_fit_the_others() {
        let now = Timestamp::now();
        let (one, other) = (held(now), held(now));
        let cases = [
            (Held::default(), Due::Authority),
            (Held { authorities: "garbage".to_owned(), ..one.clone() }, Due::Authority),
            (Held { authority_key: String::new(), ..one.clone() }, Due::Authority),
            (Held { authority_key: other.authority_key.clone(), ..one.clone() }, Due::Authority),
            (Held { certificate: String::new(), ..one.clone() }, FAILS),
            (Held { key: other.key.clone(), ..one.clone() }, FAILS),
            (Held { certificate: other.certificate.clone(), key: other.key.clone(), ..one.clone() }, FAILS),
            // The authority was replaced: the leaf of the one before is trusted beside it.
            (
                Held {
                    certificate: one.certificate.clone(),
                    key: one.key.clone(),
                    authorities: other.authorities.clone() + &one.authorities,
                    ..other
                },
                WORKS,
            ),
        ];
        for (held, expected) in cases {
            assert_eq!(asked(&held, now), expected, "{held:?}");
        }
        assert_eq!(due(&one, &names(&["another"]), Lives::default(), now), FAILS);
    }

    #[test]
    fn shorter_lives_take_effect_at_once() {
        let now = Timestamp::now();
        let lives = Lives { certificate: SignedDuration::from_secs(60), authority: SignedDuration::from_secs(180) };
        assert_eq!(due(&held(now), &names(&NAMES), lives, now), Due::Authority);
    }

    /// Two leaders whose clocks differ by a day take turns: what one issues must do for the other.
    #[test]
    fn clocks_that_differ_do_not_issue_in_turns() {
        let right = Timestamp::now();
        let behind = right - SignedDuration::from_hours(24);
        let mut held = held(right);
        let mut issued = 0;
        for now in [behind, right, behind, right, behind] {
            if asked(&held, now) != Due::Nothing {
                held = self::held(now);
                issued += 1;
            }
        }
        assert_eq!(issued, 1);
    }
}
