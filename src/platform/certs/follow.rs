//! A mounted certificate and key, polled by content.
//!
//! Polled, not watched: the kubelet swaps a symbolic link, which an inotify watch on the
//! file sees once at best.

use std::{convert::Infallible, io, path::PathBuf, sync::Arc, time::Duration};

use axum_server::tls_rustls::RustlsConfig;
use rustls::{ServerConfig, crypto::aws_lc_rs};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use thiserror::Error;
use tracing::{info, warn};

/// How often the files are read; the kubelet itself needs up to a minute to change them.
const POLL: Duration = Duration::from_secs(5);
/// How often they are read until there is a first good pair.
const FIRST_POLL: Duration = Duration::from_millis(500);

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
    /// Chain and key do not fit.
    #[error("certificate and key cannot be served ({0}); do they belong together?")]
    Pair(rustls::Error),
}

/// Keeps the served certificate the same as the files.
#[derive(Debug)]
pub struct Follower {
    files: CertificateFiles,
    seen: (Vec<u8>, Vec<u8>),
    config: RustlsConfig,
}

/// Waits for a first good pair.
pub async fn follow(files: CertificateFiles) -> (RustlsConfig, Follower) {
    let mut last = String::new();
    loop {
        match load(&files).await {
            Ok((seen, server)) => {
                info!(file = %files.certificate.display(), "certificate loaded");
                let config = RustlsConfig::from_config(server);
                return (config.clone(), Follower { files, seen, config });
            }
            Err(error) => {
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
            tokio::time::sleep(POLL).await;
            self.poll().await;
        }
    }

    async fn poll(&mut self) {
        let Ok(bytes) = read(&self.files).await else { return };
        if bytes == self.seen {
            return;
        }
        match parse(&bytes.0, &bytes.1) {
            Ok(server) => {
                self.config.reload_from_config(server);
                info!(file = %self.files.certificate.display(), "certificate changed");
            }
            Err(error) => warn!(error = error.to_string(), "the new certificate is kept out; the old one stays in use"),
        }
        self.seen = bytes;
    }
}

async fn load(files: &CertificateFiles) -> Result<((Vec<u8>, Vec<u8>), Arc<ServerConfig>), CertificateError> {
    let bytes = read(files).await?;
    let server = parse(&bytes.0, &bytes.1)?;
    Ok((bytes, server))
}

async fn read(files: &CertificateFiles) -> Result<(Vec<u8>, Vec<u8>), CertificateError> {
    let one = |path: PathBuf| async {
        tokio::fs::read(&path).await.map_err(|source| CertificateError::Read { path, source })
    };
    Ok((one(files.certificate.clone()).await?, one(files.key.clone()).await?))
}

fn parse(certificate: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, CertificateError> {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().map_err(CertificateError::Pem)?;
    if chain.is_empty() {
        return Err(CertificateError::Empty);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(CertificateError::Pem)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(CertificateError::Pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(CertificateError::Pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::platform::certs::issue;

    fn pair(name: &str) -> (String, String) {
        let issued = issue(&[name.to_owned()], None, Timestamp::now()).unwrap();
        (issued.certificate, issued.key)
    }

    fn served(follower: &Follower) -> usize {
        Arc::as_ptr(&follower.config.get_inner()) as usize
    }

    #[tokio::test]
    async fn a_changed_pair_is_served_and_a_bad_one_is_kept_out() {
        let dir = std::env::temp_dir().join(format!("memlock-certs-{}", std::process::id()));
        tokio::fs::create_dir_all(&dir).await.unwrap();
        let files = CertificateFiles { certificate: dir.join("tls.crt"), key: dir.join("tls.key") };
        let put = |certificate: String, key: String| {
            let files = files.clone();
            async move {
                tokio::fs::write(files.certificate, certificate).await.unwrap();
                tokio::fs::write(files.key, key).await.unwrap();
            }
        };
        let (first, second) = (pair("a"), pair("b"));
        put(first.0.clone(), first.1.clone()).await;
        let (_, mut follower) = follow(files.clone()).await;
        let before = served(&follower);

        follower.poll().await;
        assert_eq!(served(&follower), before, "unchanged files change nothing");
        put(second.0.clone(), first.1.clone()).await;
        follower.poll().await;
        assert_eq!(served(&follower), before, "a certificate with the wrong key is kept out");
        put("garbage".into(), "garbage".into()).await;
        follower.poll().await;
        assert_eq!(served(&follower), before, "garbage is kept out");
        put(second.0, second.1).await;
        follower.poll().await;
        assert_ne!(served(&follower), before, "a good new pair is served");
        tokio::fs::remove_dir_all(dir).await.unwrap();
    }
}
