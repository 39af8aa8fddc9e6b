//! Data files on their way into an object store.

use std::sync::Arc;

use bytes::Bytes;
use deltalake::logstore::object_store::{
    MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload, Result, path::Path,
};
use futures::{StreamExt, TryStreamExt};

/// Larger files go in parts: a part that fails is repeated alone, and S3 takes no object above
/// 5 GB in one piece.
const SINGLE: usize = 16 << 20;
/// S3 wants at least 5 MiB of every part but the last, and at most 10,000 parts.
const PART: usize = 8 << 20;
const MOST_PARTS: usize = 10_000;
/// Parts of one file that are under way at a time.
const PARALLEL_PARTS: usize = 4;

/// Stores `bytes` under `path`, whole or not at all: an object is there once its last part is,
/// or never.
///
/// # Errors
/// Those of the store. Parts that have arrived are given up then; if that fails too, or the process
/// ends before, they wait unseen until the bucket's rule for incomplete uploads removes them.
pub(crate) async fn upload(store: &Arc<dyn ObjectStore>, path: &Path, bytes: Bytes) -> Result<()> {
    upload_in(store, path, bytes, SINGLE, PART).await
}

pub(super) async fn upload_in(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    bytes: Bytes,
    single: usize,
    part: usize,
) -> Result<()> {
    if bytes.len() <= single {
        return store.put(path, bytes.into()).await.map(drop);
    }
    let part = part.max(bytes.len().div_ceil(MOST_PARTS));
    let mut upload = store.put_multipart(path).await?;
    match parts(upload.as_mut(), &bytes, part).await {
        Ok(()) => Ok(()),
        Err(error) => {
            // Best effort, as described above.
            let _ = upload.abort().await;
            Err(error)
        }
    }
}

async fn parts(upload: &mut dyn MultipartUpload, bytes: &Bytes, part: usize) -> Result<()> {
    let parts: Vec<_> = (0..bytes.len())
        .step_by(part)
        .map(|from| bytes.slice(from..bytes.len().min(from + part)))
        .map(|piece| upload.put_part(PutPayload::from(piece)))
        .collect();
    futures::stream::iter(parts).buffer_unordered(PARALLEL_PARTS).try_collect::<Vec<()>>().await?;
    upload.complete().await.map(drop)
}
