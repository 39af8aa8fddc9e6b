//! The client against a server that speaks the API over HTTP.

mod tls;

use std::net::TcpListener;

use super::*;
use crate::codec::testing::{SchemaRegistry, options_for, registry_for};

const POINT: &str = r#"{"type":"record","name":"Point","fields":[{"name":"x","type":"int"}]}"#;

#[test]
fn a_schema_is_fetched_once() {
    let server = SchemaRegistry::start();
    let id = server.add("points-value", "AVRO", POINT, &[]);
    let registry = registry_for(&server);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let registry = Arc::clone(&registry);
            std::thread::spawn(move || registry.schema(id).unwrap())
        })
        .collect();
    for thread in threads {
        let schema = thread.join().unwrap();
        assert_eq!((schema.kind, &*schema.text), (SchemaKind::Avro, POINT));
    }
    assert_eq!(server.requests(), [format!("GET /schemas/ids/{id}")]);
}

#[test]
fn an_unknown_id_is_not_asked_for_again_at_once() {
    let server = SchemaRegistry::start();
    let registry = registry_for(&server);
    for _ in 0..3 {
        let error = registry.schema(7).unwrap_err();
        assert_eq!(error, RegistryError::NotFound { what: "schema 7".to_owned() });
        assert!(!error.is_transient());
    }
    assert_eq!(server.requests().len(), 1);
    let verdict = registry.schema_of_record(7, SchemaKind::Avro).unwrap().unwrap_err();
    assert_eq!(verdict.code(), "unknown_schema");
}

#[test]
fn subjects_versions_and_references() {
    let server = SchemaRegistry::start();
    server.add("shared/common", "PROTOBUF", "one", &[]);
    server.add("shared/common", "PROTOBUF", "two", &[]);
    server.add("middle", "PROTOBUF", "mid", &[("common.proto", "shared/common", 1)]);
    let references = [("mid.proto", "middle", 1), ("common.proto", "shared/common", 1)];
    let id = server.add("top", "PROTOBUF", "top", &references);
    let registry = registry_for(&server);
    let top = registry.latest("top").unwrap();
    assert_eq!((top.id, top.kind), (Some(id), SchemaKind::Protobuf));
    let closure = registry.references(&top).unwrap();
    let names: Vec<_> = closure.iter().map(|(name, text)| (name.as_str(), &**text)).collect();
    assert_eq!(names, [("common.proto", "one"), ("mid.proto", "mid")]);
    assert_eq!(&*registry.latest("shared/common").unwrap().text, "two");
    assert!(matches!(registry.latest("none"), Err(RegistryError::NotFound { .. })));
    assert!(matches!(registry.version("top", 9), Err(RegistryError::NotFound { .. })));
}

#[test]
fn references_in_a_circle_end() {
    let server = SchemaRegistry::start();
    server.add("a", "PROTOBUF", "a", &[("b1", "b", 1)]);
    server.add("b", "PROTOBUF", "b", &[("a1", "a", 1)]);
    let id = server.add("c", "PROTOBUF", "c", &[("a1", "a", 1)]);
    let registry = registry_for(&server);
    let schema = registry.schema(id).unwrap();
    assert!(matches!(registry.references(&schema), Err(RegistryError::Answer { .. })));
}

#[test]
fn registering_gives_an_id_or_says_why_not() {
    let server = SchemaRegistry::start();
    let registry = registry_for(&server);
    let id = registry.register("points-value", SchemaKind::Avro, POINT).unwrap();
    assert_eq!(registry.register("points-value", SchemaKind::Avro, POINT), Ok(id));
    assert_eq!(server.requests(), ["POST /subjects/points-value/versions"]);
    assert_eq!(&*registry.schema(id).unwrap().text, POINT);
    let other = POINT.replace("\"x\"", "\"y\"");
    let refused = registry.register("points-value", SchemaKind::Avro, &other).unwrap_err();
    assert!(matches!(&refused, RegistryError::Refused { status: 409, .. }), "{refused}");
    let refused = registry.register("other", SchemaKind::Avro, "{").unwrap_err();
    assert!(matches!(&refused, RegistryError::Refused { status: 422, .. }), "{refused}");
    assert!(refused.to_string().contains("Invalid schema"), "{refused}");
}

#[test]
fn trouble_that_passes_is_waited_for() {
    let server = SchemaRegistry::start();
    let id = server.add("s", "AVRO", "\"int\"", &[]);
    let registry = registry_for(&server);
    server.fail_next(1);
    assert!(registry.schema(id).is_ok());
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn trouble_that_stays_is_an_error_that_may_pass() {
    let server = SchemaRegistry::start();
    let id = server.add("s", "AVRO", "\"int\"", &[]);
    let registry = registry_for(&server);
    server.fail_next(2);
    let error = registry.schema(id).unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains("The registry is starting"), "{error}");
    // Not remembered: it is asked again.
    assert!(registry.schema(id).is_ok());
    // Nobody is there at all.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options =
        RegistryOptions { urls: vec![format!("http://{nobody}")], ..options_for(&server) };
    let error = Registry::new(options).unwrap().schema(1).unwrap_err();
    assert!(matches!(&error, RegistryError::Unavailable { .. }), "{error}");
    // The second address answers, and is the first to be asked from then on.
    let urls = vec![format!("http://{nobody}"), server.url()];
    let registry = Registry::new(RegistryOptions { urls, ..options_for(&server) }).unwrap();
    assert!(registry.schema(id).is_ok());
}

#[test]
fn what_answers_may_be_no_registry() {
    let server = SchemaRegistry::start();
    let mut options = options_for(&server);
    options.urls = vec![format!("{}/subjects/nothing", server.url())];
    // A 404 of an API, but of a path that is not there: it carries a code too. Not JSON does not.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(
                b"HTTP/1.1 404 .\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>",
            );
        }
    });
    options.urls = vec![format!("http://{address}")];
    let error = Registry::new(options).unwrap().schema(1).unwrap_err();
    assert!(matches!(&error, RegistryError::Answer { .. }), "{error}");
    assert!(error.is_transient());
}

#[test]
fn credentials_are_shown_to_the_registry_only() {
    let credentials = client::base64(b"key:s3cret\xc3\xa9");
    let server = SchemaRegistry::start_with_auth(&credentials);
    let id = server.add("s", "AVRO", "\"int\"", &[]);
    let denied = registry_for(&server).schema(id).unwrap_err();
    assert!(matches!(&denied, RegistryError::Denied { status: 401, .. }), "{denied}");
    assert!(!denied.is_transient());
    let auth = RegistryAuth::Basic { user: "key".to_owned(), password: "s3cret\u{e9}".to_owned() };
    let options = RegistryOptions { auth, ..options_for(&server) };
    assert!(!format!("{options:?}").contains("s3cret"));
    let registry = Registry::new(options).unwrap();
    assert!(!format!("{registry:?}").contains("s3cret"));
    assert!(registry.schema(id).is_ok());
}

#[test]
fn options_that_cannot_work_are_refused() {
    let server = SchemaRegistry::start();
    let with = |urls: &[&str]| RegistryOptions {
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        ..options_for(&server)
    };
    for options in [
        with(&[]),
        with(&["registry:8081"]),
        with(&["ftp://registry"]),
        with(&["http://user:secret@registry"]),
        with(&["http://registry?x=1"]),
        RegistryOptions { attempts: 0, ..with(&["http://r"]) },
        RegistryOptions { auth: RegistryAuth::Bearer("a\nb".to_owned()), ..with(&["http://r"]) },
        RegistryOptions { ca: Some("nothing".to_owned()), ..with(&["https://r"]) },
    ] {
        match Registry::new(options) {
            Err(RegistryError::Options(problem)) => assert!(!problem.contains("secret")),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn base64_is_that_of_the_rfc() {
    for (bytes, text) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ] {
        assert_eq!(client::base64(bytes.as_bytes()), text);
    }
}

#[test]
fn frames_are_a_zero_and_an_id() {
    assert_eq!(framed(&[0, 0, 0, 1, 2]), Ok(258));
    assert_eq!(framed(&[0, 0xff, 0xff, 0xff, 0xff, 9]), Ok(u32::MAX));
    for (payload, code) in
        [(&b""[..], "empty"), (b"\0\0\0\x01", "truncated"), (b"{\"a\":1}", "framing")]
    {
        assert_eq!(framed(payload).unwrap_err().code(), code);
    }
}
