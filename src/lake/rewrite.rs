//! Commits that change how rows are laid out and not which rows there are: OPTIMIZE.
//!
//! Such a commit takes files out and puts others in that hold the same rows. It may follow any
//! commit that left the files it takes out alone; what others append meanwhile does not concern
//! it. So it never has to be begun anew because the table is written to, only because somebody
//! changed or removed the very files.
//!
//! The other way round, a blind append follows any rewrite (see [`super::LakeTable::commit`]), and
//! an overwrite lists the files of the version it follows again before each attempt; a MERGE that
//! has read a file which a rewrite took out is repeated by its sink on the newer version.

use std::collections::HashSet;

use deltalake::kernel::{Action, Add, CommitInfo, Metadata, Protocol, Remove, Version};
use deltalake::protocol::DeltaOperation;
use serde::Deserialize;
use serde_json::Value;

use super::create::stamp;
use super::log::{LogView, Written, parse_lines};
use super::{ExistingTable, LakeError, compat};

/// How often a commit is tried against writers that take its version; each try costs one small
/// read.
const ATTEMPTS: u32 = 256;

/// What one line of a commit says about files.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    add: Option<Add>,
    remove: Option<Remove>,
    #[serde(rename = "metaData")]
    metadata: Option<Metadata>,
    protocol: Option<Protocol>,
}

/// Follows a table's log from the version at which files were chosen to be rewritten.
pub(crate) struct Rewrites {
    view: LogView,
    /// Protocol and metadata that the files are rewritten for.
    baseline: (Protocol, Metadata),
    /// Files that others have removed, or given other deletion vectors, since then.
    touched: HashSet<String>,
    /// Others have changed protocol or metadata in a way that concerns files.
    changed: Vec<String>,
}

/// How a commit went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rewritten {
    /// It is in the table, as this version.
    Committed(Version),
    /// Others have changed some of the files since they were read; nothing was committed.
    Conflict {
        /// Those of the files to be taken out that are not as they were.
        files: Vec<String>,
    },
    /// Others have changed the table so that none of the new files may fit; nothing was committed.
    Changed(Vec<String>),
}

impl Rewrites {
    /// Begins at `version`, whose files are about to be rewritten.
    pub async fn begin(table: &ExistingTable, version: Version) -> Result<Self, LakeError> {
        let view = LogView::load_at(&table.store, &table.table, Some(version)).await?;
        let view = view.ok_or_else(|| {
            LakeError::io("find the log of", table.table.as_str(), "there is no table any more")
        })?;
        Ok(Self {
            baseline: (view.protocol.clone(), view.metadata.clone()),
            view,
            touched: HashSet::new(),
            changed: Vec::new(),
        })
    }

    /// Why files of this table cannot be rewritten; empty: they can.
    pub fn objections(&self) -> Vec<String> {
        compat::rewrite_objections(&self.baseline.0, &self.baseline.1)
    }

    /// Those of `files` that others have changed, as far as the log was read.
    pub fn conflicts<'a>(&self, files: impl Iterator<Item = &'a str>) -> Vec<String> {
        files.filter(|file| self.touched.contains(*file)).map(str::to_owned).collect()
    }

    /// Reads what others have committed.
    ///
    /// # Errors
    /// [`LakeError::Io`], [`LakeError::Log`], [`LakeError::Damaged`].
    pub async fn advance(&mut self) -> Result<(), LakeError> {
        loop {
            let next = self.view.version + 1;
            let Some(bytes) = self.view.read(next).await? else { return Ok(()) };
            for line in parse_lines::<Line>(self.view.table(), next, &bytes)? {
                self.touched.extend(line.add.map(|add| add.path));
                self.touched.extend(line.remove.map(|remove| remove.path));
                if line.metadata.is_some() || line.protocol.is_some() {
                    let after = (
                        line.protocol.as_ref().unwrap_or(&self.view.protocol),
                        line.metadata.as_ref().unwrap_or(&self.view.metadata),
                    );
                    let before = (&self.baseline.0, &self.baseline.1);
                    self.changed = compat::changes(before, after);
                }
            }
            self.view.apply(next, &bytes)?;
        }
    }

    /// Takes `removed` out of the table and puts `added` in, in one commit, unless others have
    /// changed one of the former since they were read.
    ///
    /// # Errors
    /// [`LakeError::Conflict`] when others took every version tried for; [`LakeError::Io`],
    /// [`LakeError::Log`], [`LakeError::Damaged`]. After an I/O error the commit may be in the
    /// table.
    pub async fn commit(
        &mut self,
        removed: &[Remove],
        added: &[Add],
        operation: DeltaOperation,
        metrics: Value,
    ) -> Result<Rewritten, LakeError> {
        let mut info: CommitInfo = operation.get_commit_info();
        info.is_blind_append = Some(false);
        info.info.insert("operationMetrics".to_owned(), metrics);
        let mut actions: Vec<Action> = Vec::with_capacity(removed.len() + added.len() + 1);
        actions.push(Action::CommitInfo(info));
        actions.extend(removed.iter().cloned().map(Action::Remove));
        actions.extend(added.iter().cloned().map(Action::Add));
        self.view.ensure_connected().await?;
        for _ in 0..ATTEMPTS {
            self.advance().await?;
            if !self.changed.is_empty() {
                return Ok(Rewritten::Changed(self.changed.clone()));
            }
            let files = self.conflicts(removed.iter().map(|remove| remove.path.as_str()));
            if !files.is_empty() {
                return Ok(Rewritten::Conflict { files });
            }
            if let Some(Action::CommitInfo(info)) = actions.first_mut() {
                info.read_version = Some(self.view.version);
                stamp(info);
            }
            fail::fail_point!("upkeep::commit");
            match self.view.write(&actions).await? {
                Written::Yes => {
                    fail::fail_point!("upkeep::committed");
                    self.view.committed(&[], String::new());
                    return Ok(Rewritten::Committed(self.view.version));
                }
                Written::Taken => {}
            }
        }
        Err(LakeError::Conflict { table: self.view.table().to_owned(), attempts: ATTEMPTS })
    }
}

/// Writes a commit that only says that something happened (`VACUUM START`), after whatever is there.
///
/// # Errors
/// As [`Rewrites::commit`].
pub(crate) async fn note(
    table: &ExistingTable,
    operation: DeltaOperation,
    metrics: Value,
) -> Result<Version, LakeError> {
    let view = LogView::load(&table.store, &table.table).await?;
    let mut view = view.ok_or_else(|| {
        LakeError::io("find the log of", table.table.as_str(), "there is no table any more")
    })?;
    let mut info = operation.get_commit_info();
    info.is_blind_append = Some(true);
    info.info.insert("operationMetrics".to_owned(), metrics);
    for _ in 0..ATTEMPTS {
        info.read_version = Some(view.version);
        stamp(&mut info);
        match view.write(&[Action::CommitInfo(info.clone())]).await? {
            Written::Yes => return Ok(view.version + 1),
            Written::Taken => {
                view.advance().await?;
            }
        }
    }
    Err(LakeError::Conflict { table: table.table.clone(), attempts: ATTEMPTS })
}
