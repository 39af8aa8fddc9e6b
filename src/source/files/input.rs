//! A file's bytes, decompressed.

use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::options::Compression;

/// Compressed bytes are read in pieces of this size.
const CHUNK: usize = 256 << 10;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A file that is being read, up to the size that it had when it was entered.
pub(super) struct Input {
    bytes: Bytes,
    size: u64,
}

enum Bytes {
    Plain(io::Take<File>),
    Gzip(Box<MultiGzDecoder<BufReader<io::Take<File>>>>),
    Zstd(Box<zstd::Decoder<'static, BufReader<io::Take<File>>>>),
}

impl Input {
    pub fn open(path: &Path, size: u64, compression: Compression) -> io::Result<Self> {
        let mut file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let compression = match compression {
            Compression::Auto => detect(&mut file)?,
            given => given,
        };
        let file = file.take(size);
        let bytes = match compression {
            Compression::Gzip => {
                Bytes::Gzip(Box::new(MultiGzDecoder::new(BufReader::with_capacity(CHUNK, file))))
            }
            Compression::Zstd => Bytes::Zstd(Box::new(zstd::Decoder::with_buffer(
                BufReader::with_capacity(CHUNK, file),
            )?)),
            Compression::Auto | Compression::None => Bytes::Plain(file),
        };
        Ok(Self { bytes, size })
    }

    /// What the file is like now.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.file().get_ref().metadata()
    }

    /// How much less is in the file than there was when it was entered, once its end has been
    /// reached. Compressed files notice by themselves.
    pub fn missing(&self) -> Option<(u64, u64)> {
        match &self.bytes {
            Bytes::Plain(file) if file.limit() > 0 => Some((self.size - file.limit(), self.size)),
            _ => None,
        }
    }

    fn file(&self) -> &io::Take<File> {
        match &self.bytes {
            Bytes::Plain(file) => file,
            Bytes::Gzip(decoder) => decoder.get_ref().get_ref(),
            Bytes::Zstd(decoder) => decoder.get_ref().get_ref(),
        }
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.bytes {
            Bytes::Plain(file) => file.read(buffer),
            Bytes::Gzip(decoder) => decoder.read(buffer),
            Bytes::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

fn detect(file: &mut File) -> io::Result<Compression> {
    let mut magic = Vec::with_capacity(ZSTD.len());
    file.by_ref().take(ZSTD.len() as u64).read_to_end(&mut magic)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(if magic.starts_with(&GZIP) {
        Compression::Gzip
    } else if magic.starts_with(&ZSTD) {
        Compression::Zstd
    } else {
        Compression::None
    })
}

/// Whether an error is the operating system's, which may pass, and not what is in the file,
/// which stays.
pub(super) fn is_system(error: &io::Error) -> bool {
    error.raw_os_error().is_some()
}
