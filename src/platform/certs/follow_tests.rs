use jiff::{SignedDuration, Timestamp};
use prometheus_client::{encoding::text::encode, registry::Registry};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};
use rustls_pki_types::ServerName;

use super::*;
use crate::platform::certs::issue::{Issued, Lives, issue_authority, issue_leaf};

const NAME: &str = "webhook.n.svc";

fn authority() -> Issued {
    issue_authority(Lives::default(), Timestamp::now()).unwrap()
}

/// Certificate and key, of an authority.
fn pair_of(authority: &Issued, issued: Timestamp, lives: Lives) -> (String, String) {
    let leaf = issue_leaf(&[NAME.to_owned()], &authority.key, lives, issued).unwrap();
    (leaf.certificate, leaf.key)
}

fn now_of(authority: &Issued) -> (String, String) {
    pair_of(authority, Timestamp::now(), Lives::default())
}

fn metrics() -> ServedMetrics {
    ServedMetrics::register(&mut Registry::default())
}

fn served(follower: &Follower) -> usize {
    Arc::as_ptr(&*follower.config.borrow()) as usize
}

fn text(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    text
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
    let (now, authority) = (Timestamp::now(), authority());
    let (first, second) = (now_of(&authority), now_of(&authority));
    let expired = pair_of(&authority, now - SignedDuration::from_hours(24 * 100), Lives::default());
    folder.put(&first.0, &first.1);
    let (_, mut follower) = follow(folder.0.clone(), metrics).await;
    let before = served(&follower);

    let bad = [
        (&first.0, &first.1, "unchanged files change nothing"),
        (&second.0, &first.1, "a certificate with the wrong key is kept out"),
        (&"garbage".to_owned(), &"garbage".to_owned(), "garbage is kept out"),
        (&expired.0, &expired.1, "an expired pair is kept out while the old one is good"),
    ];
    for (number, (certificate, key, why)) in bad.into_iter().enumerate() {
        folder.put(certificate, key);
        follower.poll().await;
        assert_eq!(served(&follower), before, "{why}");
        let kept_out = format!("certificate_kept_out {}", usize::from(number > 0));
        assert!(text(&registry).contains(&kept_out), "{why}");
    }
    folder.put(&second.0, &second.1);
    follower.poll().await;
    assert_ne!(served(&follower), before, "a good new pair is served");

    let text = text(&registry);
    let end = now.as_second() + Lives::default().certificate.as_secs();
    for line in [
        "certificate_rejected_total 3".to_owned(),
        "certificate_kept_out 0".to_owned(),
        format!("certificate_not_after_timestamp_seconds{{certificate=\"served\"}} {end}"),
    ] {
        assert!(text.contains(&line), "{line}: {text}");
    }
}

#[tokio::test]
async fn a_pair_that_is_half_swapped_is_read_again() {
    let folder = Folder::new("swapped");
    let authority = authority();
    let (first, second) = (now_of(&authority), now_of(&authority));
    folder.put(&first.0, &first.1);
    let mut registry = Registry::default();
    let (_, mut follower) = follow(folder.0.clone(), ServedMetrics::register(&mut registry)).await;
    folder.put(&second.0, &first.1);
    let finish = async {
        tokio::time::sleep(SWAP / 4).await;
        folder.put(&second.0, &second.1);
    };
    tokio::join!(follower.poll(), finish);
    let text = text(&registry);
    assert!(text.contains("certificate_rejected_total 0"), "{text}");
    assert_eq!(follower.seen.1, second.1.into_bytes());
}

/// How long it takes until a new pair is served; `None`: more than two minutes.
async fn served_after(name: &str, first: &(String, String), second: &(String, String)) -> Option<Duration> {
    let folder = Folder::new(name);
    folder.put(&first.0, &first.1);
    let (config, follower) = follow(folder.0.clone(), metrics()).await;
    let before = Arc::as_ptr(&*config.borrow()) as usize;
    folder.put(&second.0, &second.1);
    let start = Instant::now();
    let changed = async {
        while Arc::as_ptr(&*config.borrow()) as usize == before {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        never = follower.run() => match never {},
        outcome = tokio::time::timeout(Duration::from_mins(2), changed) => outcome.ok().map(|()| start.elapsed()),
    }
}

#[tokio::test(start_paused = true)]
async fn a_pair_of_another_authority_is_held_back_while_the_old_one_is_good() {
    let (old, new) = (authority(), authority());
    let within = |found: Option<Duration>, from: u64, to: u64, why: &str| {
        let found = found.unwrap_or(Duration::MAX);
        assert!((Duration::from_secs(from)..=Duration::from_secs(to)).contains(&found), "{why}: {found:?}");
    };
    let first = now_of(&old);
    within(served_after("leaf", &first, &now_of(&old)).await, 0, 6, "of the same authority, at the next look");
    within(served_after("authority", &first, &now_of(&new)).await, 30, 36, "of another one, when it is trusted");
    let short = Lives { certificate: SignedDuration::from_secs(30), ..Lives::default() };
    let ends = pair_of(&old, Timestamp::now(), short);
    within(served_after("short", &ends, &now_of(&new)).await, 5, 16, "not beyond a third of what the old one has left");
    let ended = pair_of(&old, Timestamp::now() - SignedDuration::from_hours(24 * 100), Lives::default());
    within(served_after("ended", &ended, &now_of(&new)).await, 0, 6, "at once where the old one has expired");
}

#[tokio::test]
async fn a_pair_that_is_not_valid_yet_waits_until_it_is() {
    let folder = Folder::new("coming");
    let authority = authority();
    let first = now_of(&authority);
    folder.put(&first.0, &first.1);
    let (_, mut follower) = follow(folder.0.clone(), metrics()).await;
    let before = served(&follower);
    // Leaves are made an hour older than they are.
    let ahead = SignedDuration::from_hours(1) + SignedDuration::from_secs(2);
    let coming = pair_of(&authority, Timestamp::now() + ahead, Lives::default());
    let valid = not_before(&CertificateDer::from_pem_slice(coming.0.as_bytes()).unwrap()).unwrap();
    folder.put(&coming.0, &coming.1);
    follower.poll().await;
    assert_eq!(served(&follower), before);
    while served(&follower) == before {
        assert!(Timestamp::now().as_second() <= valid + 30, "it was never served");
        tokio::time::sleep(Duration::from_millis(50)).await;
        follower.poll().await;
    }
    assert!(Timestamp::now().as_second() >= valid);
}

#[tokio::test(start_paused = true)]
async fn a_pair_that_is_not_valid_yet_is_served_before_the_old_one_is_over() {
    let authority = authority();
    let short = Lives { certificate: SignedDuration::from_secs(60), ..Lives::default() };
    let coming = pair_of(&authority, Timestamp::now() + SignedDuration::from_hours(3), Lives::default());
    let found = served_after("ends", &pair_of(&authority, Timestamp::now(), short), &coming).await;
    let found = found.unwrap_or(Duration::MAX);
    assert!((Duration::from_secs(14)..=Duration::from_secs(26)).contains(&found), "a third of 60 s: {found:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_held_back_gives_way_to_what_is_written_after_it() {
    let (old, new) = (authority(), authority());
    let folder = Folder::new("back");
    let (first, second) = (now_of(&old), now_of(&new));
    folder.put(&first.0, &first.1);
    let (_, mut follower) = follow(folder.0.clone(), metrics()).await;
    folder.put(&second.0, &second.1);
    follower.poll().await;
    folder.put(&first.0, &first.1);
    follower.poll().await;
    tokio::time::advance(HOLD * 2).await;
    follower.poll().await;
    assert_eq!(follower.served.signer, signer(&CertificateDer::from_pem_slice(first.0.as_bytes()).unwrap()));
}

#[tokio::test(start_paused = true)]
async fn the_first_pair_is_waited_for() {
    let folder = Folder::new("first");
    let mut registry = Registry::default();
    let mut waiting = Box::pin(follow(folder.0.clone(), ServedMetrics::register(&mut registry)));
    for (certificate, key) in [(None, None), (Some(""), Some("")), (Some("garbage"), Some("garbage"))] {
        if let (Some(certificate), Some(key)) = (certificate, key) {
            folder.put(certificate, key);
        }
        assert!(tokio::time::timeout(FIRST_POLL * 4, &mut waiting).await.is_err(), "{certificate:?} is served");
        let kept_out = format!("certificate_kept_out {}", usize::from(certificate.is_some()));
        assert!(text(&registry).contains(&kept_out), "{certificate:?}");
    }
    let (certificate, key) = now_of(&authority());
    folder.put(&certificate, &key);
    tokio::time::timeout(FIRST_POLL * 4, &mut waiting).await.unwrap();
    assert!(text(&registry).contains("certificate_kept_out 0"));
}

/// Whether a client that trusts these authorities alone goes on.
fn is_trusted(config: Arc<ServerConfig>, trusted: &str) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(trusted.as_bytes()).map(Result::unwrap));
    let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(client), ServerName::try_from(NAME).unwrap()).unwrap();
    let mut server = ServerConnection::new(config).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        if client.process_new_packets().is_err() {
            return false;
        }
    }
    true
}

#[tokio::test]
async fn a_chain_is_served_whole() {
    let part = |name: &str, authority: bool| {
        let mut params = CertificateParams::new(if authority { Vec::new() } else { vec![NAME.to_owned()] }).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params.use_authority_key_identifier_extension = true;
        (params, KeyPair::generate().unwrap())
    };
    let [(root, root_key), (middle, middle_key), (leaf, leaf_key)] =
        [part("root", true), part("intermediate", true), part("leaf", false)];
    let anchor = root.self_signed(&root_key).unwrap().pem();
    let root = Issuer::new(root, root_key);
    let between = middle.signed_by(&middle_key, &root).unwrap().pem();
    let leaf = leaf.signed_by(&leaf_key, &Issuer::new(middle, middle_key)).unwrap().pem();
    let folder = Folder::new("chain");

    folder.put(&format!("{leaf}{between}"), &leaf_key.serialize_pem());
    let (config, follower) = follow(folder.0.clone(), metrics()).await;
    assert!(is_trusted(config.borrow().clone(), &anchor));
    let above = signer(&CertificateDer::from_pem_slice(between.as_bytes()).unwrap());
    assert_eq!(follower.served.signer, above, "whoever trusts the root trusts the chain");
    assert!(!is_trusted(config.borrow().clone(), &authority().certificate), "another root does not");

    folder.put(&leaf, &leaf_key.serialize_pem());
    let (config, _) = follow(folder.0.clone(), metrics()).await;
    assert!(!is_trusted(config.borrow().clone(), &anchor), "the leaf alone does not reach the root");
}
