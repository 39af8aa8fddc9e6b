//! A PostgreSQL table.

use super::error::SinkError;
use super::staged::StagedRows;
use super::target::{CommitInfo, Guarantee, Marker, TargetContext};
use std::fmt;
use std::time::Duration;

/// Which table of which server, and how rows get into it.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database?sslmode=...` or `host=... user=...`. Secret: it
    /// is never shown.
    pub url: String,
    /// The table: `name` or `schema.name`; parts in double quotes are taken as they are.
    pub table: String,
    /// What a row does to the table.
    pub write: PostgresWrite,
    /// Whether the table is created if it is missing.
    pub create: bool,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long the server may wait for another transaction's locks.
    pub lock_timeout: Duration,
}

/// What a row does to a PostgreSQL table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostgresWrite {
    /// It is added.
    Append,
    /// It takes the place of the row with the same key.
    Upsert,
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("url", &"***")
            .field("table", &self.table)
            .field("write", &self.write)
            .field("create", &self.create)
            .finish_non_exhaustive()
    }
}

impl PostgresOptions {
    /// The table, in words.
    pub fn address(&self) -> String {
        self.table.clone()
    }
}

/// Under construction.
pub struct PostgresTarget {
    options: PostgresOptions,
    context: TargetContext,
}

impl PostgresTarget {
    pub(super) const GUARANTEE: Guarantee = Guarantee::ExactlyOnce("");

    pub(super) async fn open(
        options: PostgresOptions,
        context: TargetContext,
    ) -> Result<Self, SinkError> {
        Ok(Self { options, context })
    }

    pub(super) fn address(&self) -> String {
        String::new()
    }

    pub(super) async fn marker(&mut self) -> Result<Option<Marker>, SinkError> {
        Err(SinkError::internal("under construction"))
    }

    pub(super) async fn commit(&mut self, _: u64, _: &StagedRows) -> Result<CommitInfo, SinkError> {
        Err(SinkError::internal("under construction"))
    }
}
