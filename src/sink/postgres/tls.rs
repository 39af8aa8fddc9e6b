//! TLS to a server, verified as far as `sslmode` asks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// What of the server's certificate has to be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verify {
    /// Nothing: the connection is encrypted, to whomever it goes. What libpq does up to
    /// `sslmode=require`.
    Nothing,
    /// A known authority has signed it, for whatever host.
    Authority,
    /// And it is this host's.
    Host,
}

/// Where Linux distributions and BSDs keep the certificates of well-known authorities.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
];

/// A client's side of TLS. `roots`: a file of PEM certificates; `system` or nothing: those that the
/// machine trusts (`SSL_CERT_FILE`, or the distribution's bundle).
pub(super) fn client_config(verify: Verify, roots: Option<&str>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let (chain, pinned) = match verify {
        Verify::Nothing => (None, Vec::new()),
        Verify::Authority | Verify::Host => {
            let (store, certificates) = load(roots)?;
            let chain =
                WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone())
                    .build()
                    .map_err(|e| e.to_string())?;
            (Some(chain), certificates)
        }
    };
    let verifier = Verifier { provider, chain, pinned, host: verify == Verify::Host };
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// The authorities, and the certificates themselves where the user has named them.
fn load(roots: Option<&str>) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), String> {
    let path = match roots {
        Some(path) if path != "system" => PathBuf::from(path),
        _ => std::env::var_os("SSL_CERT_FILE")
            .map(PathBuf::from)
            .or_else(|| SYSTEM_BUNDLES.iter().map(PathBuf::from).find(|path| path.exists()))
            .ok_or("no certificates of authorities were found on this machine; set sslrootcert")?,
    };
    let unreadable =
        |e: &dyn std::fmt::Display| format!("the certificates in {}: {e}", path.display());
    let named = roots.is_some_and(|roots| roots != "system");
    let mut store = RootCertStore::empty();
    let mut pinned = Vec::new();
    for certificate in
        CertificateDer::pem_file_iter(Path::new(&path)).map_err(|e| unreadable(&e))?
    {
        let certificate = certificate.map_err(|e| unreadable(&e))?;
        // Bundles hold old certificates that are no use to anyone; those are passed over.
        let added = store.add(certificate.clone());
        if named {
            added.map_err(|e| unreadable(&e))?;
            pinned.push(certificate);
        }
    }
    if store.is_empty() { Err(unreadable(&"there are none")) } else { Ok((store, pinned)) }
}

/// Checks what `sslmode` asks for, and no more.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    /// None: whatever the server shows is taken.
    chain: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates that the user trusts by name. A server may show one of them itself: that is how
    /// certificates that are signed by nobody else are used with PostgreSQL, and webpki alone
    /// refuses it.
    pinned: Vec<CertificateDer<'static>>,
    host: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        if self.pinned.iter().any(|certificate| certificate == end_entity) {
            if self.host {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        // The name is checked last: if nothing but the name is wrong, all that was asked for is
        // right.
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.host => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
