//! A local file system whose objects survive a power cut once they have been put.
//!
//! `object_store`'s own local store stages an object beside its destination and renames it, but
//! leaves flushing to the operating system: after a power cut an object can be there by name
//! and empty, be it a data file that a checkpoint names or a commit of the Delta log. Here an
//! object gets its name only after its bytes have reached the disk, and the directory entry is
//! flushed before `put` returns. Reading, listing and deleting are the original's.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use deltalake::logstore::object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result, UploadPart, local::LocalFileSystem, path::Path,
};
use futures::future::BoxFuture;
use futures::stream::BoxStream;

const STORE: &str = "DurableLocal";

/// The whole local file system ("/" is its root), with durable writes.
#[derive(Debug)]
pub(crate) struct DurableLocal {
    inner: LocalFileSystem,
}

impl DurableLocal {
    pub(crate) fn new() -> Self {
        Self { inner: LocalFileSystem::new() }
    }
}

impl fmt::Display for DurableLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STORE)
    }
}

impl ObjectStore for DurableLocal {
    fn put_opts<'a, 'b, 'f>(
        &'a self,
        location: &'b Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> BoxFuture<'f, Result<PutResult>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let create = match opts.mode {
                PutMode::Create => true,
                PutMode::Overwrite => false,
                // Never asked of a local store by deltalake; the original says how it refuses.
                PutMode::Update(_) => return self.inner.put_opts(location, payload, opts).await,
            };
            let path = self.inner.path_to_filesystem(location)?;
            blocking(move || {
                let staged = Staged::create(&path)?;
                for chunk in &payload {
                    (&staged.file).write_all(chunk).map_err(|e| failed("write", &path, e))?;
                }
                staged.publish(create)
            })
            .await
        })
    }

    fn put_multipart_opts<'a, 'b, 'f>(
        &'a self,
        location: &'b Path,
        _opts: PutMultipartOptions,
    ) -> BoxFuture<'f, Result<Box<dyn MultipartUpload>>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let path = self.inner.path_to_filesystem(location)?;
            let staged = blocking(move || Staged::create(&path)).await?;
            Ok(Box::new(Upload { staged: Some(Arc::new(staged)), offset: 0 }) as Box<_>)
        })
    }

    fn get_opts<'a, 'b, 'f>(
        &'a self,
        location: &'b Path,
        options: GetOptions,
    ) -> BoxFuture<'f, Result<GetResult>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        self.inner.get_opts(location, options)
    }

    fn get_ranges<'a, 'b, 'c, 'f>(
        &'a self,
        location: &'b Path,
        ranges: &'c [Range<u64>],
    ) -> BoxFuture<'f, Result<Vec<Bytes>>>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
        Self: 'f,
    {
        self.inner.get_ranges(location, ranges)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    fn list_with_delimiter<'a, 'b, 'f>(
        &'a self,
        prefix: Option<&'b Path>,
    ) -> BoxFuture<'f, Result<ListResult>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        self.inner.list_with_delimiter(prefix)
    }

    fn copy_opts<'a, 'b, 'c, 'f>(
        &'a self,
        from: &'b Path,
        to: &'c Path,
        options: CopyOptions,
    ) -> BoxFuture<'f, Result<()>>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
        Self: 'f,
    {
        self.inner.copy_opts(from, to, options)
    }

    fn rename_opts<'a, 'b, 'c, 'f>(
        &'a self,
        from: &'b Path,
        to: &'c Path,
        options: RenameOptions,
    ) -> BoxFuture<'f, Result<()>>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
        Self: 'f,
    {
        self.inner.rename_opts(from, to, options)
    }
}

/// A file under a name of its own, in the directory where it shall end up.
#[derive(Debug)]
struct Staged {
    file: File,
    staging: PathBuf,
    destination: PathBuf,
    /// Set once the staging name is gone, so that dropping has nothing to clean up.
    published: std::sync::atomic::AtomicBool,
}

impl Staged {
    fn create(destination: &FsPath) -> Result<Self> {
        if let Some(parent) = destination.parent() {
            create_dirs(parent).map_err(|e| failed("create", parent, e))?;
        }
        // The name ends in neither .parquet nor .json, so nobody takes half a file for data; it
        // is not a hidden name, so a full vacuum finds it if a crash leaves it behind.
        let mut name = destination.as_os_str().to_owned();
        name.push(format!(".{:08x}.tmp", uuid::Uuid::new_v4().as_fields().0));
        let staging = PathBuf::from(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&staging)
            .map_err(|e| failed("create", &staging, e))?;
        Ok(Self {
            file,
            staging,
            destination: destination.to_owned(),
            published: std::sync::atomic::AtomicBool::new(false),
        })
    }

    /// Flushes the bytes, then gives the file its name (only if nobody has it, when `create`),
    /// then flushes the directory.
    fn publish(&self, create: bool) -> Result<PutResult> {
        self.file.sync_all().map_err(|e| failed("flush", &self.destination, e))?;
        if create {
            // A link fails if the name exists; a rename would replace it.
            fs::hard_link(&self.staging, &self.destination).map_err(|e| match e.kind() {
                io::ErrorKind::AlreadyExists => Error::AlreadyExists {
                    path: self.destination.display().to_string(),
                    source: e.into(),
                },
                _ => failed("name", &self.destination, e),
            })?;
        } else {
            fs::rename(&self.staging, &self.destination)
                .map_err(|e| failed("name", &self.destination, e))?;
            self.published.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        if let Some(parent) = self.destination.parent() {
            sync_dir(parent).map_err(|e| failed("flush", parent, e))?;
        }
        Ok(PutResult { e_tag: None, version: None })
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !*self.published.get_mut() {
            // Best effort: what is left behind is an orphan that a vacuum removes.
            let _ = fs::remove_file(&self.staging);
        }
    }
}

/// An upload in parts; checkpoints of the Delta log come this way.
#[derive(Debug)]
struct Upload {
    staged: Option<Arc<Staged>>,
    offset: u64,
}

impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let Some(staged) = self.staged.clone() else {
            return Box::pin(futures::future::ready(Err(over())));
        };
        let mut offset = self.offset;
        self.offset += data.content_length() as u64;
        Box::pin(blocking(move || {
            for chunk in &data {
                staged
                    .file
                    .write_all_at(chunk, offset)
                    .map_err(|e| failed("write", &staged.destination, e))?;
                offset += chunk.len() as u64;
            }
            Ok(())
        }))
    }

    fn complete<'a, 'f>(&'a mut self) -> BoxFuture<'f, Result<PutResult>>
    where
        'a: 'f,
        Self: 'f,
    {
        let staged = self.staged.take();
        Box::pin(async move {
            let staged = staged.ok_or_else(over)?;
            blocking(move || staged.publish(false)).await
        })
    }

    fn abort<'a, 'f>(&'a mut self) -> BoxFuture<'f, Result<()>>
    where
        'a: 'f,
        Self: 'f,
    {
        self.staged = None;
        Box::pin(futures::future::ready(Ok(())))
    }
}

fn over() -> Error {
    Error::Generic { store: STORE, source: "this upload was completed or aborted before".into() }
}

/// Creates `dir` and what is missing above it; every new name is flushed to the disk, or a
/// power cut could take the directory away together with the files in it.
fn create_dirs(dir: &FsPath) -> io::Result<()> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        create_dirs(parent)?;
    }
    match fs::create_dir(dir) {
        Ok(()) => dir.parent().map_or(Ok(()), sync_dir),
        // Another writer was quicker.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(e) => Err(e),
    }
}

fn sync_dir(dir: &FsPath) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The I/O error of one step, with the path, as an object-store error.
fn failed(action: &'static str, path: &FsPath, source: io::Error) -> Error {
    let path = path.display().to_string();
    match source.kind() {
        io::ErrorKind::PermissionDenied => Error::PermissionDenied { path, source: source.into() },
        _ => Error::Generic { store: STORE, source: Box::new(FileError { action, path, source }) },
    }
}

#[derive(Debug, thiserror::Error)]
#[error("could not {action} {path}")]
struct FileError {
    action: &'static str,
    path: String,
    source: io::Error,
}

/// Runs file I/O off the runtime's own thread.
async fn blocking<T, F>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime
            .spawn_blocking(work)
            .await
            .map_err(|e| Error::Generic { store: STORE, source: e.into() })?,
        Err(_) => work(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deltalake::logstore::object_store::ObjectStoreExt;

    fn location(dir: &FsPath, name: &str) -> Path {
        Path::from_absolute_path(dir).unwrap().join(name)
    }

    fn names(dir: &FsPath) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn objects_are_created_once_and_overwritten_at_will() {
        let dir = tempfile::tempdir().unwrap();
        let store = DurableLocal::new();
        let at = location(&dir.path().join("a/b"), "c");
        let create = PutOptions { mode: PutMode::Create, ..Default::default() };
        store.put_opts(&at, "one".into(), create.clone()).await.unwrap();
        let again = store.put_opts(&at, "two".into(), create).await.unwrap_err();
        assert!(matches!(again, Error::AlreadyExists { .. }), "{again}");
        assert_eq!(store.get(&at).await.unwrap().bytes().await.unwrap(), "one");
        store.put(&at, "three".into()).await.unwrap();
        assert_eq!(store.get(&at).await.unwrap().bytes().await.unwrap(), "three");
        assert_eq!(names(&dir.path().join("a/b")), ["c"], "nothing staged is left");
    }

    #[tokio::test]
    async fn one_of_many_creators_wins() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(DurableLocal::new());
        let at = location(dir.path(), "prize");
        let puts = (0..16).map(|i| {
            let (store, at) = (store.clone(), at.clone());
            let create = PutOptions { mode: PutMode::Create, ..Default::default() };
            tokio::spawn(async move { store.put_opts(&at, i.to_string().into(), create).await })
        });
        let won = futures::future::join_all(puts).await;
        assert_eq!(won.iter().filter(|put| put.as_ref().unwrap().is_ok()).count(), 1);
        assert_eq!(names(dir.path()), ["prize"]);
    }

    #[tokio::test]
    async fn parts_become_one_object_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let store = DurableLocal::new();
        let at = location(dir.path(), "whole");
        let mut upload = store.put_multipart(&at).await.unwrap();
        let parts = [upload.put_part("ab".into()), upload.put_part("cd".into())];
        futures::future::try_join_all(parts).await.unwrap();
        assert!(store.get(&at).await.is_err(), "not there before it is complete");
        upload.complete().await.unwrap();
        assert!(upload.complete().await.is_err());
        assert_eq!(store.get(&at).await.unwrap().bytes().await.unwrap(), "abcd");

        let mut dropped = store.put_multipart(&location(dir.path(), "never")).await.unwrap();
        dropped.put_part("x".into()).await.unwrap();
        dropped.abort().await.unwrap();
        assert_eq!(names(dir.path()), ["whole"]);
    }

    #[tokio::test]
    async fn errors_name_the_path() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let at = location(&dir.path().join("file"), "below");
        let error = DurableLocal::new().put(&at, "x".into()).await.unwrap_err();
        assert!(error.to_string().contains("/file"), "{error}");
    }
}
