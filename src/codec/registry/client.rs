//! HTTP to the registry: tries, pauses, and what an answer means.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::Response;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

use super::{RegistryAuth, RegistryError, RegistryOptions};

/// Schemas of more than this are refused.
const MAX_ANSWER: u64 = 16 << 20;

/// The pause after the first failure; it doubles.
const PAUSE: Duration = Duration::from_millis(100);

const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// Where Linux distributions keep the certificate authorities they trust.
const SYSTEM_CERTIFICATES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

pub(super) struct Client {
    agent: Agent,
    urls: Vec<String>,
    /// The address that answered last.
    preferred: AtomicUsize,
    authorization: Option<String>,
    attempts: u32,
}

/// An answer that is of no use, and whether another may be.
struct Failure {
    error: RegistryError,
    again: bool,
}

impl Client {
    pub fn new(options: RegistryOptions) -> Result<Self, RegistryError> {
        let refuse = |problem: String| Err(RegistryError::Options(problem));
        if options.urls.is_empty() {
            return refuse("a schema registry needs an address".to_owned());
        }
        let mut urls = Vec::with_capacity(options.urls.len());
        for text in &options.urls {
            match url::Url::parse(text) {
                Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                    if url.query().is_some() || url.fragment().is_some() {
                        return refuse(format!("{text}: an address has no query and no fragment"));
                    }
                    if !url.username().is_empty() || url.password().is_some() {
                        // Shown in errors and logs, where no secret may be.
                        return refuse("user and password do not belong into the address".into());
                    }
                    urls.push(text.trim_end_matches('/').to_owned());
                }
                _ => return refuse(format!("{text} is not an http:// or https:// address")),
            }
        }
        if options.attempts == 0 || options.timeout.is_zero() {
            return refuse("attempts and timeout must be above zero".to_owned());
        }
        let authorization = match &options.auth {
            RegistryAuth::None => None,
            RegistryAuth::Basic { user, .. } if user.contains(':') => {
                return refuse("a user's name cannot contain a colon".to_owned());
            }
            RegistryAuth::Basic { user, password } => {
                Some(format!("Basic {}", base64(format!("{user}:{password}").as_bytes())))
            }
            RegistryAuth::Bearer(token) if token.bytes().all(|b| b.is_ascii_graphic()) => {
                Some(format!("Bearer {token}"))
            }
            RegistryAuth::Bearer(_) => {
                return refuse("the bearer token has characters that no header can".to_owned());
            }
        };
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(options.timeout))
            .user_agent(concat!("millpond/", env!("CARGO_PKG_VERSION")));
        if urls.iter().any(|url| url.starts_with("https://")) {
            config = config.tls_config(tls(options.ca.as_deref()).map_err(RegistryError::Options)?);
        }
        Ok(Self {
            agent: config.build().new_agent(),
            urls,
            preferred: AtomicUsize::new(0),
            authorization,
            attempts: options.attempts,
        })
    }

    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// How long the pauses between `attempts` are in all.
    pub fn pauses(attempts: u32) -> Duration {
        (1..attempts).map(pause).sum()
    }

    pub fn get(&self, path: &str, what: &str) -> Result<Value, RegistryError> {
        self.ask(what, |url| {
            let mut request = self.agent.get(format!("{url}{path}")).header("accept", CONTENT_TYPE);
            if let Some(authorization) = &self.authorization {
                request = request.header("authorization", authorization);
            }
            request.call()
        })
    }

    pub fn post(&self, path: &str, body: &Value, what: &str) -> Result<Value, RegistryError> {
        self.ask(what, |url| {
            let mut request = self
                .agent
                .post(format!("{url}{path}"))
                .header("accept", CONTENT_TYPE)
                .header("content-type", CONTENT_TYPE);
            if let Some(authorization) = &self.authorization {
                request = request.header("authorization", authorization);
            }
            request.send(body.to_string())
        })
    }

    /// Asks each address in turn, several times over, until one gives an answer that counts.
    fn ask(
        &self,
        what: &str,
        call: impl Fn(&str) -> Result<Response<ureq::Body>, ureq::Error>,
    ) -> Result<Value, RegistryError> {
        let mut failed = None;
        for attempt in 0..self.attempts {
            if attempt > 0 {
                std::thread::sleep(pause(attempt));
            }
            let first = self.preferred.load(Ordering::Relaxed);
            for step in 0..self.urls.len() {
                let index = (first + step) % self.urls.len();
                let url = &self.urls[index];
                match judge(url, what, call(url)) {
                    Ok(answer) => {
                        self.preferred.store(index, Ordering::Relaxed);
                        return Ok(answer);
                    }
                    Err(failure) if failure.again => failed = Some(failure.error),
                    Err(failure) => return Err(failure.error),
                }
            }
        }
        Err(failed.unwrap_or_else(|| self.nonsense("nothing was asked")))
    }

    /// An answer of the API that it cannot give.
    pub fn nonsense(&self, reason: &str) -> RegistryError {
        let index = self.preferred.load(Ordering::Relaxed);
        let url = self.urls.get(index).cloned().unwrap_or_default();
        RegistryError::Answer { url, reason: reason.to_owned() }
    }
}

fn pause(attempt: u32) -> Duration {
    PAUSE * 2u32.saturating_pow(attempt.saturating_sub(1)).min(64)
}

/// What an answer means.
fn judge(
    url: &str,
    what: &str,
    answer: Result<Response<ureq::Body>, ureq::Error>,
) -> Result<Value, Failure> {
    let (url, what) = (url.to_owned(), what.to_owned());
    let unavailable = |reason: String| Failure {
        error: RegistryError::Unavailable { url: url.clone(), reason },
        again: true,
    };
    let mut response = answer.map_err(|error| unavailable(error.to_string()))?;
    let status = response.status().as_u16();
    let text = match response.body_mut().with_config().limit(MAX_ANSWER).read_to_string() {
        Ok(text) => text,
        Err(error) => return Err(unavailable(error.to_string())),
    };
    let body: Option<Value> = serde_json::from_str(&text).ok();
    if status == 200 {
        return body.ok_or_else(|| Failure {
            error: RegistryError::Answer { url, reason: "not JSON".to_owned() },
            again: true,
        });
    }
    // {"error_code": 40403, "message": "Schema not found"}
    let code = body.as_ref().and_then(|body| body.get("error_code")).and_then(Value::as_u64);
    let message = body.as_ref().and_then(|body| body.get("message")).and_then(Value::as_str);
    let reason = match message {
        Some(message) => message.chars().take(500).collect(),
        None => format!("HTTP {status}"),
    };
    let error = match (status, code) {
        (401 | 403, _) => RegistryError::Denied { url, status, reason },
        // 40401 subject, 40402 version, 40403 schema. Without a code it is no registry's answer.
        (404, Some(_)) => RegistryError::NotFound { what },
        (409 | 422, _) => RegistryError::Refused { what, status, reason },
        (408 | 429 | 500.., _) => return Err(unavailable(reason)),
        _ => {
            let error = RegistryError::Answer { url, reason };
            return Err(Failure { error, again: true });
        }
    };
    Err(Failure { error, again: false })
}

/// TLS that trusts these certificate authorities (PEM), or else the system's.
///
/// # Errors
/// In words, if there are none.
pub(crate) fn tls(ca: Option<&str>) -> Result<TlsConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let certificates = match ca {
        Some(pem) => certificates(pem.as_bytes()),
        None => {
            let named = std::env::var("SSL_CERT_FILE").ok();
            let files = named.as_deref().into_iter().chain(SYSTEM_CERTIFICATES);
            let found = files.filter_map(|file| std::fs::read(file).ok());
            found.map(|pem| certificates(&pem)).find(|found| !found.is_empty()).unwrap_or_default()
        }
    };
    if certificates.is_empty() {
        let problem = match ca {
            Some(_) => "the certificate authorities hold no certificate in PEM form",
            None => {
                "no certificate authorities were found on this system: install \
                 ca-certificates, or name a file of them with ca_file"
            }
        };
        return Err(problem.to_owned());
    }
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(provider)
        .root_certs(RootCerts::from(certificates))
        .build())
}

/// The certificates in a PEM text. What else is in it counts for nothing.
fn certificates(pem: &[u8]) -> Vec<Certificate<'static>> {
    parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect()
}

/// Standard base64, padded (RFC 4648, section 4).
pub(in crate::codec) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let group = u32::from_be_bytes(group);
        for position in 0..4 {
            match position <= chunk.len() {
                true => {
                    let index = group >> (18 - 6 * position) & 0x3f;
                    text.push(char::from(ALPHABET[index as usize]));
                }
                false => text.push('='),
            }
        }
    }
    text
}
