//! Object stores: S3 and what speaks its protocol, Azure Blob Storage, Google Cloud Storage.
//!
//! The clients are those of the crate `object_store`, put together here rather than by deltalake,
//! for four reasons. Credentials come from the environment only and are looked for once, when a
//! table is opened, with a bound on the time and an error that names the variables. Requests run
//! on a thread of their own, so that neither an actor that encodes nor one that is restarted
//! takes the connections with it. A request is tried again here for a moment only; what lasts
//! longer is the sink's to repeat, where everybody sees it. And a store that does not keep two
//! writers apart is found out before anything is written (`check_writable`).
//!
//! # Options
//! [`check_option`] has the names and the values. A name may begin with the store's own prefix
//! (`aws_`, `azure_`, `google_`) and then concerns that store only; case does not matter. What is
//! not set here is taken from the environment under the names that each vendor's own tools use
//! (`AWS_ENDPOINT_URL`, `AWS_REGION`, `AZURE_STORAGE_ACCOUNT_NAME`, ...).

mod credentials;
mod options;
mod probe;
mod redact;
#[cfg(test)]
mod tests;
mod unguarded;
mod upload;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use deltalake::logstore::object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use deltalake::logstore::object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use deltalake::logstore::object_store::client::SpawnedReqwestConnector;
use deltalake::logstore::object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use deltalake::logstore::object_store::{
    BackoffConfig, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig,
};
use url::Url;

use self::options::Resolved;
use self::unguarded::Unguarded;

pub use self::options::{OptionProblem, check_option, looks_secret};
pub(super) use self::probe::{check_credentials, check_writable};
pub(crate) use self::redact::redact;
pub(crate) use self::upload::upload;

/// Whose store it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provider {
    /// Amazon S3 and whatever speaks its protocol.
    S3,
    /// Azure Blob Storage and Data Lake Storage Gen2.
    Azure,
    /// Google Cloud Storage.
    Gcs,
}

/// The schemes of addresses, with the store that they belong to.
pub const SCHEMES: [(&str, Provider); 8] = [
    ("s3", Provider::S3),
    ("s3a", Provider::S3),
    ("az", Provider::Azure),
    ("abfs", Provider::Azure),
    ("abfss", Provider::Azure),
    ("adl", Provider::Azure),
    ("azure", Provider::Azure),
    ("gs", Provider::Gcs),
];

impl Provider {
    /// The store whose addresses begin with `scheme://`.
    pub fn of_scheme(scheme: &str) -> Option<Self> {
        SCHEMES.iter().find(|(known, _)| *known == scheme).map(|(_, provider)| *provider)
    }

    /// How messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::S3 => "S3",
            Self::Azure => "Azure Blob Storage",
            Self::Gcs => "Google Cloud Storage",
        }
    }

    /// What its addresses call the place where objects are.
    fn container(self) -> &'static str {
        match self {
            Self::S3 | Self::Gcs => "bucket",
            Self::Azure => "container",
        }
    }
}

/// How long a request is repeated before its error is reported: long enough for one slow answer
/// or one connection that was reset, short enough that an outage is seen as one.
fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(1),
            base: 2.0,
        },
        max_retries: 3,
        retry_timeout: Duration::from_secs(20),
    }
}

/// Where requests run: one thread for all stores. Connections belong to the runtime that opened
/// them, and a pipeline's own runtimes end with each of its generations.
static REQUESTS: LazyLock<std::io::Result<tokio::runtime::Runtime>> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("object-store")
        .enable_all()
        .build()
});

/// What can be said against an address without asking anybody.
pub(super) fn check_url(url: &Url, provider: Provider) -> Result<(), String> {
    let container = provider.container();
    let user_is_container = matches!(url.scheme(), "abfs" | "abfss")
        && url.host_str().is_some_and(|host| host.contains('.'));
    if url.password().is_some() || (!url.username().is_empty() && !user_is_container) {
        return Err("credentials do not belong into an address: they are taken from the \
                    environment"
            .to_owned());
    }
    if url.query().is_some() {
        return Err("it has a '?': a signature does not belong into an address, credentials are \
                    taken from the environment"
            .to_owned());
    }
    if url.fragment().is_some() {
        return Err("it has a '#', which is no part of an object's name".to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(format!(
            "it names no {container}; write {}://{container}/path/of/table",
            url.scheme()
        ));
    }
    if url.path().trim_matches('/').is_empty() {
        return Err(format!("it names a {container} and no path in it, where the table would be"));
    }
    Ok(())
}

/// The store that `url` is in. Neither the network nor a metadata service is asked.
///
/// # Errors
/// In words: an option that the store does not know, a file of credentials that cannot be read.
pub(super) fn build(
    url: &Url,
    provider: Provider,
    options: &BTreeMap<String, String>,
) -> Result<Arc<dyn ObjectStore>, String> {
    open(url, provider, options).map(|built| built.store.clone())
}

/// Stores by what tells one from another. Tables of one bucket share its connections and its
/// credentials, which a service may have to be asked for.
static OPEN: Mutex<BTreeMap<String, Arc<Built>>> = Mutex::new(BTreeMap::new());

fn open(
    url: &Url,
    provider: Provider,
    options: &BTreeMap<String, String>,
) -> Result<Arc<Built>, String> {
    let identity = identity(url, provider, options);
    // A panic while it was held leaves a map that is whole.
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(built) = open.get(&identity) {
        return Ok(built.clone());
    }
    let built = Arc::new(build_with(url, provider, options, &credentials::environment())?);
    open.insert(identity, built.clone());
    Ok(built)
}

/// What tells one store from another in this process.
fn identity(url: &Url, provider: Provider, options: &BTreeMap<String, String>) -> String {
    let mut words = vec![
        provider.name().to_owned(),
        url.username().to_owned(),
        url.host_str().unwrap_or_default().to_owned(),
    ];
    words.extend(options.iter().map(|(name, value)| format!("{name}={value}")));
    words.join(" ")
}

/// A store, and where its credentials come from.
struct Built {
    store: Arc<dyn ObjectStore>,
    credentials: credentials::Check,
    /// Commits are made without a conditional put.
    unguarded: bool,
}

fn build_with(
    url: &Url,
    provider: Provider,
    options: &BTreeMap<String, String>,
    environment: &BTreeMap<String, String>,
) -> Result<Built, String> {
    let resolved = Resolved::new(provider, options, environment)?;
    redact::remember(environment);
    let runtime = REQUESTS.as_ref().map_err(|e| format!("no thread for its requests: {e}"))?;
    let connector = SpawnedReqwestConnector::new(runtime.handle().clone());
    let client = ClientOptions::new()
        .with_config(ClientConfigKey::Timeout, "60 seconds")
        .with_config(ClientConfigKey::ConnectTimeout, "5 seconds")
        .with_config(ClientConfigKey::UserAgent, super::engine_info());
    let failed = |e: deltalake::logstore::object_store::Error| redact(&e.to_string());
    let source = credentials::Source::of(provider, &resolved);
    let (store, check): (Arc<dyn ObjectStore>, _) = match provider {
        Provider::S3 => {
            let builder = AmazonS3Builder::new()
                .with_url(url.as_str())
                .with_retry(retry())
                .with_client_options(client)
                .with_http_connector(connector);
            let builder = resolved
                .apply(builder, AmazonS3ConfigKey::from_str, |b, k, v| b.with_config(k, v))?;
            let store = builder.build().map_err(failed)?;
            let check = credentials::Check::new(source, store.credentials().clone());
            (Arc::new(store), check)
        }
        Provider::Azure => {
            let builder = MicrosoftAzureBuilder::new()
                .with_url(url.as_str())
                .with_retry(retry())
                .with_client_options(client)
                .with_http_connector(connector);
            let builder =
                resolved.apply(builder, AzureConfigKey::from_str, |b, k, v| b.with_config(k, v))?;
            let store = builder.build().map_err(failed)?;
            let check = credentials::Check::new(source, store.credentials().clone());
            (Arc::new(store), check)
        }
        Provider::Gcs => {
            let builder = GoogleCloudStorageBuilder::new()
                .with_url(url.as_str())
                .with_retry(retry())
                .with_client_options(client)
                .with_http_connector(connector);
            let builder = resolved
                .apply(builder, GoogleConfigKey::from_str, |b, k, v| b.with_config(k, v))?;
            let store = builder.build().map_err(failed)?;
            let check = credentials::Check::new(source, store.credentials().clone());
            (Arc::new(store), check)
        }
    };
    let store = if resolved.unguarded { Arc::new(Unguarded::new(store)) as _ } else { store };
    Ok(Built { store, credentials: check, unguarded: resolved.unguarded })
}
