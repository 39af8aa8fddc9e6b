//! A registry behind TLS.

use std::io::{Read, Write};
use std::net::TcpListener;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;

const PEM: &str = include_str!("localhost.pem");

/// Answers every request, over TLS, as a registry does that knows one schema. Returns its address.
fn serve() -> String {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let certificate = CertificateDer::from_pem_slice(PEM.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(PEM.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream);
            let mut request = [0; 4096];
            // A client that does not trust us breaks off here.
            let Ok(length @ 1..) = stream.read(&mut request) else { continue };
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let body = match request.contains("Bearer t0ken") {
                true => r#"{"schema":"\"long\""}"#,
                false => r#"{"error_code":401,"message":"Unauthorized"}"#,
            };
            let status = if body.contains("schema") { 200 } else { 401 };
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status} .\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    format!("https://127.0.0.1:{port}/")
}

#[test]
fn certificates_are_checked_and_tokens_sent() {
    let options = RegistryOptions {
        urls: vec![serve()],
        auth: RegistryAuth::Bearer("t0ken".to_owned()),
        ca: Some(PEM.to_owned()),
        attempts: 1,
        ..RegistryOptions::default()
    };
    let schema = Registry::new(options.clone()).unwrap().schema(1).unwrap();
    assert_eq!(&*schema.text, "\"long\"");
    let auth = RegistryAuth::None;
    let denied = Registry::new(RegistryOptions { auth, ..options.clone() }).unwrap().schema(1);
    assert!(matches!(denied, Err(RegistryError::Denied { status: 401, .. })), "{denied:?}");
    // The system's authorities do not vouch for it. (There may be none on this machine.)
    match Registry::new(RegistryOptions { ca: None, ..options }) {
        Ok(registry) => {
            let refused = registry.schema(1).unwrap_err();
            assert!(matches!(refused, RegistryError::Unavailable { .. }), "{refused}");
            assert!(refused.to_string().contains("certificate"), "{refused}");
        }
        Err(error) => assert!(matches!(error, RegistryError::Options(_)), "{error}"),
    }
}
