//! Segment files: state too large for the ledger, in `segments/`.
//!
//! A file is a header (magic, format version, the epoch that wrote it, its own serial number)
//! and then pieces of state back to back; the ledger knows each piece's offset, length and
//! checksum. Files are written once, under names that are never used again, and are durable
//! before the ledger names them.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::CheckpointError;
use super::record::{FORMAT_VERSION, Fault};
use super::table::Blob;

const MAGIC: [u8; 8] = *b"MILLSEG\0";
pub(super) const HEADER_BYTES: u64 = 32;
const TEMPORARY: &str = ".tmp";

/// The directory of segment files.
#[derive(Debug)]
pub(super) struct SegmentFiles {
    dir: PathBuf,
    next_serial: u64,
}

/// A file of the directory as it is found there.
#[derive(Debug)]
pub(super) struct Found {
    pub name: String,
    pub bytes: u64,
}

impl SegmentFiles {
    /// Opens `dir`, creating it if it is not there.
    pub(super) fn open(dir: PathBuf) -> Result<Self, CheckpointError> {
        fs::create_dir_all(&dir).map_err(CheckpointError::io("create", &dir))?;
        let mut files = Self { dir, next_serial: 1 };
        let last = files.list()?.iter().filter_map(|found| serial(&found.name)).max();
        files.next_serial = last.map_or(1, |serial| serial.saturating_add(1));
        Ok(files)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Everything in the directory, unfinished files too.
    pub(super) fn list(&self) -> Result<Vec<Found>, CheckpointError> {
        let error = |source| CheckpointError::io("list", &self.dir)(source);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(error)? {
            let entry = entry.map_err(error)?;
            let bytes = match entry.metadata() {
                Ok(metadata) => metadata.len(),
                // Removed between the listing and the look.
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(CheckpointError::io("read", &entry.path())(source)),
            };
            found.push(Found { name: entry.file_name().to_string_lossy().into_owned(), bytes });
        }
        Ok(found)
    }

    /// Reserves a name for a file of `epoch`'s.
    pub(super) fn begin<'a>(&mut self, epoch: u64) -> NewFile<'a> {
        let serial = self.next_serial;
        self.next_serial += 1;
        let name = format!("{epoch:010}-{serial:08}.seg").into();
        NewFile { name, epoch, serial, pieces: Vec::new(), end: HEADER_BYTES }
    }

    /// Writes and fsyncs the file. [`sync`](Self::sync) must follow before anything names it.
    pub(super) fn finish(&self, file: &NewFile<'_>) -> Result<(), CheckpointError> {
        let path = self.path(&file.name);
        let temporary = self.dir.join(format!("{}{TEMPORARY}", file.name));
        let written = write_durably(&temporary, file).and_then(|()| {
            fs::rename(&temporary, &path).map_err(CheckpointError::io("rename into", &path))
        });
        if written.is_err() {
            // The sweep at the next open would find it; a full disk wants it gone now.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// Makes the names of new files durable.
    pub(super) fn sync(&self) -> Result<(), CheckpointError> {
        sync_dir(&self.dir)
    }

    /// Removes a file that nothing names any more. A failure only costs space: the sweep at the
    /// next open tries again.
    pub(super) fn remove(&self, name: &str) {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "dead segment file not removed");
            }
            _ => {}
        }
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader { files: self, open: None }
    }
}

/// A file before it is written.
#[derive(Debug)]
pub(super) struct NewFile<'a> {
    pub name: Arc<str>,
    epoch: u64,
    serial: u64,
    pieces: Vec<Cow<'a, [u8]>>,
    end: u64,
}

impl<'a> NewFile<'a> {
    /// Appends a piece, and notes its place in `blob`.
    pub(super) fn add(&mut self, piece: impl Into<Cow<'a, [u8]>>, blob: &mut Blob) {
        let piece = piece.into();
        blob.file = Some(self.name.clone());
        blob.offset = self.end;
        self.end += piece.len() as u64;
        self.pieces.push(piece);
    }

    /// Bytes gathered so far, with the header.
    pub(super) fn bytes(&self) -> u64 {
        self.end
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

/// Reads pieces, keeping the last file open: pieces that were written together mostly are read
/// together.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    files: &'a SegmentFiles,
    open: Option<(Arc<str>, File, u64)>,
}

impl Reader<'_> {
    /// One piece, its checksum verified. The error is told without the file's name.
    pub(super) fn read(&mut self, blob: &Blob, name: &Arc<str>) -> Result<Vec<u8>, ReadError> {
        let (file, length) = match &mut self.open {
            Some((open, file, length)) if open == name => (file, *length),
            _ => {
                let (file, length) = open_verified(&self.files.path(name))?;
                let (_, file, length) = self.open.insert((name.clone(), file, length));
                (file, *length)
            }
        };
        let end = blob.offset.checked_add(blob.bytes);
        // Before allocating: a length is only believed as far as the file reaches.
        if end.is_none_or(|end| end > length) {
            return Err(Fault::Damaged(format!(
                "the file ends at byte {length}, {} bytes from byte {} are expected",
                blob.bytes, blob.offset
            ))
            .into());
        }
        file.seek(SeekFrom::Start(blob.offset))?;
        let mut bytes = vec![0; blob.bytes as usize];
        file.read_exact(&mut bytes)?;
        verify(blob, &bytes)?;
        Ok(bytes)
    }
}

/// Whether `bytes` are what `blob` says.
pub(super) fn verify(blob: &Blob, bytes: &[u8]) -> Result<(), Fault> {
    if bytes.len() as u64 != blob.bytes {
        return Err(Fault::Damaged(format!(
            "{} bytes where {} were written",
            bytes.len(),
            blob.bytes
        )));
    }
    let crc = crc32fast::hash(bytes);
    if crc != blob.crc {
        return Err(Fault::Damaged(format!(
            "the checksum is {crc:08x}, the ledger says {:08x}",
            blob.crc
        )));
    }
    Ok(())
}

/// Why a piece could not be read.
#[derive(Debug)]
pub(super) enum ReadError {
    Fault(Fault),
    Io(io::Error),
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Fault(Fault::Damaged("the file is missing".into())),
            io::ErrorKind::UnexpectedEof => {
                Self::Fault(Fault::Damaged("the file is cut short".into()))
            }
            _ => Self::Io(error),
        }
    }
}

fn open_verified(path: &Path) -> Result<(File, u64), ReadError> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut header = [0; HEADER_BYTES as usize];
    file.read_exact(&mut header)?;
    if header[..8] != MAGIC {
        return Err(Fault::Damaged("it does not start like a segment file".into()).into());
    }
    let expected = &header[28..];
    if crc32fast::hash(&header[..28]).to_le_bytes() != expected {
        return Err(Fault::Damaged("the checksum of its header does not match".into()).into());
    }
    if header[8] > FORMAT_VERSION {
        return Err(Fault::Newer(header[8]).into());
    }
    // A file that was copied over another's name has a sound header, but not this one.
    let own = path.file_name().and_then(|name| serial(&name.to_string_lossy()));
    if own.map(u64::to_le_bytes).as_ref().map(|serial| &serial[..]) != Some(&header[20..28]) {
        return Err(Fault::Damaged("it is another segment file under this name".into()).into());
    }
    Ok((file, length))
}

fn write_durably(path: &Path, content: &NewFile<'_>) -> Result<(), CheckpointError> {
    let mut header = [0; HEADER_BYTES as usize];
    header[..8].copy_from_slice(&MAGIC);
    header[8] = FORMAT_VERSION;
    header[12..20].copy_from_slice(&content.epoch.to_le_bytes());
    header[20..28].copy_from_slice(&content.serial.to_le_bytes());
    let crc = crc32fast::hash(&header[..28]);
    header[28..].copy_from_slice(&crc.to_le_bytes());

    let mut file = File::create(path).map_err(CheckpointError::io("create", path))?;
    let write = |file: &mut File| -> io::Result<()> {
        // Small pieces are gathered so that a file of a thousand panes is not a thousand calls.
        let mut out = io::BufWriter::with_capacity(256 * 1024, file);
        out.write_all(&header)?;
        for piece in &content.pieces {
            out.write_all(piece)?;
        }
        out.flush()
    };
    write(&mut file).map_err(CheckpointError::io("write", path))?;
    file.sync_all().map_err(CheckpointError::io("fsync", path))
}

/// The serial number in a segment file's name, finished or not.
fn serial(name: &str) -> Option<u64> {
    let name = name.strip_suffix(TEMPORARY).unwrap_or(name);
    name.strip_suffix(".seg")?.split_once('-')?.1.parse().ok()
}

/// Makes the entries of a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), CheckpointError> {
    File::open(dir)
        .and_then(|handle| handle.sync_all())
        .map_err(CheckpointError::io("fsync the directory", dir))
}

/// Replaces `dir/name` by `bytes` so that after a crash either the old or the new is there.
pub(super) fn replace_file(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), CheckpointError> {
    let path = dir.join(name);
    let temporary = dir.join(format!("{name}{TEMPORARY}"));
    File::create(&temporary)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(CheckpointError::io("write", &temporary))?;
    fs::rename(&temporary, &path).map_err(CheckpointError::io("rename into", &path))?;
    sync_dir(dir)
}
