//! TLS to a server, verified as far as `sslmode` asks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
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
    Ok(match verify {
        Verify::Host => builder.with_root_certificates(load(roots)?).with_no_client_auth(),
        Verify::Authority | Verify::Nothing => {
            let chain = match verify {
                Verify::Nothing => None,
                _ => Some(
                    WebPkiServerVerifier::builder_with_provider(
                        Arc::new(load(roots)?),
                        provider.clone(),
                    )
                    .build()
                    .map_err(|e| e.to_string())?,
                ),
            };
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Lenient { provider, chain }))
                .with_no_client_auth()
        }
    })
}

fn load(roots: Option<&str>) -> Result<RootCertStore, String> {
    let path = match roots {
        Some(path) if path != "system" => PathBuf::from(path),
        _ => std::env::var_os("SSL_CERT_FILE")
            .map(PathBuf::from)
            .or_else(|| SYSTEM_BUNDLES.iter().map(PathBuf::from).find(|path| path.exists()))
            .ok_or("no certificates of authorities were found on this machine; set sslrootcert")?,
    };
    let unreadable =
        |e: &dyn std::fmt::Display| format!("the certificates in {}: {e}", path.display());
    let mut store = RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(Path::new(&path)).map_err(|e| unreadable(&e))?
    {
        let certificate = certificate.map_err(|e| unreadable(&e))?;
        // Bundles hold old certificates that are no use to anyone; those are passed over.
        let added = store.add(certificate);
        if roots.is_some_and(|roots| roots != "system") {
            added.map_err(|e| unreadable(&e))?;
        }
    }
    if store.is_empty() { Err(unreadable(&"there are none")) } else { Ok(store) }
}

/// Accepts certificates of any host, signed by a known authority if there is a chain to verify.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    chain: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        // The name is checked last: if nothing but the name is wrong, all that was asked for is
        // right.
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
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
