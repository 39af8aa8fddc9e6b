//! From an address to a connection.

use std::str::FromStr;

use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use url::Url;

use super::PostgresOptions;
use super::errors::classify;
use super::tls::{Verify, client_config};
use crate::sink::error::SinkError;

/// Connects, as often as it is asked to.
pub(super) struct Connector {
    config: Config,
    tls: Option<MakeRustlsConnect>,
}

/// What of an address tokio-postgres does not know.
#[derive(Default)]
struct Ssl {
    mode: Option<String>,
    root_certificate: Option<String>,
}

impl Connector {
    pub fn new(options: &PostgresOptions, sink: &str) -> Result<Self, SinkError> {
        let unusable = |reason: String| SinkError::definition(sink, format!("`url`: {reason}"));
        let (address, ssl) = take_ssl(&options.url).map_err(unusable)?;
        // The error names the option, never its value.
        let mut config =
            Config::from_str(&address).map_err(|e| unusable(crate::sink::error::chain(&e)))?;
        if config.get_hosts().is_empty() {
            return Err(unusable("it names no host".to_owned()));
        }
        if config.get_user().is_none() {
            return Err(unusable("it names no user".to_owned()));
        }
        if config.get_application_name().is_none() {
            config.application_name("millpond");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(options.connect_timeout);
        }
        // A server that went away without a word is noticed within the minute.
        config.tcp_user_timeout(std::time::Duration::from_secs(60));
        let (mode, verify) = match ssl.mode.as_deref() {
            None | Some("prefer" | "allow") => (SslMode::Prefer, Verify::Nothing),
            Some("disable") => (SslMode::Disable, Verify::Nothing),
            // As libpq: with a root certificate, `require` means `verify-ca`.
            Some("require") if ssl.root_certificate.is_some() => {
                (SslMode::Require, Verify::Authority)
            }
            Some("require") => (SslMode::Require, Verify::Nothing),
            Some("verify-ca") => (SslMode::Require, Verify::Authority),
            Some("verify-full") => (SslMode::Require, Verify::Host),
            Some(other) => {
                return Err(unusable(format!(
                    "sslmode is '{other}'; it may be disable, prefer, require, verify-ca or verify-full"
                )));
            }
        };
        config.ssl_mode(mode);
        let tls = match mode {
            SslMode::Disable => None,
            _ => Some(MakeRustlsConnect::new(
                client_config(verify, ssl.root_certificate.as_deref()).map_err(unusable)?,
            )),
        };
        Ok(Self { config, tls })
    }

    /// A new connection; a task of the runtime sees to its traffic until the client is dropped.
    pub async fn connect(&self, target: &str) -> Result<Client, SinkError> {
        let failed = |e: tokio_postgres::Error| classify("connect", target, &e);
        // Dropping the connection ends what waits for it, with an error of its own.
        match &self.tls {
            Some(tls) => {
                let (client, connection) =
                    self.config.connect(tls.clone()).await.map_err(failed)?;
                drop(tokio::spawn(connection));
                Ok(client)
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await.map_err(failed)?;
                drop(tokio::spawn(connection));
                Ok(client)
            }
        }
    }
}

/// Host, port and database of an address, for people.
pub(super) fn shown(url: &str) -> Option<String> {
    let (address, _) = take_ssl(url).ok()?;
    let config = Config::from_str(&address).ok()?;
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(place, host)| {
            let port = config.get_ports().get(place).or(config.get_ports().first());
            let port = port.copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(path) => path.display().to_string(),
            }
        })
        .collect();
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    (!hosts.is_empty()).then(|| format!("{}/{database}", hosts.join(",")))
}

/// Takes `sslmode` and `sslrootcert` out of an address: tokio-postgres knows three modes and no
/// certificates.
fn take_ssl(address: &str) -> Result<(String, Ssl), String> {
    let mut ssl = Ssl::default();
    if address.starts_with("postgres://") || address.starts_with("postgresql://") {
        let Some((base, query)) = address.split_once('?') else {
            return Ok((address.to_owned(), ssl));
        };
        // The address itself may have several hosts, which no URL has; only its query is read.
        let parsed = Url::parse(&format!("postgres://host/?{query}"))
            .map_err(|_| "its part after '?' is no query".to_owned())?;
        let mut rest = Vec::new();
        for (key, value) in parsed.query_pairs() {
            match &*key {
                "sslmode" => ssl.mode = Some(value.into_owned()),
                "sslrootcert" => ssl.root_certificate = Some(value.into_owned()),
                _ => rest.push((key, value)),
            }
        }
        if rest.is_empty() {
            return Ok((base.to_owned(), ssl));
        }
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        // tokio-postgres decodes `%20` and takes `+` as it is.
        let query = query.extend_pairs(rest).finish().replace('+', "%20");
        return Ok((format!("{base}?{query}"), ssl));
    }
    // `key = 'value'` pairs; a value in quotes may hold blanks and the words looked for here.
    let mut kept = String::with_capacity(address.len());
    for (key, raw, value) in pairs(address) {
        match key {
            "sslmode" => ssl.mode = Some(value),
            "sslrootcert" => ssl.root_certificate = Some(value),
            _ => {
                kept.push_str(raw);
                kept.push(' ');
            }
        }
    }
    Ok((kept, ssl))
}

/// The pairs of a keyword address: key, the text of the pair, the value without quotes. What cannot
/// be understood is given back as a pair without a key, for the parser proper to complain about.
fn pairs(text: &str) -> Vec<(&str, &str, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let Some(equals) = rest.find('=') else {
            found.push(("", rest, String::new()));
            break;
        };
        let key = rest[..equals].trim();
        let after = rest[equals + 1..].trim_start();
        let start = rest.len() - after.len();
        let mut value = String::new();
        let mut end = rest.len();
        let quoted = after.starts_with('\'');
        let mut characters = after.char_indices().skip(usize::from(quoted));
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => value.extend(characters.next().map(|(_, c)| c)),
                '\'' if quoted => {
                    end = start + at + 1;
                    break;
                }
                c if c.is_whitespace() && !quoted => {
                    end = start + at;
                    break;
                }
                c => value.push(c),
            }
        }
        found.push((key, &rest[..end], value));
        rest = rest[end..].trim_start();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::postgres::PostgresWrite;

    fn connector(url: &str) -> Result<Connector, SinkError> {
        Connector::new(&PostgresOptions::new(url, "t", PostgresWrite::Append), "out")
    }

    #[test]
    fn both_kinds_of_address_are_understood() {
        for url in [
            "postgres://u:p%40ss@db.example:5433/shop?sslmode=verify-full&options=-c%20x%3D1",
            "host=db.example port=5433 user=u password='p@s s' dbname=shop sslmode = 'verify-full'",
        ] {
            let connector = connector(url).unwrap();
            assert_eq!(connector.config.get_ssl_mode(), SslMode::Require, "{url}");
            assert_eq!(connector.config.get_dbname(), Some("shop"));
            assert_eq!(shown(url).as_deref(), Some("db.example:5433/shop"));
        }
        let one = connector("postgres://u@h/d?options=-c%20a%3Db&sslmode=disable").unwrap();
        assert_eq!(one.config.get_options(), Some("-c a=b"));
        assert!(one.tls.is_none());
        let quoted = connector("host=h user=u password='sslmode=require it''s'").unwrap_err_or_ok();
        assert_ne!(quoted, Some(SslMode::Require));
    }

    trait UnwrapErrOrOk {
        fn unwrap_err_or_ok(self) -> Option<SslMode>;
    }

    impl UnwrapErrOrOk for Result<Connector, SinkError> {
        fn unwrap_err_or_ok(self) -> Option<SslMode> {
            self.ok().map(|connector| connector.config.get_ssl_mode())
        }
    }

    #[test]
    fn bad_addresses_are_refused_without_showing_them() {
        for (url, words) in [
            ("postgres://u:secret@h/d?sslmode=always", "sslmode is 'always'"),
            ("postgres:///d?user=u", "names no host"),
            ("host=h password=secret", "names no user"),
            ("host=h user=u password=secret port=x", "port"),
            (
                "host=h user=u sslmode=verify-full sslrootcert=/nowhere.pem password=secret",
                "/nowhere.pem",
            ),
            ("nonsense secret", "`url`"),
        ] {
            let error = connector(url).err().unwrap().to_string();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
