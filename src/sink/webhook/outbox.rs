//! Notifications that wait, on disk: an epoch's in one file, until each has been delivered, refused
//! or dropped.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::disk;
use super::super::error::SinkError;
use super::body::Notification;

const ENDING: &str = "json";

/// A notification and the file it is in.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    pub notification: Notification,
    file: PathBuf,
    /// It is the last one of its file, which goes with it.
    last: bool,
}

/// The directory and what is in it, oldest first.
#[derive(Debug)]
pub struct Outbox {
    most: usize,
    waiting: VecDeque<Waiting>,
}

impl Outbox {
    /// What a directory holds, which is made if it is missing. A file that cannot be read as
    /// notifications is set aside under another name.
    ///
    /// # Errors
    ///
    /// [`SinkError::Io`] if the directory cannot be made or read.
    pub fn open(dir: &Path, most: usize) -> Result<Self, SinkError> {
        disk::create_dirs(dir)?;
        let mut files = Vec::new();
        for entry in fs::read_dir(dir).map_err(SinkError::io("read", dir))? {
            let path = entry.map_err(SinkError::io("read", dir))?.path();
            if path.extension().is_some_and(|ending| ending == ENDING) {
                files.push(path);
            }
        }
        // Names begin with the epoch, in twenty digits.
        files.sort();
        let mut outbox = Outbox { most: most.max(1), waiting: VecDeque::new() };
        for file in files {
            let bytes = fs::read(&file).map_err(SinkError::io("read", &file))?;
            match serde_json::from_slice::<Vec<Notification>>(&bytes) {
                Ok(notifications) => outbox.push(&file, notifications),
                Err(error) => {
                    let file = file.display().to_string();
                    tracing::error!(file, %error, "notifications cannot be read and are set aside");
                    // What cannot be renamed is met again at the next start.
                    let _ = fs::rename(&file, format!("{file}.damaged"));
                }
            }
        }
        Ok(outbox)
    }

    /// Where an epoch's notifications are, given the token of its rows.
    pub fn file(dir: &Path, epoch: u64, token: &str) -> PathBuf {
        dir.join(format!("{epoch:020}-{token}.{ENDING}"))
    }

    /// Puts an epoch's notifications on the disk, flushed.
    ///
    /// # Errors
    ///
    /// [`SinkError::Io`]; nothing has been taken then.
    pub fn store(file: &Path, notifications: &[Notification]) -> Result<(), SinkError> {
        let bytes = serde_json::to_vec(notifications).map_err(SinkError::internal)?;
        disk::replace(file, &bytes)
    }

    /// Takes in what was stored. Returns how many had to make room: the oldest go first, because
    /// the newest say how things stand.
    pub fn take(&mut self, file: &Path, notifications: Vec<Notification>) -> u64 {
        self.push(file, notifications);
        let mut dropped = 0;
        while self.waiting.len() > self.most {
            self.done();
            dropped += 1;
        }
        dropped
    }

    fn push(&mut self, file: &Path, notifications: Vec<Notification>) {
        let count = notifications.len();
        let waiting = notifications.into_iter().enumerate().map(|(i, notification)| Waiting {
            notification,
            file: file.to_owned(),
            last: i + 1 == count,
        });
        self.waiting.extend(waiting);
        if count == 0 {
            // Nobody will come to its last one.
            let _ = fs::remove_file(file);
        }
    }

    /// The next to be delivered.
    pub fn first(&self) -> Option<&Waiting> {
        self.waiting.front()
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The first has been dealt with.
    pub fn done(&mut self) {
        let Some(done) = self.waiting.pop_front() else { return };
        if done.last {
            // If it stays, its notifications are sent again at the next start, which receivers
            // tell by their identifiers.
            if let Err(error) = fs::remove_file(&done.file)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                let file = done.file.display().to_string();
                tracing::warn!(file, %error, "delivered notifications cannot be removed");
            }
        }
    }
}
