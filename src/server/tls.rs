//! HTTPS: the certificate and its key, read again when the files change.
//!
//! Whoever renews certificates (cert-manager, certbot, a person) replaces two files, one after the
//! other. So a change is looked for every few seconds, and a certificate is only put in use with a
//! key that fits; until then, and if a file cannot be read, the old pair goes on.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thiserror::Error;

use crate::config::TlsSettings;

/// How often the files are looked at.
pub(super) const LOOK: Duration = Duration::from_secs(5);

/// Why there is no HTTPS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The certificate's file holds none.
    #[error("{}: {problem}; expected a certificate in PEM, and behind it those that it rests on", path.display())]
    Certificate {
        /// The file of `server.tls.cert`.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The key's file holds none.
    #[error("{}: {problem}; expected a private key in PEM (PKCS #8, PKCS #1 or SEC 1) without a password", path.display())]
    Key {
        /// The file of `server.tls.key`.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// They are of two pairs.
    #[error("the key in {} does not fit the certificate in {}: {problem}", key.display(), cert.display())]
    Pair {
        /// The file of `server.tls.cert`.
        cert: PathBuf,
        /// The file of `server.tls.key`.
        key: PathBuf,
        /// What the library says.
        problem: String,
    },
    /// The library has no protocol version to offer.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// The pair in use.
#[derive(Debug)]
pub(super) struct Certificates {
    settings: TlsSettings,
    provider: Arc<CryptoProvider>,
    inner: RwLock<Inner>,
}

#[derive(Debug)]
struct Inner {
    pair: Arc<CertifiedKey>,
    /// Of the files, when they were last looked at.
    seen: [Stamp; 2],
}

/// What tells one version of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(Option<(SystemTime, u64)>);

impl Stamp {
    fn of(path: &Path) -> Self {
        let look = || {
            let about = std::fs::metadata(path).ok()?;
            Some((about.modified().ok()?, about.len()))
        };
        Self(look())
    }
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them cannot be read or holds something else, or they do not belong together.
    pub fn read(settings: &TlsSettings) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let seen = stamps(settings);
        let pair = load(settings, &provider)?;
        let inner = RwLock::new(Inner { pair, seen });
        Ok(Arc::new(Self { settings: settings.clone(), provider, inner }))
    }

    /// Looks whether a file has changed, and puts a new pair in use; says whether it did.
    ///
    /// # Errors
    /// As [`Certificates::read`]; the old pair goes on. The same files are not tried again.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        let now = stamps(&self.settings);
        {
            let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
            if inner.seen == now {
                return Ok(false);
            }
            inner.seen = now;
        }
        let pair = load(&self.settings, &self.provider)?;
        self.inner.write().unwrap_or_else(PoisonError::into_inner).pair = pair;
        Ok(true)
    }

    /// What the listener needs.
    ///
    /// # Errors
    /// The library offers no protocol version, which it always does.
    pub fn config(self: &Arc<Self>) -> Result<rustls::ServerConfig, TlsError> {
        let resolver: Arc<dyn ResolvesServerCert> = self.clone();
        Ok(rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(resolver))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.inner.read().unwrap_or_else(PoisonError::into_inner).pair.clone())
    }
}

fn stamps(settings: &TlsSettings) -> [Stamp; 2] {
    [Stamp::of(&settings.cert), Stamp::of(&settings.key)]
}

fn load(settings: &TlsSettings, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let TlsSettings { cert, key } = settings;
    let of_cert = |problem: String| TlsError::Certificate { path: cert.clone(), problem };
    let of_key = |problem: String| TlsError::Key { path: key.clone(), problem };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|error| of_cert(error.to_string()))?;
    if chain.is_empty() {
        return Err(of_cert("there is no certificate in it".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| of_key(error.to_string()))?;
    let private = provider
        .key_provider
        .load_private_key(private)
        .map_err(|error| of_key(error.to_string()))?;
    let pair = CertifiedKey::new(chain, private);
    match pair.keys_match() {
        // A kind of key that cannot be compared is taken at its word.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(Arc::new(pair))
        }
        Err(error) => {
            Err(TlsError::Pair { cert: cert.clone(), key: key.clone(), problem: error.to_string() })
        }
    }
}
