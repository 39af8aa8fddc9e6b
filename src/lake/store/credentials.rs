//! Where a store's credentials come from, and whether there are any.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use deltalake::logstore::object_store::{self, CredentialProvider};
use futures::future::BoxFuture;

use super::options::{Resolved, boolean};
use super::{Provider, redact};

/// Variables that are looked at.
const PREFIXES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];
/// Variables without a prefix, and what they stand for.
const OTHERS: [(&str, &str); 3] = [
    ("SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT"),
    ("MSI_ENDPOINT", "AZURE_MSI_ENDPOINT"),
    ("IDENTITY_ENDPOINT", "AZURE_IDENTITY_ENDPOINT"),
];

/// A metadata service is on the same machine or on none.
const METADATA_WAIT: Duration = Duration::from_secs(5);
/// A token service is anywhere.
const TOKEN_WAIT: Duration = Duration::from_secs(20);

/// The part of the process's environment that concerns object stores, in upper case.
pub(super) fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .map(|(name, value)| (name.to_ascii_uppercase(), value))
        .filter_map(|(name, value)| {
            if PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
                return Some((name, value));
            }
            let (_, stands_for) = OTHERS.iter().find(|(other, _)| *other == name)?;
            Some(((*stands_for).to_owned(), value))
        })
        .collect()
}

/// Where credentials come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Nothing has to be asked: keys, a signature, a token; or requests are not signed at all.
    AtHand,
    /// A service hands them out for what the environment names: an identity, a container's role.
    Service(&'static str),
    /// Nothing is set, so the machine itself is asked, unless that is forbidden.
    Machine { forbidden: bool },
}

impl Source {
    /// In the order in which the clients look.
    pub fn of(provider: Provider, resolved: &Resolved) -> Self {
        if resolved.is("skip_signature") || resolved.is("use_emulator") {
            return Self::AtHand;
        }
        let has = |names: &[&str]| names.iter().all(|name| resolved.has(name));
        match provider {
            Provider::S3 => {
                if has(&["access_key_id"]) || has(&["secret_access_key"]) {
                    Self::AtHand
                } else if has(&["web_identity_token_file", "role_arn"]) {
                    Self::Service("AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN")
                } else if has(&["container_credentials_relative_uri"]) {
                    Self::Service("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
                } else if has(&[
                    "container_credentials_full_uri",
                    "container_authorization_token_file",
                ]) {
                    Self::Service("AWS_CONTAINER_CREDENTIALS_FULL_URI")
                } else {
                    let forbidden = resolved.get("ec2_metadata_disabled").and_then(boolean);
                    Self::Machine { forbidden: forbidden == Some(true) }
                }
            }
            Provider::Azure => {
                if ["token", "account_key", "sas_token"].iter().any(|name| resolved.has(name)) {
                    Self::AtHand
                } else if has(&["client_id", "tenant_id", "federated_token_file"]) {
                    Self::Service("AZURE_FEDERATED_TOKEN_FILE and AZURE_CLIENT_ID")
                } else if has(&["client_id", "tenant_id", "client_secret"]) {
                    Self::Service("AZURE_CLIENT_ID and AZURE_CLIENT_SECRET")
                } else if resolved.is("use_azure_cli") {
                    Self::Service("the Azure command line's login")
                } else {
                    Self::Machine { forbidden: false }
                }
            }
            Provider::Gcs => {
                let files = ["service_account", "service_account_key", "application_credentials"];
                if files.iter().any(|name| resolved.has(name)) {
                    Self::Service("GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT")
                } else {
                    Self::Machine { forbidden: false }
                }
            }
        }
    }
}

/// What is looked for, in words.
fn looked_for(provider: Provider) -> &'static str {
    match provider {
        Provider::S3 => {
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), \
             AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN, \
             AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, AWS_CONTAINER_CREDENTIALS_FULL_URI, and then \
             the profile of an EC2 instance"
        }
        Provider::Azure => {
            "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or \
             AZURE_STORAGE_SAS_TOKEN, AZURE_STORAGE_TOKEN, AZURE_CLIENT_ID and AZURE_TENANT_ID with \
             AZURE_CLIENT_SECRET or AZURE_FEDERATED_TOKEN_FILE, and then a managed identity"
        }
        Provider::Gcs => {
            "GOOGLE_APPLICATION_CREDENTIALS, GOOGLE_SERVICE_ACCOUNT, GOOGLE_SERVICE_ACCOUNT_KEY, \
             the file that `gcloud auth application-default login` leaves, and then the metadata \
             service of a Google machine"
        }
    }
}

/// Why there are no credentials.
#[derive(Debug)]
pub(super) enum Lacking {
    /// There are none to be had.
    None(String),
    /// They could not be fetched now.
    NotNow(String),
}

/// Looks whether credentials can be had.
pub(super) struct Check {
    source: Source,
    fetch: Box<dyn Fn() -> BoxFuture<'static, object_store::Result<()>> + Send + Sync>,
}

impl Check {
    pub fn new<C: CredentialProvider + ?Sized + 'static>(source: Source, provider: Arc<C>) -> Self {
        let fetch = move || -> BoxFuture<'static, object_store::Result<()>> {
            let provider = provider.clone();
            Box::pin(async move { provider.get_credential().await.map(drop) })
        };
        Self { source, fetch: Box::new(fetch) }
    }

    /// Fetches credentials, where they have to be fetched, within bounds.
    pub async fn run(&self, provider: Provider) -> Result<(), Lacking> {
        let (wait, service) = match self.source {
            Source::AtHand => return Ok(()),
            Source::Machine { forbidden: true } => {
                return Err(Lacking::None(format!(
                    "no credentials are set in the environment, and AWS_EC2_METADATA_DISABLED \
                     forbids to ask the machine for some; these are looked for: {}",
                    looked_for(provider)
                )));
            }
            Source::Machine { forbidden: false } => (METADATA_WAIT, None),
            Source::Service(what) => (TOKEN_WAIT, Some(what)),
        };
        let error = match tokio::time::timeout(wait, (self.fetch)()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => redact(&error.to_string()),
            Err(_) => format!("no answer in {} s", wait.as_secs()),
        };
        Err(match service {
            Some(what) => {
                Lacking::NotNow(format!("no credentials for {what} could be fetched: {error}"))
            }
            None => Lacking::None(format!(
                "no credentials are set in the environment, and the machine has none to give \
                 ({error}); these are looked for: {}",
                looked_for(provider)
            )),
        })
    }
}
