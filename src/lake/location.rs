//! Where a table is: from the address in a configuration or on a command line to a log store.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deltalake::logstore::{LogStoreRef, StorageConfig, logstore_with, object_store_factories};
use deltalake::{DeltaTable, DeltaTableError};
use url::Url;

use super::LakeError;
use super::durable::DurableLocal;
use super::store::{self, Provider};

/// The address of a Delta table, and what its storage has to be told.
///
/// An address is a local path (relative ones count from the working directory), a `file://` URL,
/// or the URL of a table in an object store: `s3://bucket/path` (or `s3a://`),
/// `az://container/path`, `abfss://container@account.dfs.core.windows.net/path` (or `abfs://`,
/// `adl://`, `azure://`) and `gs://bucket/path`. Options are described in
/// [`store`](super::store); credentials are none of them, they come from the environment only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableLocation {
    uri: String,
    storage_options: BTreeMap<String, String>,
}

impl TableLocation {
    /// The table at `uri`, whatever that turns out to be.
    pub fn new(uri: impl Into<String>) -> Self {
        Self { uri: uri.into(), storage_options: BTreeMap::new() }
    }

    /// With options of its object store; a local table takes none into account.
    #[must_use]
    pub fn with_storage_options(mut self, options: BTreeMap<String, String>) -> Self {
        self.storage_options = options;
        self
    }

    /// The address as it was given.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The options of its object store.
    pub fn storage_options(&self) -> &BTreeMap<String, String> {
        &self.storage_options
    }

    /// The directory of a local table, made absolute; `None` for a table in an object store or for
    /// no address at all. Links are not resolved.
    pub fn local_path(&self) -> Option<PathBuf> {
        match resolve(&self.uri) {
            Ok(Place::Local(path)) => std::path::absolute(path).ok(),
            _ => None,
        }
    }

    /// The table's storage, to read from. Nothing is read or made yet.
    ///
    /// # Errors
    /// [`LakeError::Location`] for what is no address, or a directory that is not there; [`LakeError::Store`] for an object store
    /// that cannot be used with these options and this environment; [`LakeError::Io`].
    pub fn log_store(&self) -> Result<LogStoreRef, LakeError> {
        self.build(false)
    }

    /// The table's storage, to write to: a local directory is created if it is missing, and an
    /// object store is asked whether it lets this process in and keeps writers apart.
    ///
    /// # Errors
    /// As [`TableLocation::log_store`]; [`LakeError::Store`] too where no credentials are found,
    /// or where the store would let two writers write the same version.
    pub async fn writable(&self) -> Result<LogStoreRef, LakeError> {
        let log = self.build(true)?;
        self.check(&log).await?;
        Ok(log)
    }

    /// Whether the table's object store, if it is in one, lets this process write and keeps two
    /// writers apart; asked once in a process.
    ///
    /// # Errors
    /// As [`TableLocation::writable`].
    pub async fn check_writable(&self) -> Result<(), LakeError> {
        match resolve(&self.uri) {
            Ok(Place::Remote(..)) => self.check(&self.log_store()?).await,
            _ => Ok(()),
        }
    }

    async fn check(&self, log: &LogStoreRef) -> Result<(), LakeError> {
        match resolve(&self.uri) {
            Ok(Place::Remote(url, provider)) => {
                store::check_writable(log, &url, &self.uri, provider, &self.storage_options).await
            }
            _ => Ok(()),
        }
    }

    /// Whether there are credentials for the table's object store, if it is in one; asked once in a
    /// process, and bounded in time.
    ///
    /// # Errors
    /// [`LakeError::Store`] with the variables that are looked for; [`LakeError::Io`] where
    /// credentials could not be fetched now.
    pub async fn check_credentials(&self) -> Result<(), LakeError> {
        match resolve(&self.uri) {
            Ok(Place::Remote(url, provider)) => {
                store::check_credentials(&url, &self.uri, provider, &self.storage_options).await
            }
            _ => Ok(()),
        }
    }

    /// The table as deltalake knows it, at its newest version. What it commits itself is safe on any
    /// store that [`TableLocation::writable`] accepts, so ask that first if it is to be written to.
    ///
    /// # Errors
    /// [`LakeError::Location`] if there is no table, [`LakeError::Damaged`] with the file of the log
    /// that is; else as [`TableLocation::log_store`] and [`TableLocation::check_credentials`].
    pub async fn open(&self) -> Result<DeltaTable, LakeError> {
        self.check_credentials().await?;
        match self.existing().await? {
            Some(table) => table.delta().await,
            None => Err(self.absent()),
        }
    }

    fn build(&self, create: bool) -> Result<LogStoreRef, LakeError> {
        let unusable = |reason: String| LakeError::Location { uri: self.uri.clone(), reason };
        match resolve(&self.uri).map_err(unusable)? {
            Place::Local(path) => {
                let path = std::path::absolute(&path)
                    .map_err(|e| LakeError::io("resolve", self.uri.as_str(), e))?;
                let shown = path.display().to_string();
                if create {
                    std::fs::create_dir_all(&path)
                        .map_err(|e| LakeError::io("create the directory", shown.as_str(), e))?;
                }
                // Links are resolved so that one table has one address whatever the way to it.
                let path = path.canonicalize().map_err(|e| match e.kind() {
                    std::io::ErrorKind::NotFound => {
                        unusable("there is no such directory".to_owned())
                    }
                    _ => LakeError::io("resolve", shown, e),
                })?;
                let url = Url::from_directory_path(&path)
                    .map_err(|()| unusable("not an absolute path".to_owned()))?;
                logstore_with(Arc::new(DurableLocal::new()), &url, StorageConfig::default())
                    .map_err(|e| LakeError::from_delta("open", &self.uri, e))
            }
            Place::Remote(url, provider) => {
                let root = store::build(&url, provider, &self.storage_options)
                    .map_err(|reason| LakeError::Store { uri: self.uri.clone(), reason })?;
                logstore_with(root, &url, StorageConfig::default())
                    .map_err(|e| LakeError::from_delta("open", &self.uri, e))
            }
            Place::Registered(url) => deltalake::DeltaTableBuilder::from_url(url)
                .and_then(|builder| builder.build_storage())
                .map_err(|e| match e {
                    DeltaTableError::InvalidTableLocation(reason) => unusable(reason),
                    other => LakeError::from_delta("open", &self.uri, other),
                }),
        }
    }
}

impl fmt::Display for TableLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

impl From<&str> for TableLocation {
    fn from(uri: &str) -> Self {
        Self::new(uri)
    }
}

impl From<String> for TableLocation {
    fn from(uri: String) -> Self {
        Self::new(uri)
    }
}

/// What is wrong with `uri` as the address of a table that outlives the process, in words; `None`:
/// nothing. Neither disk nor network are asked.
pub fn location_problem(uri: &str) -> Option<String> {
    match resolve(uri) {
        Ok(Place::Local(_) | Place::Remote(..)) => None,
        Ok(Place::Registered(_)) => Some(known_places()),
        Err(reason) => Some(reason),
    }
}

enum Place {
    Local(PathBuf),
    Remote(Url, Provider),
    /// A scheme of deltalake's own, such as `memory://`.
    Registered(Url),
}

fn resolve(uri: &str) -> Result<Place, String> {
    if uri.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    if !uri.contains("://") {
        return Ok(Place::Local(Path::new(uri).to_owned()));
    }
    let url = Url::parse(uri).map_err(|e| e.to_string())?;
    if url.scheme() == "file" {
        let path = url.to_file_path().map_err(|()| "a file:// URL needs an absolute path")?;
        return Ok(Place::Local(path));
    }
    if let Some(provider) = Provider::of_scheme(url.scheme()) {
        store::check_url(&url, provider)?;
        return Ok(Place::Remote(url, provider));
    }
    if object_store_factories().iter().any(|entry| entry.key().scheme() == url.scheme()) {
        return Ok(Place::Registered(url));
    }
    Err(known_places())
}

/// The scheme that was asked for is not repeated: it may be part of a secret that is in the wrong
/// place.
fn known_places() -> String {
    format!(
        "tables are at local paths, file://, {}",
        store::SCHEMES.map(|(scheme, _)| format!("{scheme}://")).join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_local(uri: &str, path: &str) -> bool {
        matches!(resolve(uri), Ok(Place::Local(p)) if p == Path::new(path))
    }

    #[test]
    fn paths_and_file_urls_are_local() {
        assert!(is_local("data/bronze", "data/bronze"));
        assert!(is_local("/data/a b", "/data/a b"));
        assert!(is_local("file:///data/a%20b/", "/data/a b/"));
        // A colon is a fine character in a file name.
        assert!(is_local("./run:1", "./run:1"));
    }

    #[test]
    fn other_schemes_need_an_object_store() {
        assert!(matches!(resolve("memory:///t"), Ok(Place::Registered(_))));
        for (uri, provider) in [
            ("s3://bucket/a/b", Provider::S3),
            ("s3a://bucket/a", Provider::S3),
            ("abfss://box@account.dfs.core.windows.net/a", Provider::Azure),
            ("az://box/a", Provider::Azure),
            ("gs://bucket/a", Provider::Gcs),
        ] {
            assert!(matches!(resolve(uri), Ok(Place::Remote(_, p)) if p == provider), "{uri}");
        }
        let Err(reason) = resolve("gopher://x/y") else { panic!("no such store") };
        assert!(reason.contains("s3://") && reason.contains("file://"), "{reason}");
        assert!(resolve("").is_err());
    }

    #[test]
    fn addresses_carry_no_secrets_and_name_a_table() {
        for (uri, word) in [
            ("s3://AKIAEXAMPLE:secret@bucket/t", "credentials"),
            ("s3:///t", "bucket"),
            ("s3://bucket", "path"),
            ("s3://bucket/", "path"),
            ("az://box/t?sig=abc", "?"),
            ("gs://bucket/t#x", "#"),
            ("abfss://box:pw@account.dfs.core.windows.net/t", "credentials"),
        ] {
            let Err(reason) = resolve(uri) else { panic!("{uri} was taken") };
            assert!(reason.contains(word), "{uri}: {reason}");
            assert!(!reason.contains("secret") && !reason.contains("abc"), "{reason}");
        }
    }
}
