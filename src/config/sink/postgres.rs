//! The keys of a sink of `type = "postgres"`.

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
    let unknown = PostgresMode::Upsert;
    let mode = section
        .entry("mode")
        .map_or(Some(PostgresMode::Append), |entry| {
            section.choose(
                "mode",
                &entry.node,
                &[("append", PostgresMode::Append), ("upsert", PostgresMode::Upsert)],
                &[
                    (
                        "update",
                        "write \"upsert\": the query's own `mode` says which rows there are",
                    ),
                    ("overwrite", "write \"upsert\": rows replace those of the same key"),
                ],
            )
        })
        .unwrap_or(unknown);
    if mode == PostgresMode::Append && query == OutputMode::Complete {
        let error = ConfigError::new("the whole result would be inserted again at each trigger")
            .expected("`mode = \"upsert\"` in the sink, or the query's mode `append` or `update`");
        section.report("mode", &section.location("mode"), error);
    }
    let key = key(section, mode == PostgresMode::Upsert, "mode = \"upsert\"");
    let create_table = section.boolean("create_table", true);
    let tls = section.choice(
        "tls",
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
        PostgresTls::Prefer,
    );
    let ca_file = section.file("ca_file", "the path of a file of certificates, PEM");
    if tls != PostgresTls::Verify {
        let message = "has no effect: certificates are not checked";
        section.forbid(&["ca_file"], message, "`tls = \"verify\"`, or no `ca_file`");
    }
    let batch_rows = section.count("batch_rows", 1, 1_000_000).unwrap_or(10_000);
    Some(PostgresSinkSettings {
        connection: connection?,
        table: table?,
        mode,
        key,
        create_table,
        tls,
        ca_file,
        batch_rows,
    })
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
        } else if url.expose().contains("sslmode") {
            Some("`sslmode` is a key of its own: write `tls`".to_owned())
        } else {
            match url.expose().parse::<tokio_postgres::Config>() {
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

fn table(section: &Section<'_>) -> Option<String> {
    const TABLE: &str = "the name of a table, such as \"sensor_stats\" or \"iot.sensor_stats\"";
    let found = section.required("table", TABLE, "\"sensor_stats\"")?;
    // PostgreSQL cuts longer names, and two of them might become one.
    let part = |part: &str| (1..=63).contains(&part.len()) && !part.contains('\0');
    let parts = found.text.split('.');
    if !found.unresolved && (parts.clone().count() > 2 || !parts.clone().all(part)) {
        section.reject("table", found.node, TABLE, None);
        return None;
    }
    Some(found.text.to_owned())
}
