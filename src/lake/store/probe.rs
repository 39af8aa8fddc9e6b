//! Whether a store lets this process in, and whether it keeps two writers apart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use deltalake::logstore::LogStoreRef;
use deltalake::logstore::object_store::{
    Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, path::Path,
};
use url::Url;
use uuid::Uuid;

use super::credentials::Lacking;
use super::{Provider, identity, open};
use crate::lake::LakeError;
use crate::lake::error::innermost;

/// Stores that have been asked by this process. What a store answers is a matter of its kind and
/// its configuration, and neither changes while a process lives.
static ASKED: Mutex<BTreeSet<(&'static str, String)>> = Mutex::new(BTreeSet::new());

fn asked(what: &'static str, store: &str) -> bool {
    let asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
    asked.contains(&(what, store.to_owned()))
}

fn remember(what: &'static str, store: &str) {
    let mut asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
    asked.insert((what, store.to_owned()));
}

/// Whether credentials for the store at `url` can be had; once in a process.
///
/// # Errors
/// [`LakeError::Store`] if there are none, with the variables that are looked for;
/// [`LakeError::Io`] if they could not be fetched just now.
pub(in crate::lake) async fn check_credentials(
    url: &Url,
    uri: &str,
    provider: Provider,
    options: &BTreeMap<String, String>,
) -> Result<(), LakeError> {
    let store = identity(url, provider, options);
    if asked("credentials", &store) {
        return Ok(());
    }
    let built = open(url, provider, options)
        .map_err(|reason| LakeError::Store { uri: uri.to_owned(), reason })?;
    built.credentials.run(provider).await.map_err(|lacking| match lacking {
        Lacking::None(reason) => LakeError::Store { uri: uri.to_owned(), reason },
        Lacking::NotNow(reason) => LakeError::io("sign in to the store of", uri, reason),
    })?;
    remember("credentials", &store);
    Ok(())
}

/// Whether tables in the store of `log` may be written to: there are credentials, they are
/// accepted, and of two writers that put one object if it is absent only one succeeds. Asked once
/// in a process for each bucket, with two small puts and a delete.
///
/// # Errors
/// [`LakeError::Store`] with what helps; [`LakeError::Io`] for what may pass.
pub(in crate::lake) async fn check_writable(
    log: &LogStoreRef,
    url: &Url,
    uri: &str,
    provider: Provider,
    options: &BTreeMap<String, String>,
) -> Result<(), LakeError> {
    check_credentials(url, uri, provider, options).await?;
    let store = identity(url, provider, options);
    let refuse = |reason: String| LakeError::Store { uri: uri.to_owned(), reason };
    if asked("writes", &store) {
        return Ok(());
    }
    if open(url, provider, options).map_err(refuse)?.unguarded {
        tracing::warn!(
            store,
            "allow_unsafe_rename is set: commits are not guarded against other writers, and a \
             second one can overwrite what the first has committed"
        );
    } else {
        guards(log.object_store(None).as_ref(), provider, url).await.map_err(|problem| {
            match problem {
                Problem::Refused(reason) => refuse(reason),
                Problem::Store(error) => LakeError::io("write to the store of", uri, error),
            }
        })?;
    }
    remember("writes", &store);
    Ok(())
}

pub(super) enum Problem {
    Refused(String),
    Store(Error),
}

/// Puts an object that nobody has, twice.
pub(super) async fn guards(
    store: &dyn ObjectStore,
    provider: Provider,
    url: &Url,
) -> Result<(), Problem> {
    let path = Path::from_iter(["_delta_log", &format!("_probe_{}.tmp", Uuid::new_v4().simple())]);
    let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    let put = async |content: &'static [u8]| {
        store.put_opts(&path, bytes::Bytes::from_static(content).into(), create()).await
    };
    let first = put(b"1").await;
    let result = match first {
        // The second try of a request that had arrived after all meets its own object.
        Ok(_) | Err(Error::AlreadyExists { .. }) => match put(b"2").await {
            Err(Error::AlreadyExists { .. }) => Ok(()),
            Ok(_) => Err(Problem::Refused(unguarded(provider))),
            Err(error) => Err(problem(error, provider, url)),
        },
        Err(error) => Err(problem(error, provider, url)),
    };
    if !matches!(result, Err(Problem::Store(_))) {
        // Best effort: whoever may not delete keeps an object of one byte that nobody reads.
        let _ = store.delete(&path).await;
    }
    result
}

fn unguarded(provider: Provider) -> String {
    let help = match provider {
        Provider::S3 => {
            "Use a store (or a release of it) that knows `If-None-Match: *`, which S3, MinIO, R2 \
             and Ceph do; only if nobody else ever writes to its tables, set allow_unsafe_rename = \
             true"
        }
        Provider::Azure | Provider::Gcs => "The endpoint is not what it should be",
    };
    format!(
        "it ignores the condition of a conditional put, so that two writers could commit the same \
         version and one would be lost. {help}"
    )
}

fn problem(error: Error, provider: Provider, url: &Url) -> Problem {
    let container = format!(
        "the {} '{}'",
        provider.container(),
        if url.username().is_empty() { url.host_str().unwrap_or_default() } else { url.username() }
    );
    let said = innermost(&error);
    match &error {
        Error::NotFound { .. } => Problem::Refused(format!("{container} does not exist ({said})")),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            Problem::Refused(format!("these credentials may not write to {container}: {said}"))
        }
        Error::NotImplemented { .. } | Error::NotSupported { .. } => {
            Problem::Refused(format!("{} ({said})", unguarded(provider)))
        }
        _ if said.contains("501 Not Implemented") => {
            Problem::Refused(format!("{} ({said})", unguarded(provider)))
        }
        _ => Problem::Store(error),
    }
}
