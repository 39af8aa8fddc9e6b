//! A directory of files, for sources that list one.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Output, io_error};
use crate::weblog::WeblogError;

/// Files `part-00000.ndjson` and so on, with a fixed number of records each.
///
/// A file is written under a name that begins with a dot and renamed when it is full, so that who
/// lists the directory sees whole files only. Numbers go on from the highest that is there.
#[derive(Debug)]
pub struct DirectoryOutput {
    directory: PathBuf,
    records_per_file: u64,
    number: u64,
    open: Option<OpenFile>,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    temporary: PathBuf,
    records: u64,
}

impl DirectoryOutput {
    /// Files of `records_per_file` (at least 1) records in `directory`, which is made if missing.
    ///
    /// # Errors
    /// [`WeblogError::Io`] if it can neither be made nor listed.
    pub fn new(directory: &Path, records_per_file: u64) -> Result<Self, WeblogError> {
        std::fs::create_dir_all(directory).map_err(io_error(directory, "create"))?;
        let mut number = 0;
        for entry in std::fs::read_dir(directory).map_err(io_error(directory, "list"))? {
            let entry = entry.map_err(io_error(directory, "list"))?;
            let name = entry.file_name();
            let taken = name
                .to_str()
                .and_then(|name| name.strip_prefix("part-")?.strip_suffix(".ndjson")?.parse().ok());
            number = number.max(taken.map_or(0, |taken: u64| taken.saturating_add(1)));
        }
        Ok(Self {
            directory: directory.to_owned(),
            records_per_file: records_per_file.max(1),
            number,
            open: None,
        })
    }

    fn open(&mut self) -> Result<&mut OpenFile, WeblogError> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let temporary = self.directory.join(format!(".part-{:05}.tmp", self.number));
                let file = File::create(&temporary).map_err(io_error(&temporary, "create"))?;
                OpenFile { file, temporary, records: 0 }
            }
        };
        Ok(self.open.insert(open))
    }

    fn close(&mut self) -> Result<(), WeblogError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        drop(open.file);
        let path = self.directory.join(format!("part-{:05}.ndjson", self.number));
        std::fs::rename(&open.temporary, &path).map_err(io_error(&path, "put in place"))?;
        self.number += 1;
        Ok(())
    }
}

impl Output for DirectoryOutput {
    fn write(&mut self, buffer: &[u8], ends: &[usize]) -> Result<(), WeblogError> {
        let (mut from, mut rest) = (0, ends);
        while !rest.is_empty() {
            let limit = self.records_per_file;
            let open = self.open()?;
            let taken = (limit - open.records).min(rest.len() as u64) as usize;
            let (these, others) = rest.split_at(taken);
            // Not empty, since a full file is closed at once; ends are of line feeds.
            let to = these.last().map_or(from, |end| end + 1);
            open.file
                .write_all(&buffer[from..to])
                .map_err(io_error(&open.temporary, "write to"))?;
            open.records += taken as u64;
            if open.records == limit {
                self.close()?;
            }
            (from, rest) = (to, others);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), WeblogError> {
        self.close()
    }
}
