//! `[server]`: what is served over HTTP, to whom, and within which bounds.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::config::secret::Secret;
use crate::config::units::serialize_duration;

/// `[server]`: the page, metrics, health and API over HTTP.
#[derive(Clone, Debug, Serialize)]
pub struct ServerSettings {
    pub enabled: bool,
    /// Default 127.0.0.1:9898.
    pub listen: SocketAddr,
    /// `token`: what a request has to bring as `Authorization: Bearer ...`. Absent: there is no
    /// authentication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// Must be set before `listen` may be anything but a loopback address without a token.
    pub allow_remote: bool,
    /// With a token: `/metrics` may be read without it.
    pub public_metrics: bool,
    /// `hosts`: the names by which a request may call this server, beside addresses and
    /// `localhost`; in lower case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// `[server.tls]`: HTTPS instead of HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSettings>,
    /// `[server.sql]`
    pub sql: SqlBoxSettings,
}

/// `[server.tls]`: a certificate and its key, read again when the files change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TlsSettings {
    /// PEM: the certificate, and after it those that it rests on.
    pub cert: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
}

/// `[server.sql]`: statements over the tables, read-only, from the page and the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SqlBoxSettings {
    pub enabled: bool,
    /// A statement that takes longer is cancelled. Default 30 s.
    #[serde(serialize_with = "serialize_duration")]
    pub timeout: Duration,
    /// Rows of an answer; what is beyond is cut off, and the answer says so. Default 1,000.
    pub max_rows: usize,
    /// Statements at a time; one more is refused. Default 2.
    pub max_concurrent: usize,
    /// Bytes that all statements together may hold. Default 256 MiB.
    pub memory: usize,
}
