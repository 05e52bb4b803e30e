use jiff::{SignedDuration, Timestamp};
use prometheus_client::{encoding::text::encode, registry::Registry};

use super::*;
use crate::platform::certs::issue::{Lives, issue_authority, issue_leaf};

fn pair(issued: Timestamp) -> (String, String) {
    let lives = Lives::default();
    let authority = issue_authority(lives, issued).unwrap();
    let leaf = issue_leaf(&["a".to_owned()], &authority.key, lives, issued).unwrap();
    // A chain: the leaf first.
    (leaf.certificate + &authority.certificate, leaf.key)
}

struct Folder(CertificateFiles);

impl Folder {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("memlock-certs-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(CertificateFiles { certificate: dir.join("tls.crt"), key: dir.join("tls.key") })
    }

    fn put(&self, certificate: &str, key: &str) {
        std::fs::write(&self.0.certificate, certificate).unwrap();
        std::fs::write(&self.0.key, key).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(self.0.certificate.parent().unwrap()).unwrap();
    }
}

#[tokio::test]
async fn a_changed_pair_is_served_and_a_bad_one_is_kept_out() {
    let folder = Folder::new("changed");
    let mut registry = Registry::default();
    let metrics = ServedMetrics::register(&mut registry);
    let now = Timestamp::now();
    let (first, second) = (pair(now), pair(now));
    let expired = pair(now - SignedDuration::from_hours(24 * 100));
    folder.put(&first.0, &first.1);
    let (_, mut follower) = follow(folder.0.clone(), metrics).await;
    let served = |follower: &Follower| Arc::as_ptr(&follower.config.get_inner()) as usize;
    let before = served(&follower);

    let bad = [
        (&first.0, &first.1, "unchanged files change nothing"),
        (&second.0, &first.1, "a certificate with the wrong key is kept out"),
        (&"garbage".to_owned(), &"garbage".to_owned(), "garbage is kept out"),
        (&expired.0, &expired.1, "an expired pair is kept out while the old one is good"),
    ];
    for (certificate, key, why) in bad {
        folder.put(certificate, key);
        follower.poll().await;
        assert_eq!(served(&follower), before, "{why}");
    }
    folder.put(&second.0, &second.1);
    follower.poll().await;
    assert_ne!(served(&follower), before, "a good new pair is served");

    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    let end = now.as_second() + Lives::default().certificate.as_secs();
    for line in [
        "certificate_rejected_total 3".to_owned(),
        format!("certificate_not_after_timestamp_seconds{{certificate=\"served\"}} {end}"),
    ] {
        assert!(text.contains(&line), "{line}: {text}");
    }
}

#[tokio::test]
async fn a_pair_that_is_half_swapped_is_read_again() {
    let folder = Folder::new("swapped");
    let now = Timestamp::now();
    let (first, second) = (pair(now), pair(now));
    folder.put(&first.0, &first.1);
    let mut registry = Registry::default();
    let (_, mut follower) = follow(folder.0.clone(), ServedMetrics::register(&mut registry)).await;
    folder.put(&second.0, &first.1);
    let finish = async {
        tokio::time::sleep(SWAP / 4).await;
        folder.put(&second.0, &second.1);
    };
    tokio::join!(follower.poll(), finish);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    assert!(text.contains("certificate_rejected_total 0"), "{text}");
    assert_eq!(follower.seen.1, second.1.into_bytes());
}
