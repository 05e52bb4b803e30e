//! A mounted certificate and key, polled by content.
//!
//! Polled, not watched: the kubelet swaps a symbolic link, which an inotify watch on the
//! file sees once at best.
//!
//! Who writes certificate and authority in one go gives the API server no time to learn of the authority. So a pair of
//! another authority is held back for a while, as long as the one in use is good.

use std::{convert::Infallible, io, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use rustls::{ServerConfig, crypto::aws_lc_rs};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use thiserror::Error;
use tokio::{sync::watch, time::Instant};
use tracing::{info, warn};

use super::{
    bundle::{not_after, not_before, signer},
    metrics::ServedMetrics,
};

/// How often the files are read; the kubelet itself needs up to a minute to change them.
const POLL: Duration = Duration::from_secs(5);
/// How often they are read until there is a first good pair.
const FIRST_POLL: Duration = Duration::from_millis(500);

/// How long a pair of another authority is held back: the controller looks at the Secret every five seconds, and each API
/// server reads the configuration by a watch of its own.
const HOLD: Duration = Duration::from_secs(30);

/// How long the kubelet may take between the two files of a pair.
const SWAP: Duration = Duration::from_millis(200);

/// Where the pair is.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// Certificate chain, PEM, leaf first.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
}

/// Why a pair cannot be served.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file could not be read.
    #[error("{path} cannot be read ({source}); is the Secret mounted and filled?")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not PEM, or not the right kind of it.
    #[error("the certificate or key is not PEM ({0}); put a chain into tls.crt and its key into tls.key")]
    Pem(pem::Error),
    /// The file has no certificate.
    #[error("tls.crt holds no certificate; put the chain into it, leaf first")]
    Empty,
    /// Over before it is used.
    #[error("the certificate has expired, and the one in use has not; issue another one")]
    Expired,
    /// Chain and key do not fit.
    #[error("certificate and key cannot be served ({0}); do they belong together?")]
    Pair(rustls::Error),
}

/// Keeps the served certificate the same as the files.
#[derive(Debug)]
pub struct Follower {
    files: CertificateFiles,
    seen: (Vec<u8>, Vec<u8>),
    served: Pair,
    next: Option<Next>,
    config: watch::Sender<Arc<ServerConfig>>,
    metrics: ServedMetrics,
}

/// A pair that is held back.
#[derive(Debug)]
struct Next {
    pair: Pair,
    /// When its authority is trusted.
    trusted: Instant,
    /// When it is served although it is not valid by this node's clock, which may be the one that is wrong.
    at_last: Instant,
}

/// A pair that can be served.
#[derive(Debug, Clone)]
struct Pair {
    config: Arc<ServerConfig>,
    /// In Unix time.
    not_before: i64,
    /// As above.
    not_after: i64,
    /// Who signed the last certificate of the chain: whom a client must trust.
    signer: Option<Vec<u8>>,
}

/// Waits for a first good pair.
pub async fn follow(files: CertificateFiles, metrics: ServedMetrics) -> (watch::Receiver<Arc<ServerConfig>>, Follower) {
    let mut last = String::new();
    loop {
        match load(&files).await {
            Ok((seen, served)) => {
                info!(file = %files.certificate.display(), "certificate loaded");
                metrics.kept_out(false);
                metrics.loaded(served.not_after);
                let (config, newest) = watch::channel(served.config.clone());
                return (newest, Follower { files, seen, served, next: None, config, metrics });
            }
            Err(error) => {
                metrics.kept_out(!matches!(error, CertificateError::Read { .. }));
                let said = error.to_string();
                if said != last {
                    warn!(error = said, "waiting for a certificate");
                    last = said;
                }
            }
        }
        tokio::time::sleep(FIRST_POLL).await;
    }
}

impl Follower {
    /// Follows for ever. A bad new pair is said once and the old one kept.
    pub async fn run(mut self) -> Infallible {
        loop {
            let poll = Instant::now() + POLL;
            let trusted = self.next.as_ref().map(|next| next.trusted).filter(|trusted| *trusted > Instant::now());
            tokio::time::sleep_until(trusted.map_or(poll, |trusted| trusted.min(poll))).await;
            self.poll().await;
        }
    }

    async fn poll(&mut self) {
        self.read().await;
        let (now, wall) = (Instant::now(), Timestamp::now().as_second());
        let due = |next: &mut Next| next.trusted <= now && (next.pair.not_before <= wall || next.at_last <= now);
        if let Some(next) = self.next.take_if(due) {
            self.serve(next.pair);
        }
    }

    async fn read(&mut self) {
        let Ok(mut bytes) = read(&self.files).await else { return };
        if bytes == self.seen {
            return;
        }
        let mut parsed = self.accept(&bytes);
        if parsed.is_err() {
            // The two files may have been read from before and after the kubelet's swap.
            tokio::time::sleep(SWAP).await;
            let Ok(again) = read(&self.files).await else { return };
            parsed = self.accept(&again);
            bytes = again;
        }
        match parsed {
            Ok(pair) => {
                self.metrics.kept_out(false);
                let next = self.hold(pair, Timestamp::now());
                if next.trusted > Instant::now() || next.pair.not_before > Timestamp::now().as_second() {
                    info!("the new certificate is held back until it is valid and its authority trusted");
                }
                self.next = Some(next);
            }
            Err(error) => {
                self.metrics.rejected();
                warn!(error = error.to_string(), "the new certificate is kept out; the old one stays in use");
            }
        }
        self.seen = bytes;
    }

    fn serve(&mut self, pair: Pair) {
        self.config.send_replace(pair.config.clone());
        self.metrics.loaded(pair.not_after);
        self.served = pair;
        info!(file = %self.files.certificate.display(), "certificate changed");
    }

    /// Until it is trusted, which it is already where its signer is the same, and valid: neither beyond a third of what the
    /// pair in use has left.
    fn hold(&self, pair: Pair, now: Timestamp) -> Next {
        let left = u64::try_from(self.served.not_after.saturating_sub(now.as_second())).unwrap_or_default();
        let at_most = Duration::from_secs(left) / 3;
        let is_trusted = pair.signer.is_some() && pair.signer == self.served.signer;
        let trusted = if is_trusted { Duration::ZERO } else { HOLD.min(at_most) };
        let now = Instant::now();
        Next { pair, trusted: now + trusted, at_last: now + at_most }
    }

    /// A pair that can be served, and is not over while the one in use is not.
    fn accept(&self, bytes: &(Vec<u8>, Vec<u8>)) -> Result<Pair, CertificateError> {
        let pair = parse(&bytes.0, &bytes.1)?;
        let now = Timestamp::now().as_second();
        if pair.not_after < now && now <= self.served.not_after { Err(CertificateError::Expired) } else { Ok(pair) }
    }
}

async fn load(files: &CertificateFiles) -> Result<((Vec<u8>, Vec<u8>), Pair), CertificateError> {
    let bytes = read(files).await?;
    let pair = parse(&bytes.0, &bytes.1)?;
    Ok((bytes, pair))
}

async fn read(files: &CertificateFiles) -> Result<(Vec<u8>, Vec<u8>), CertificateError> {
    let one = |path: PathBuf| async {
        tokio::fs::read(&path).await.map_err(|source| CertificateError::Read { path, source })
    };
    Ok((one(files.certificate.clone()).await?, one(files.key.clone()).await?))
}

fn parse(certificate: &[u8], key: &[u8]) -> Result<Pair, CertificateError> {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().map_err(CertificateError::Pem)?;
    let Some(leaf) = chain.first() else { return Err(CertificateError::Empty) };
    let (Some(not_before), Some(not_after)) = (not_before(leaf), not_after(leaf)) else {
        return Err(CertificateError::Empty);
    };
    let signer = chain.last().and_then(signer);
    let key = PrivateKeyDer::from_pem_slice(key).map_err(CertificateError::Pem)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(CertificateError::Pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(CertificateError::Pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Pair { config: Arc::new(config), not_before, not_after, signer })
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
