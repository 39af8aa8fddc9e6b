//! A table as others name it: its address, and what its storage needs to know.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use deltalake::logstore::{LogStoreRef, StorageConfig, logstore_with};
use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError};
use url::Url;

use super::LakeError;
use super::durable::DurableLocal;
use super::location::{Location, resolve};

/// Where a table is. Nothing is looked at before [`log_store`](Self::log_store).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableLocation {
    uri: String,
    storage_options: BTreeMap<String, String>,
}

impl TableLocation {
    /// The table at `uri`: a local path (relative ones count from the working directory), a
    /// `file://` URL, or the URL of an object store.
    pub fn new(uri: impl Into<String>) -> Self {
        Self { uri: uri.into(), storage_options: BTreeMap::new() }
    }

    /// The same, with options of the object store as deltalake names them.
    #[must_use]
    pub fn with_storage_options(mut self, options: BTreeMap<String, String>) -> Self {
        self.storage_options = options;
        self
    }

    /// The address as it was given.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The options of the object store.
    pub fn storage_options(&self) -> &BTreeMap<String, String> {
        &self.storage_options
    }

    /// The directory, made absolute, if the table is on a file system.
    pub fn local_path(&self) -> Option<PathBuf> {
        match resolve(&self.uri) {
            Ok(Location::Local(path)) => std::path::absolute(path).ok(),
            _ => None,
        }
    }

    /// The storage of a table that is there already: unlike a writer's, it makes no directory.
    ///
    /// # Errors
    /// [`LakeError::Location`] if the address cannot be used or its directory is not there;
    /// [`LakeError::Io`], [`LakeError::Log`].
    pub fn log_store(&self) -> Result<LogStoreRef, LakeError> {
        let unusable = |reason: String| LakeError::Location { uri: self.uri.clone(), reason };
        let options: HashMap<String, String> =
            self.storage_options.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        match resolve(&self.uri).map_err(unusable)? {
            Location::Local(path) => {
                let path = path.canonicalize().map_err(|error| match error.kind() {
                    std::io::ErrorKind::NotFound => unusable("there is no such directory".into()),
                    _ => LakeError::io("open", self.uri.as_str(), error),
                })?;
                let url = Url::from_directory_path(&path)
                    .map_err(|()| unusable("not an absolute path".to_owned()))?;
                let config = StorageConfig::parse_options(options)
                    .map_err(|e| LakeError::from_delta("open", &self.uri, e))?;
                logstore_with(Arc::new(DurableLocal::new()), &url, config)
                    .map_err(|e| LakeError::from_delta("open", &self.uri, e))
            }
            Location::Remote(url) => DeltaTableBuilder::from_url(url)
                .map(|builder| builder.with_storage_options(options))
                .and_then(|builder| builder.build_storage())
                .map_err(|e| match e {
                    DeltaTableError::InvalidTableLocation(reason) => unusable(reason),
                    other => LakeError::from_delta("open", &self.uri, other),
                }),
        }
    }

    /// The table as deltalake knows it, at its newest version.
    ///
    /// # Errors
    /// [`LakeError::Location`] if there is no table, [`LakeError::Damaged`] with the file of the log
    /// that is; else as [`log_store`](Self::log_store).
    pub async fn open(&self) -> Result<DeltaTable, LakeError> {
        match self.existing().await? {
            Some(table) => table.delta().await,
            None => Err(LakeError::Location {
                uri: self.uri.clone(),
                reason: "there is no Delta table: it has no _delta_log with a version in it"
                    .to_owned(),
            }),
        }
    }
}

impl fmt::Display for TableLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}
