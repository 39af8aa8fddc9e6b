//! The keys of a sink of `type = "postgres"`.

use std::time::Duration;

use super::super::diagnostics::ConfigError;
use super::super::model::{
    OutputMode, PostgresConnection, PostgresMode, PostgresSinkSettings, PostgresTls,
};
use super::super::section::Section;
use super::super::source::port;
use super::key;

const PARTS: [&str; 5] = ["host", "port", "user", "password", "database"];

pub(super) fn read(section: &Section<'_>, query: OutputMode) -> Option<PostgresSinkSettings> {
    let connection = connection(section);
    let table = table(section);
    let default = match query {
        OutputMode::Update => PostgresMode::Upsert,
        OutputMode::Append | OutputMode::Complete => PostgresMode::Append,
    };
    let mode = match section.entry("mode") {
        None => default,
        Some(entry) => {
            let chosen = section.choose(
                "mode",
                &entry.node,
                &[("append", PostgresMode::Append), ("upsert", PostgresMode::Upsert)],
                &[
                    ("update", "write \"upsert\": rows replace those of the same key"),
                    ("overwrite", "that is what the query's mode `complete` does"),
                    ("complete", "it is the query's mode that says so"),
                ],
            );
            // Whether a key fits cannot be said of a mode that is not known.
            chosen.unwrap_or(PostgresMode::Upsert)
        }
    };
    let key = key(section, mode == PostgresMode::Upsert, "mode = \"upsert\"");
    let create_table = section.boolean("create_table", true);
    let tls = tls(section);
    let ca_file = section.file("ca_file", "the path of a file of certificates, PEM");
    if tls != Some(PostgresTls::Verify) {
        let message = "has no effect: certificates are not checked";
        section.forbid(&["ca_file"], message, "`tls = \"verify\"`, or no `ca_file`");
    }
    let second = Duration::from_secs(1);
    let timeout = |key, default| section.duration(key, default, second, 3600 * second);
    let connect_timeout = timeout("connect_timeout", 10 * second);
    let lock_timeout = timeout("lock_timeout", 30 * second);
    Some(PostgresSinkSettings {
        connection: connection?,
        table: table?,
        mode,
        key,
        create_table,
        tls,
        ca_file,
        connect_timeout,
        lock_timeout,
    })
}

fn tls(section: &Section<'_>) -> Option<PostgresTls> {
    let entry = section.entry("tls")?;
    section.choose(
        "tls",
        &entry.node,
        &[
            ("disable", PostgresTls::Disable),
            ("prefer", PostgresTls::Prefer),
            ("require", PostgresTls::Require),
            ("verify", PostgresTls::Verify),
        ],
        &[
            ("true", "write \"verify\", or \"require\" for a certificate that nobody signed"),
            ("false", "write \"disable\""),
            ("verify-full", "write \"verify\""),
            ("verify-ca", "write \"verify\": the server's name is checked too"),
            ("allow", "write \"prefer\""),
        ],
    )
}

fn connection(section: &Section<'_>) -> Option<PostgresConnection> {
    const URL: &str = "an address, such as \"postgres://user@localhost:5432/shop\"";
    if section.has("url") {
        section.forbid(&PARTS, "is given beside `url`", "one of them");
        let (url, known) = section.secret("url", URL)?;
        // Nothing of it is shown: it holds a password as likely as not.
        let help = if !known {
            None
        } else if url.expose().starts_with("jdbc:") {
            Some("without `jdbc:`".to_owned())
        } else if section.has("tls") && url.expose().contains("sslmode") {
            Some("it has an `sslmode`, which is what `tls` beside it says".to_owned())
        } else {
            match without_ssl(url.expose()).parse::<tokio_postgres::Config>() {
                Ok(config) if config.get_hosts().is_empty() => Some("it names no host".to_owned()),
                Ok(config) if config.get_dbname().is_none() => {
                    Some("it names no database".to_owned())
                }
                Ok(_) => None,
                Err(_) => Some("it is not one that PostgreSQL's clients can read".to_owned()),
            }
        };
        if help.is_some() {
            let error = ConfigError::new("this is not the address of a database");
            section.report("url", &section.location("url"), error.expected(URL).help(help));
            return None;
        }
        return Some(PostgresConnection::Url { url });
    }
    if PARTS.iter().all(|key| !section.has(key)) {
        section.missing("url", "\"${DATABASE_URL}\"");
        return None;
    }
    let host = section.required("host", "a name or an address", "\"localhost\"");
    let port = port(section, Some(5432));
    let user = section.required("user", "the name of a user", "\"millpond\"");
    let password = section.secret("password", "a password");
    let database = section.required("database", "the name of a database", "\"shop\"");
    Some(PostgresConnection::Parts {
        host: host?.text.to_owned(),
        port: port?,
        user: user?.text.to_owned(),
        password: password.map(|(password, _)| password),
        database: database?.text.to_owned(),
    })
}

/// The address without `sslmode` and `sslrootcert`, whose values the client library knows in part.
fn without_ssl(text: &str) -> String {
    let is_ssl = |pair: &str| {
        let key = pair.split('=').next().unwrap_or("").trim();
        matches!(key, "sslmode" | "sslrootcert")
    };
    match text.split_once('?') {
        Some((address, query)) if text.contains("://") => {
            let rest: Vec<&str> = query.split('&').filter(|pair| !is_ssl(pair)).collect();
            format!("{address}?{}", rest.join("&"))
        }
        _ if text.contains("://") => text.to_owned(),
        _ => {
            let rest: Vec<&str> = text.split_whitespace().filter(|pair| !is_ssl(pair)).collect();
            rest.join(" ")
        }
    }
}

fn table(section: &Section<'_>) -> Option<String> {
    const TABLE: &str = "the name of a table, such as \"sensor_stats\" or \"iot.sensor_stats\"";
    let found = section.required("table", TABLE, "\"sensor_stats\"")?;
    // PostgreSQL cuts longer names, and two of them might become one.
    let part = |part: &str| (1..=63).contains(&part.len()) && !part.contains('\0');
    let parts = found.text.split('.');
    // What stands in quotes may hold dots; the sink looks at it when it connects.
    let quoted = found.text.contains('"');
    if !found.unresolved && !quoted && (parts.clone().count() > 2 || !parts.clone().all(part)) {
        section.reject("table", found.node, TABLE, None);
        return None;
    }
    Some(found.text.to_owned())
}
