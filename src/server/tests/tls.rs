//! HTTPS.

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::*;
use crate::server::tls::{Certificates, LOOK};

/// A certificate for `localhost`, signed by itself, and its key.
fn certificate(dir: &Path, name: &str) -> TlsSettings {
    let settings =
        TlsSettings { cert: dir.join(format!("{name}.crt")), key: dir.join(format!("{name}.key")) };
    let output = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args([
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .arg("-keyout")
        .arg(&settings.key)
        .arg("-out")
        .arg(&settings.cert)
        .output()
        .expect("openssl runs (Debian: openssl)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    settings
}

/// A request by somebody who trusts this certificate and no other.
fn ask(server: &ServerHandle, trusted: &Path) -> Result<String, String> {
    let mut roots = RootCertStore::empty();
    let pem = CertificateDer::from_pem_file(trusted).expect("a certificate");
    roots.add(pem).expect("one that can be trusted");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("there are versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut stream = StreamOwned::new(connection, connect(server));
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn serve_tls(settings: &TlsSettings) -> Result<ServerHandle, ServerError> {
    let listen = "127.0.0.1:0".parse().expect("an address");
    let options = ServerOptions { tls: Some(settings.clone()), ..ServerOptions::local(listen) };
    start(options, ServerState::new(handle(), Vec::new()))
}

#[test]
fn what_is_said_is_encrypted_and_plain_requests_get_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = certificate(dir.path(), "first");
    let server = serve_tls(&first).expect("it starts");
    assert!(server.is_secure());
    let answer = ask(&server, &first.cert).expect("it is trusted");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut plain = connect(&server);
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
    let mut bytes = Vec::new();
    let _ = plain.read_to_end(&mut bytes);
    assert!(!String::from_utf8_lossy(&bytes).contains("alive"));
    // Somebody who says nothing is not waited for, and holds nobody up.
    let mut silent = connect(&server);
    assert!(ask(&server, &first.cert).is_ok());
    let began = Instant::now();
    let _ = silent.read(&mut [0; 16]);
    assert!(began.elapsed() < HANDSHAKE_TIMEOUT * 3, "{:?}", began.elapsed());
}

#[test]
fn a_renewed_certificate_is_used_without_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = certificate(dir.path(), "first");
    let second = certificate(dir.path(), "second");
    let server = serve_tls(&first).expect("it starts");
    assert!(ask(&server, &second.cert).is_err(), "it is not the one");
    std::fs::copy(&second.cert, dir.path().join("shown.crt")).expect("a copy");
    // As renewals do it: one file, and then the other.
    std::fs::rename(&second.cert, &first.cert).expect("the certificate is replaced");
    std::fs::rename(&second.key, &first.key).expect("the key is replaced");
    let began = Instant::now();
    while ask(&server, &dir.path().join("shown.crt")).is_err() {
        assert!(began.elapsed() < LOOK * 6, "the new certificate is not used");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn half_a_pair_is_not_used() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = certificate(dir.path(), "first");
    let second = certificate(dir.path(), "second");
    let certificates = Certificates::read(&first).expect("a pair");
    assert!(!certificates.refresh().expect("nothing has changed"));
    std::fs::rename(&second.cert, &first.cert).expect("the certificate is replaced");
    let error = certificates.refresh().expect_err("the key does not fit");
    assert!(matches!(error, TlsError::Pair { .. }), "{error}");
    assert!(!certificates.refresh().expect("the same files are not tried again"));
    std::fs::rename(&second.key, &first.key).expect("the key is replaced");
    assert!(certificates.refresh().expect("now it fits"));
    std::fs::remove_file(&first.key).expect("it is there");
    let error = certificates.refresh().expect_err("there is no key");
    assert!(error.to_string().contains("first.key"), "{error}");
}

#[test]
fn what_is_wrong_with_the_files_is_said_at_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let good = certificate(dir.path(), "first");
    let empty = dir.path().join("empty");
    std::fs::write(&empty, "").expect("a file");
    let wrong = [
        TlsSettings { cert: empty.clone(), ..good.clone() },
        TlsSettings { key: empty, ..good.clone() },
        TlsSettings { cert: dir.path().join("nowhere"), ..good.clone() },
        TlsSettings { key: certificate(dir.path(), "second").key, ..good },
    ];
    for settings in wrong {
        let error = serve_tls(&settings).expect_err("it cannot be used");
        assert!(matches!(error, ServerError::Tls(_)), "{error}");
        assert!(
            error.to_string().contains("expected") || error.to_string().contains("does not fit"),
            "{error}"
        );
    }
}
