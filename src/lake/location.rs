//! Where a table is: from the address in the configuration to a log store.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deltalake::logstore::{LogStoreRef, StorageConfig, logstore_with, object_store_factories};
use deltalake::{DeltaTableBuilder, DeltaTableError};
use url::Url;

use super::durable::DurableLocal;
use super::{LakeError, TableSpec};

/// Opens the storage of the table at `spec.uri`; nothing is read or written yet, but a local
/// directory is created if it is missing.
pub(super) fn log_store(spec: &TableSpec) -> Result<LogStoreRef, LakeError> {
    let unusable = |reason: String| LakeError::Location { uri: spec.uri.clone(), reason };
    let options: HashMap<String, String> =
        spec.storage_options.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    match resolve(&spec.uri).map_err(unusable)? {
        Location::Local(path) => {
            let path = std::path::absolute(&path)
                .map_err(|e| LakeError::io("resolve", spec.uri.as_str(), e))?;
            let shown = path.display().to_string();
            std::fs::create_dir_all(&path)
                .map_err(|e| LakeError::io("create the directory", shown.as_str(), e))?;
            // Links are resolved so that one table has one address whatever the way to it.
            let path =
                path.canonicalize().map_err(|e| LakeError::io("resolve", shown.as_str(), e))?;
            let url = Url::from_directory_path(&path)
                .map_err(|()| unusable("not an absolute path".to_owned()))?;
            let config = StorageConfig::parse_options(options)
                .map_err(|e| LakeError::from_delta("open", &spec.uri, e))?;
            logstore_with(Arc::new(DurableLocal::new()), &url, config)
                .map_err(|e| LakeError::from_delta("open", &spec.uri, e))
        }
        Location::Remote(url) => DeltaTableBuilder::from_url(url)
            .map(|builder| builder.with_storage_options(options))
            .and_then(|builder| builder.build_storage())
            .map_err(|e| match e {
                DeltaTableError::InvalidTableLocation(reason) => unusable(reason),
                other => LakeError::from_delta("open", &spec.uri, other),
            }),
    }
}

pub(super) enum Location {
    Local(PathBuf),
    Remote(Url),
}

pub(super) fn resolve(uri: &str) -> Result<Location, String> {
    if uri.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    let Some((scheme, _)) = uri.split_once("://") else {
        return Ok(Location::Local(Path::new(uri).to_owned()));
    };
    let url = Url::parse(uri).map_err(|e| e.to_string())?;
    if url.scheme() == "file" {
        let path = url.to_file_path().map_err(|()| "a file:// URL needs an absolute path")?;
        return Ok(Location::Local(path));
    }
    let factories = object_store_factories();
    if factories.iter().any(|entry| entry.key().scheme() == url.scheme()) {
        return Ok(Location::Remote(url));
    }
    let mut known: Vec<String> =
        factories.iter().map(|entry| format!("{}://", entry.key().scheme())).collect();
    known.sort();
    Err(format!(
        "this build has no object store for '{scheme}://'; it knows local paths and {}",
        known.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_local(uri: &str, path: &str) -> bool {
        matches!(resolve(uri), Ok(Location::Local(p)) if p == Path::new(path))
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
        assert!(matches!(resolve("memory:///t"), Ok(Location::Remote(_))));
        let Err(reason) = resolve("gopher://x/y") else { panic!("no such store") };
        assert!(reason.contains("gopher") && reason.contains("file://"), "{reason}");
        assert!(resolve("").is_err());
    }
}
