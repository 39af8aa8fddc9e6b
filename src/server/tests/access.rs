//! Who is let in.

use super::*;
use crate::config::Secret;

const TOKEN: &str = "a-token-of-24-characters";

fn settings() -> ServerSettings {
    ServerSettings {
        enabled: true,
        listen: "127.0.0.1:0".parse().expect("an address"),
        token: Some(Secret::new(TOKEN)),
        allow_remote: false,
        public_metrics: false,
        hosts: Vec::new(),
        tls: None,
        sql: ServerOptions::local(([127, 0, 0, 1], 0).into()).sql,
    }
}

fn start_with(settings: &ServerSettings) -> ServerHandle {
    let state = ServerState::new(handle(), vec![PipelineProgress::new("weblogs")]);
    start(ServerOptions::from(settings), state).expect("it starts")
}

fn ask(server: &ServerHandle, path: &str, headers: &[&str]) -> Answer {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let head = format!("GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
    raw(server, head.as_bytes())
}

#[test]
fn without_the_token_only_what_holds_no_data_is_given() {
    let server = start_with(&settings());
    let (host, right) = ("Host: localhost", format!("Authorization: Bearer {TOKEN}"));
    let closed = [
        "/metrics",
        "/api/v1/pipelines",
        "/api/v1/pipelines/weblogs",
        "/api/v1/pipelines/weblogs/graph",
        "/api/v1/queries/x/rows",
        "/api/v1/tables",
        "/nope",
    ];
    for path in closed {
        for headers in [&[host][..], &[host, "Authorization: Bearer wrong-token-of-24-chars."]] {
            let answer = ask(&server, path, headers);
            assert_eq!(answer.status, 401, "{path}");
            assert!(answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
            assert!(!answer.body.contains("weblogs"), "{}", answer.body);
            assert!(!answer.body.contains(TOKEN), "{}", answer.body);
        }
        assert_ne!(ask(&server, path, &[host, &right]).status, 401, "{path}");
    }
    assert_eq!(ask(&server, "/healthz", &[host]).status, 200);
    let page = ask(&server, "/", &[host, "Accept: text/html"]);
    assert_eq!(page.status, 200);
    assert!(!ask(&server, "/", &[host]).body.contains("weblogs"), "no names for everyone");
    // A probe learns yes or no, and who has the token why.
    let probe = ask(&server, "/readyz", &[host]);
    assert_eq!((probe.status, probe.json()), (503, serde_json::json!({"ready": false})));
    assert!(ask(&server, "/readyz", &[host, &right]).json()["pipelines"].is_array());
    server.stop();

    let open = ServerSettings { public_metrics: true, ..settings() };
    let server = start_with(&open);
    assert_eq!(ask(&server, "/metrics", &[host]).status, 200);
    assert_eq!(ask(&server, "/api/v1/pipelines", &[host]).status, 401);
}

#[test]
fn a_page_of_somebody_else_cannot_read_this_server_by_its_own_name() {
    let server = serve(vec![PipelineProgress::new("weblogs")]);
    for path in ["/", "/metrics", "/api/v1/pipelines", "/healthz"] {
        let rebound = ask(&server, path, &["Host: evil.example:9898"]);
        assert_eq!(rebound.status, 421, "{path}");
        assert!(
            rebound.json()["error"]["message"].as_str().is_some_and(|m| m.contains("server.hosts"))
        );
        assert_eq!(ask(&server, path, &["Host: 127.0.0.1:9898"]).status, 200, "{path}");
    }
    // A name in the request line counts more than the header.
    let whole =
        "GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(&server, whole.as_bytes()).status, 421);
    let named =
        ServerSettings { token: None, hosts: vec!["pond.example".to_owned()], ..settings() };
    let server = start_with(&named);
    assert_eq!(ask(&server, "/healthz", &["Host: pond.example:80"]).status, 200);
}

#[test]
fn it_is_not_open_to_others_by_mistake() {
    let anywhere = "0.0.0.0:0".parse().expect("an address");
    let open = ServerSettings { token: None, listen: anywhere, ..settings() };
    let state = || ServerState::new(handle(), Vec::new());
    let error = start(ServerOptions::from(&open), state()).expect_err("nobody said that it may");
    assert!(matches!(error, ServerError::Open { .. }));
    let text = error.to_string();
    assert!(text.contains("server.token") && text.contains("server.allow_remote"), "{text}");

    let guarded = ServerSettings { listen: anywhere, ..settings() };
    start(ServerOptions::from(&guarded), state()).expect("a token keeps others out").stop();
    let told = ServerSettings { allow_remote: true, ..open };
    start(ServerOptions::from(&told), state()).expect("it was told to").stop();
}

#[test]
fn every_response_tells_browsers_to_be_strict() {
    let server = serve(Vec::new());
    for (path, accept) in
        [("/", "text/html"), ("/page/app.js", "*/*"), ("/healthz", "*/*"), ("/nope", "*/*")]
    {
        let answer = ask(&server, path, &["Host: localhost", &format!("Accept: {accept}")]);
        for header in [
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
            "content-security-policy: default-src 'none'",
        ] {
            assert!(answer.head.contains(header), "{path}: no {header} in {}", answer.head);
        }
        assert!(!answer.head.contains("access-control-"), "{}", answer.head);
        assert!(!answer.head.contains("unsafe"), "{}", answer.head);
        assert!(!answer.head.contains("set-cookie"), "{}", answer.head);
    }
}
