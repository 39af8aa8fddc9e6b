//! `[server]`: reading it, and refusing what would be open to others by mistake.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::diagnostics::ConfigError;
use super::model::{ServerSettings, SqlBoxSettings, TlsSettings};
use super::secret::Secret;
use super::section::Section;

/// Shorter tokens could be guessed, longer ones do not fit into a header that servers accept.
const TOKEN_LENGTH: std::ops::RangeInclusive<usize> = 16..=1024;

pub(super) fn read(section: &Section<'_>) -> ServerSettings {
    const EXPECTED: &str = "an address and a port, such as \"127.0.0.1:9898\"";
    let enabled = section.boolean("enabled", true);
    let allow_remote = section.boolean("allow_remote", false);
    let has_token = section.has("token");
    let token = token(section);
    let public_metrics = section.boolean("public_metrics", false);
    let hosts = hosts(section);
    let mut listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9898);
    if let Some(found) = section.string("listen", EXPECTED)
        && !found.unresolved
    {
        let text = match found.text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => found.text.to_owned(),
        };
        match text.parse() {
            Ok(address) => listen = address,
            Err(_) => section.reject("listen", found.node, EXPECTED, None),
        }
        // A token that is wrong is reported by itself.
        if enabled && !allow_remote && !has_token && !listen.ip().is_loopback() {
            let error = ConfigError::new("the server would be open to other machines")
                .expected("a loopback address, a `token`, or `allow_remote = true`")
                .help(
                    "set `token = \"${MILLPOND_TOKEN}\"`; without a token everyone who reaches \
                     this address can read the tables"
                        .to_owned(),
                );
            section.report("listen", &found.node.at, error);
        }
    }
    let tls = tls(section);
    let sql = sql(&section.section("sql"));
    section.finish();
    ServerSettings { enabled, listen, token, allow_remote, public_metrics, hosts, tls, sql }
}

fn token(section: &Section<'_>) -> Option<Secret> {
    const EXPECTED: &str = "16 to 1024 letters, digits and signs without blanks, such as \
                            \"${MILLPOND_TOKEN}\"";
    let (token, known) = section.secret("token", EXPECTED)?;
    let text = token.expose();
    // What a header can carry and a person can copy (RFC 6750 allows no more than a part of it).
    let valid = TOKEN_LENGTH.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if known && !valid {
        let error = ConfigError::new("this token cannot be used").expected(EXPECTED);
        let error = error.help("`openssl rand -hex 32` makes a good one".to_owned());
        section.report("token", &section.location("token"), error);
        return None;
    }
    Some(token)
}

fn hosts(section: &Section<'_>) -> Vec<String> {
    const EXPECTED: &str = "host names without port, such as \"millpond.example.com\"";
    let mut hosts = Vec::new();
    for found in section.strings("hosts", EXPECTED) {
        let name = found.text.trim().trim_end_matches('.').to_ascii_lowercase();
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if found.unresolved || name.chars().all(valid) {
            hosts.push(name);
        } else {
            section.reject("hosts", found.node, EXPECTED, None);
        }
    }
    hosts
}

fn tls(server: &Section<'_>) -> Option<TlsSettings> {
    const EXPECTED: &str = "the path of a PEM file";
    if !server.has("tls") {
        return None;
    }
    let section = server.section("tls");
    for (key, example) in
        [("cert", "\"/etc/millpond/tls.crt\""), ("key", "\"/etc/millpond/tls.key\"")]
    {
        if !section.has(key) {
            section.missing(key, example);
        }
    }
    let cert = section.file("cert", EXPECTED);
    let key = section.file("key", EXPECTED);
    section.finish();
    Some(TlsSettings { cert: cert?, key: key? })
}

fn sql(section: &Section<'_>) -> SqlBoxSettings {
    let settings = SqlBoxSettings {
        enabled: section.boolean("enabled", true),
        timeout: section.duration(
            "timeout",
            Duration::from_secs(30),
            Duration::from_millis(100),
            Duration::from_secs(3600),
        ),
        max_rows: section.count("max_rows", 1, 100_000).unwrap_or(1000),
        max_concurrent: section.count("max_concurrent", 1, 64).unwrap_or(2),
        memory: section.size("memory", 256 << 20, 16 << 20, 1 << 40),
    };
    section.finish();
    settings
}
