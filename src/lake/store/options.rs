//! Options of object stores: which there are, and what they come to together with the environment.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::Provider;

/// What an option's value has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Boolean,
    Duration,
    Url,
    Text,
}

/// An option: its name, whose it is (`None`: everybody's), what its value is, and what the clients
/// call it.
struct Known {
    name: &'static str,
    provider: Option<Provider>,
    kind: Kind,
    key: &'static str,
}

const fn of(name: &'static str, provider: Provider, kind: Kind) -> Known {
    Known { name, provider: Some(provider), kind, key: name }
}

const fn all(name: &'static str, kind: Kind) -> Known {
    Known { name, provider: None, kind, key: name }
}

const KNOWN: &[Known] = &[
    all("endpoint", Kind::Url),
    all("allow_http", Kind::Boolean),
    all("skip_signature", Kind::Boolean),
    all("timeout", Kind::Duration),
    all("connect_timeout", Kind::Duration),
    all("proxy_url", Kind::Url),
    of("region", Provider::S3, Kind::Text),
    // Turned into its opposite, which is the clients' own.
    of(PATH_STYLE, Provider::S3, Kind::Boolean),
    of("virtual_hosted_style_request", Provider::S3, Kind::Boolean),
    of(ALLOW_UNSAFE_RENAME, Provider::S3, Kind::Boolean),
    of("s3_express", Provider::S3, Kind::Boolean),
    of("unsigned_payload", Provider::S3, Kind::Boolean),
    of("request_payer", Provider::S3, Kind::Boolean),
    of("imdsv1_fallback", Provider::S3, Kind::Boolean),
    of("disable_tagging", Provider::S3, Kind::Boolean),
    of("server_side_encryption", Provider::S3, Kind::Text),
    of("sse_kms_key_id", Provider::S3, Kind::Text),
    of("sse_bucket_key_enabled", Provider::S3, Kind::Boolean),
    of("account_name", Provider::Azure, Kind::Text),
    of("use_emulator", Provider::Azure, Kind::Boolean),
    of("use_fabric_endpoint", Provider::Azure, Kind::Boolean),
    of("use_azure_cli", Provider::Azure, Kind::Boolean),
    of("tenant_id", Provider::Azure, Kind::Text),
    of("client_id", Provider::Azure, Kind::Text),
    of("authority_host", Provider::Azure, Kind::Url),
    of("object_id", Provider::Azure, Kind::Text),
    of("msi_resource_id", Provider::Azure, Kind::Text),
];

const PATH_STYLE: &str = "path_style";
const ALLOW_UNSAFE_RENAME: &str = "allow_unsafe_rename";

/// Other names for the same, as deltalake and the vendors' tools have them.
const ALIASES: &[(&str, &str)] = &[
    ("endpoint_url", "endpoint"),
    ("endpoint_url_s3", "endpoint"),
    ("base_url", "endpoint"),
    ("default_region", "region"),
    ("s3_allow_unsafe_rename", ALLOW_UNSAFE_RENAME),
    ("authority_id", "tenant_id"),
    ("account", "account_name"),
    ("service_account_path", "service_account"),
    // Not allowed in a configuration; variables that Azure's own command line reads.
    ("key", "account_key"),
    ("access_key", "account_key"),
    ("master_key", "account_key"),
    ("sas_key", "sas_token"),
    ("bearer_token", "token"),
];

/// Prefixes with which an option is one store's only; the longer ones first.
const PREFIXES: &[(&str, Provider)] = &[
    ("aws_", Provider::S3),
    ("azure_storage_", Provider::Azure),
    ("azure_", Provider::Azure),
    ("google_", Provider::Gcs),
];

/// What is wrong with an option.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OptionProblem {
    /// Its name, or its value, is that of a secret.
    #[error("credentials do not belong into a configuration")]
    Secret {
        /// Where it belongs.
        help: String,
    },
    /// No store has such an option.
    #[error("there is no such storage option")]
    Unknown {
        /// The names that there are, prefixes left out.
        names: Vec<&'static str>,
    },
    /// The value is not what this option takes.
    #[error("this is not {expected}")]
    Value {
        /// What it takes.
        expected: &'static str,
    },
}

/// Whether a configuration may hold this option, with this value. The same for all stores, since a
/// configuration may name options for several.
///
/// # Errors
/// What is wrong with it. The value is not repeated.
pub fn check_option(name: &str, value: &str) -> Result<(), OptionProblem> {
    let (prefix, bare) = split(name);
    let known = KNOWN.iter().find(|known| {
        known.name == bare && (prefix.is_none() || known.provider.is_none_or(|p| Some(p) == prefix))
    });
    let Some(known) = known else {
        return Err(if names_secret(&bare) {
            OptionProblem::Secret { help: environment_help(prefix, &bare) }
        } else {
            OptionProblem::Unknown { names: KNOWN.iter().map(|known| known.name).collect() }
        });
    };
    let user = url::Url::parse(value)
        .is_ok_and(|url| !url.username().is_empty() || url.password().is_some());
    if user || looks_secret(value) {
        return Err(OptionProblem::Secret { help: environment_help(prefix, &bare) });
    }
    let fits = match known.kind {
        Kind::Boolean => boolean(value).is_some(),
        Kind::Duration => duration(value).is_some(),
        Kind::Url => url::Url::parse(value)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some()),
        Kind::Text => !value.trim().is_empty(),
    };
    let expected = match known.kind {
        Kind::Boolean => "true or false",
        Kind::Duration => "a duration, such as \"30s\" or \"2 minutes\"",
        Kind::Url => "an http:// or https:// URL",
        Kind::Text => "a text that is not empty",
    };
    if fits { Ok(()) } else { Err(OptionProblem::Value { expected }) }
}

/// The store that a name's prefix names, and the name without it, without aliases.
fn split(name: &str) -> (Option<Provider>, String) {
    let lower = name.to_ascii_lowercase();
    let (provider, bare) = PREFIXES
        .iter()
        .find_map(|(prefix, provider)| Some((Some(*provider), lower.strip_prefix(prefix)?)))
        .unwrap_or((None, &lower));
    let alias = ALIASES.iter().find(|(alias, _)| *alias == bare);
    (provider, alias.map_or(bare, |(_, name)| name).to_owned())
}

/// Rather too often than too seldom; options that are known are asked for first.
fn names_secret(name: &str) -> bool {
    ["secret", "password", "passphrase", "token", "key", "credential", "sas", "service_account"]
        .iter()
        .any(|word| name.contains(word))
}

/// Whether a text is a secret by its look: an AWS access key, a private key, a shared access
/// signature, Azure's connection string.
pub fn looks_secret(value: &str) -> bool {
    let access_key = value.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| {
        word.len() == 20
            && (word.starts_with("AKIA") || word.starts_with("ASIA"))
            && word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
    });
    access_key
        || value.contains("-----BEGIN")
        || value.contains("private_key")
        || value.contains("sig=")
        || value.contains("AccountKey=")
}

fn environment_help(provider: Option<Provider>, name: &str) -> String {
    let provider = provider.or_else(|| {
        let azure = ["account_key", "access_key", "sas", "client_secret", "master_key", "bearer"];
        let amazon = ["access_key_id", "secret_access_key", "session_token"];
        if amazon.contains(&name) {
            Some(Provider::S3)
        } else if name.contains("service_account") || name.contains("application") {
            Some(Provider::Gcs)
        } else {
            azure.iter().any(|word| name.contains(word)).then_some(Provider::Azure)
        }
    });
    let set = |names: &str| format!("set them in the daemon's environment: {names}");
    match provider {
        Some(Provider::S3) => set("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and \
                                   AWS_SESSION_TOKEN), or AWS_WEB_IDENTITY_TOKEN_FILE and \
                                   AWS_ROLE_ARN"),
        Some(Provider::Azure) => set("AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, or \
                                      AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET"),
        Some(Provider::Gcs) => {
            set("GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT, the \
                                    path of a file")
        }
        None => set("AWS_…, AZURE_… or GOOGLE_…"),
    }
}

pub(super) fn boolean(value: &str) -> Option<bool> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// In the clients' own words, of which `30s` is one and `2 minutes` another.
fn duration(value: &str) -> Option<String> {
    let value = value.trim();
    let digits = value.len() - value.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = value.split_at(digits);
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    let unit = match unit.trim() {
        "ms" | "millisecond" | "milliseconds" => "ms",
        "s" | "second" | "seconds" => "seconds",
        "m" | "min" | "minute" | "minutes" => "minutes",
        "h" | "hour" | "hours" => "hours",
        _ => return None,
    };
    Some(format!("{number} {unit}"))
}

/// What one store is to be told: options laid over the environment, by the clients' names.
#[derive(Debug)]
pub(super) struct Resolved {
    /// By the client's name, without prefix where the client knows it so.
    values: BTreeMap<String, String>,
    /// Commits are made without a conditional put.
    pub unguarded: bool,
}

impl Resolved {
    pub fn new(
        provider: Provider,
        options: &BTreeMap<String, String>,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        let mut values = BTreeMap::new();
        let mut unguarded = false;
        for (name, value) in environment {
            let (prefix, bare) = split(name);
            // An empty variable is how a container's manifest says that there is none.
            if prefix == Some(provider) && !value.is_empty() {
                match bare.as_str() {
                    // The address says which.
                    "bucket" | "bucket_name" | "container_name" => {}
                    ALLOW_UNSAFE_RENAME => unguarded = boolean(value) == Some(true),
                    // AWS_ENDPOINT_URL_S3 is meant for this more than AWS_ENDPOINT_URL is.
                    "endpoint" if values.contains_key("endpoint") && !name.ends_with("_S3") => {}
                    _ => {
                        values.insert(bare, value.clone());
                    }
                }
            }
        }
        // Two rounds: what is meant for this store alone is laid over what is meant for all.
        for general in [true, false] {
            for (name, value) in options {
                let (prefix, bare) = split(name);
                if prefix.is_none() != general || prefix.is_some_and(|other| other != provider) {
                    continue;
                }
                check_option(name, value).map_err(|problem| match problem {
                    OptionProblem::Secret { help } => format!("option {name}: {help}"),
                    other => format!("option {name}: {other}"),
                })?;
                let Some(known) = KNOWN.iter().find(|known| {
                    known.name == bare && known.provider.is_none_or(|owner| owner == provider)
                }) else {
                    // Another store's.
                    continue;
                };
                let is = || boolean(value).unwrap_or(false);
                match (known.name, known.kind) {
                    (ALLOW_UNSAFE_RENAME, _) => unguarded = is(),
                    (PATH_STYLE, _) => {
                        let virtual_hosted = (!is()).to_string();
                        values.insert("virtual_hosted_style_request".to_owned(), virtual_hosted);
                    }
                    (_, Kind::Duration) => {
                        let duration = duration(value).unwrap_or_else(|| value.clone());
                        values.insert(known.key.to_owned(), duration);
                    }
                    (_, Kind::Boolean) => {
                        values.insert(known.key.to_owned(), is().to_string());
                    }
                    _ => {
                        values.insert(known.key.to_owned(), value.trim().to_owned());
                    }
                }
            }
        }
        let resolved = Self { values, unguarded };
        if let Some(endpoint) = resolved.get("endpoint")
            && endpoint.starts_with("http://")
            && !resolved.is("allow_http")
            && !resolved.is("use_emulator")
        {
            return Err(format!(
                "its endpoint {endpoint} is not encrypted; set allow_http = true if that is meant"
            ));
        }
        Ok(resolved)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    pub fn is(&self, name: &str) -> bool {
        self.get(name).and_then(boolean).unwrap_or(false)
    }

    /// Gives a builder what it knows. Variables of the environment that it does not know are left
    /// out: there are many that are not meant for it.
    pub fn apply<B, K, E: Display>(
        &self,
        builder: B,
        parse: impl Fn(&str) -> Result<K, E>,
        with: impl Fn(B, K, String) -> B,
    ) -> Result<B, String> {
        let mut builder = builder;
        for (name, value) in &self.values {
            // Google's client has another name for it than all others.
            let key = parse(name).or_else(|error| match name.as_str() {
                "endpoint" => parse("base_url"),
                _ => Err(error),
            });
            if let Ok(key) = key {
                builder = with(builder, key, value.clone());
            }
        }
        Ok(builder)
    }
}
