//! A PostgreSQL table.
//!
//! Rows travel by binary `COPY`: straight into the table where its types are those of the rows and
//! rows are only added, otherwise into a temporary table and from there by one
//! `INSERT ... SELECT ... ON CONFLICT`.
//!
//! | Spark | column of a table that is created | |
//! |---|---|---|
//! | BOOLEAN | boolean | |
//! | TINYINT, SMALLINT / INT / BIGINT | smallint / integer / bigint | |
//! | FLOAT / DOUBLE | real / double precision | |
//! | DECIMAL(p, s) | numeric(p, s) | |
//! | STRING / BINARY | text / bytea | U+0000, which text cannot hold, is an error |
//! | DATE | date | |
//! | TIMESTAMP / TIMESTAMP_NTZ | timestamptz / timestamp | |
//! | ARRAY of the above | an array of them | |
//! | STRUCT, MAP, ARRAY of those | jsonb | as Spark's `to_json` writes them |
//!
//! A table that is there may have other types, as long as PostgreSQL assigns ours to them
//! (`bigint` to `integer`, `text` to `varchar(20)`); text also goes into json, jsonb, uuid, inet and
//! enums. Columns of its own it may have if they may be NULL or have a default.
//!
//! - **Append**: every row is added.
//! - **Upsert**: the last row of each key in the epoch takes the place of the row with that key. A
//!   table that is created gets a unique index over the key in which NULL equals NULL (from
//!   PostgreSQL 15 on; before that, a primary key, and NULL in a key is an error).
//! - **Complete mode**: all rows of the table are deleted and those of the trigger inserted, in one
//!   transaction; other sessions see the old table or the new one.
//!
//! # Exactly once
//! One transaction holds the rows and a row of `millpond_epochs` (in the table's schema) that names
//! the ledger, the epoch and the token of the staged rows. The row is locked first, then compared,
//! so two transactions of the same sink come one after the other and the second finds what the first
//! has left. `synchronous_commit` is switched on for the transaction where it is off: a commit that
//! was acknowledged survives a crash of the server.
//!
//! - **Killed before or during the transaction**: the server rolls it back; the epoch is written at
//!   the next start.
//! - **Killed, or cut off from the server, between the commit and our knowing it**: the next attempt
//!   finds the token and writes nothing.
//! - **A second daemon, a copied checkpoint**: waits for the lock, finds another ledger or token than
//!   it left, and is fenced.
//! - **A lost or older checkpoint**: opening finds another ledger, or an epoch that the checkpoint
//!   does not know, and is refused.
//! - **A server that was restored from a backup**: `millpond_epochs` is older than what this daemon
//!   left; while it runs, the next commit is fenced. A daemon that starts later takes it as it is:
//!   the rows between are missing, as the backup's owner will expect.

mod connect;
mod copy;
mod errors;
mod name;
mod numeric;
mod table;
#[cfg(test)]
mod tests;
mod tls;
mod types;

use std::fmt;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::SinkExt;
use tokio_postgres::{Client, Transaction};

use self::connect::Connector;
use self::copy::Encoder;
use self::name::TableName;
use self::table::Plan;
use super::error::SinkError;
use super::staged::{KeptRows, StagedRows};
use super::target::{CommitInfo, Decision, Guarantee, Marker, TargetContext};
use crate::sql::OutputMode;

/// Rows are sent in pieces of about this size.
const PIECE_BYTES: usize = 256 * 1024;

/// Which table of which server, and how rows get into it.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database?sslmode=...` or `host=... user=...`, as libpq
    /// takes them; `sslmode` may be `disable`, `prefer` (the default), `require`, `verify-ca` or
    /// `verify-full`, and `sslrootcert` a file or `system`. Secret: it is never shown.
    pub url: String,
    /// The table: `name` or `schema.name`; parts in double quotes are taken as they are, others in
    /// lower case, as PostgreSQL does.
    pub table: String,
    /// What a row does to the table, outside complete mode.
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

impl PostgresOptions {
    /// These, and the defaults for the rest: the table is created, ten seconds to connect, thirty
    /// to wait for locks.
    pub fn new(url: impl Into<String>, table: impl Into<String>, write: PostgresWrite) -> Self {
        Self {
            url: url.into(),
            table: table.into(),
            write,
            create: true,
            connect_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(30),
        }
    }

    /// The table and where it is, without user and password.
    pub fn address(&self) -> String {
        match connect::shown(&self.url) {
            Some(server) => format!("{} at {server}", self.table),
            None => self.table.clone(),
        }
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("url", &"***")
            .field("table", &self.table)
            .field("write", &self.write)
            .field("create", &self.create)
            .field("connect_timeout", &self.connect_timeout)
            .field("lock_timeout", &self.lock_timeout)
            .finish()
    }
}

/// Writes to a PostgreSQL table.
pub struct PostgresTarget {
    options: PostgresOptions,
    context: TargetContext,
    connector: Connector,
    name: TableName,
    keys: Vec<usize>,
    session: Option<Session>,
    /// What the server has to hold before a commit.
    expected: Option<Marker>,
}

/// A connection, and what was found out with it.
struct Session {
    client: Client,
    plan: Plan,
}

impl PostgresTarget {
    pub(super) const GUARANTEE: Guarantee = Guarantee::ExactlyOnce(
        "rows and epoch are one transaction of the server, which keeps the epoch in millpond_epochs",
    );

    pub(super) async fn open(
        options: PostgresOptions,
        context: TargetContext,
    ) -> Result<Self, SinkError> {
        let connector = Connector::new(&options, &context.sink)?;
        let name = TableName::parse(&options.table)
            .map_err(|reason| SinkError::definition(&context.sink, reason))?;
        let upsert = options.write == PostgresWrite::Upsert && context.mode != OutputMode::Complete;
        let keys = if upsert { context.key_columns()? } else { Vec::new() };
        if upsert && keys.is_empty() {
            return Err(SinkError::definition(
                &context.sink,
                "upsert needs the columns that a row is known by; set `key`",
            ));
        }
        let mut target =
            Self { options, context, connector, name, keys, session: None, expected: None };
        let found = target.marker().await?;
        target.expected = target.context.check(&target.address(), found)?;
        Ok(target)
    }

    pub(super) fn address(&self) -> String {
        format!("the table {}", self.options.address())
    }

    pub(super) async fn marker(&mut self) -> Result<Option<Marker>, SinkError> {
        let session = self.session().await?;
        let sql = format!(
            "SELECT instance, epoch, token FROM {} WHERE pipeline = $1 AND sink = $2",
            self.name.sibling(table::EPOCHS)
        );
        let row = session
            .client
            .query_opt(&sql, &[&self.context.pipeline, &self.context.sink])
            .await
            .map_err(|e| self.error("read its epoch", &e))?;
        self.session = Some(session);
        Ok(row.as_ref().and_then(marker_of))
    }

    pub(super) async fn commit(
        &mut self,
        epoch: u64,
        rows: &StagedRows,
    ) -> Result<CommitInfo, SinkError> {
        let started = Instant::now();
        let mut session = self.session().await?;
        // The session is kept only if all went well: what went wrong may be with the connection,
        // and a new one costs little beside a retry's pause.
        let mut info = self.transact(&mut session, epoch, rows).await?;
        self.session = Some(session);
        self.expected = Some(self.context.marker(epoch, rows.token()));
        info.took = started.elapsed();
        Ok(info)
    }

    /// The connection, taken out; a new one if there is none that lives.
    async fn session(&mut self) -> Result<Session, SinkError> {
        if let Some(session) = self.session.take()
            && !session.client.is_closed()
        {
            return Ok(session);
        }
        let mut client = self.connector.connect(&self.address()).await?;
        let upsert = if self.keys.is_empty() { None } else { Some(self.keys.as_slice()) };
        let plan = Plan::make(
            &mut client,
            &self.name,
            &self.context,
            upsert,
            self.options.create,
            &self.address(),
        )
        .await?;
        Ok(Session { client, plan })
    }

    async fn transact(
        &self,
        session: &mut Session,
        epoch: u64,
        rows: &StagedRows,
    ) -> Result<CommitInfo, SinkError> {
        let Session { client, plan } = session;
        let mut info = CommitInfo { rows: rows.num_rows(), ..CommitInfo::default() };
        let failed = |e: tokio_postgres::Error| self.error("begin", &e);
        let tx = client.transaction().await.map_err(failed)?;
        tx.batch_execute(&format!(
            "SET LOCAL lock_timeout = {}; \
             SELECT set_config('synchronous_commit', 'on', true) \
             WHERE current_setting('synchronous_commit') = 'off'",
            self.options.lock_timeout.as_millis()
        ))
        .await
        .map_err(failed)?;
        let found = self.lock_marker(&tx).await?;
        let token = rows.token();
        let decision =
            self.context.decide(&self.address(), epoch, token, &self.expected, &found)?;
        if decision == Decision::AlreadyThere {
            info.already_there = true;
            return Ok(info);
        }
        fail::fail_point!("postgres::begun");
        let kept = rows.last_of_each(&self.keys)?;
        info.written = kept.num_rows();
        info.bytes = self.write(&tx, plan, rows, &kept).await?;
        fail::fail_point!("postgres::written");
        let number = i64::try_from(epoch).map_err(SinkError::internal)?;
        let count = i64::try_from(rows.num_rows()).map_err(SinkError::internal)?;
        tx.execute(
            &format!(
                "UPDATE {} SET instance = $3, epoch = $4, token = $5, rows = $6, \
                 committed_at = now() WHERE pipeline = $1 AND sink = $2",
                self.name.sibling(table::EPOCHS)
            ),
            &[
                &self.context.pipeline,
                &self.context.sink,
                &self.context.instance,
                &number,
                &token,
                &count,
            ],
        )
        .await
        .map_err(|e| self.error("note the epoch", &e))?;
        fail::fail_point!("postgres::noted");
        tx.commit().await.map_err(|e| self.error("commit", &e))?;
        fail::fail_point!("postgres::committed");
        Ok(info)
    }

    /// The sink's row of `millpond_epochs`, made if it is missing, locked until the transaction ends.
    async fn lock_marker(&self, tx: &Transaction<'_>) -> Result<Option<Marker>, SinkError> {
        let epochs = self.name.sibling(table::EPOCHS);
        let failed = |e: tokio_postgres::Error| self.error("lock its epoch", &e);
        tx.execute(
            &format!(
                "INSERT INTO {epochs} (pipeline, sink, instance, epoch, token, rows, committed_at) \
                 VALUES ($1, $2, '', 0, '', 0, now()) ON CONFLICT DO NOTHING"
            ),
            &[&self.context.pipeline, &self.context.sink],
        )
        .await
        .map_err(failed)?;
        let row = tx
            .query_one(
                &format!(
                    "SELECT instance, epoch, token FROM {epochs} \
                     WHERE pipeline = $1 AND sink = $2 FOR UPDATE"
                ),
                &[&self.context.pipeline, &self.context.sink],
            )
            .await
            .map_err(failed)?;
        Ok(marker_of(&row))
    }

    /// Returns the bytes sent.
    async fn write(
        &self,
        tx: &Transaction<'_>,
        plan: &Plan,
        rows: &StagedRows,
        kept: &KeptRows,
    ) -> Result<u64, SinkError> {
        if self.context.mode == OutputMode::Complete {
            tx.batch_execute(&plan.delete).await.map_err(|e| self.error("empty it", &e))?;
        }
        if kept.num_rows() == 0 {
            return Ok(0);
        }
        if let Some(stage) = &plan.stage {
            tx.batch_execute(&stage.create)
                .await
                .map_err(|e| self.error("make a temporary table", &e))?;
        }
        let sent = self.copy(tx, plan, rows, kept).await?;
        if let Some(stage) = &plan.stage {
            tx.execute(&stage.insert, &[]).await.map_err(|e| self.error("insert", &e))?;
        }
        Ok(sent)
    }

    async fn copy(
        &self,
        tx: &Transaction<'_>,
        plan: &Plan,
        rows: &StagedRows,
        kept: &KeptRows,
    ) -> Result<u64, SinkError> {
        let failed = |e: tokio_postgres::Error| self.error("copy into it", &e);
        let sink = tx.copy_in::<_, Bytes>(&plan.copy).await.map_err(failed)?;
        let mut sink = std::pin::pin!(sink);
        let mut piece = BytesMut::with_capacity(PIECE_BYTES + PIECE_BYTES / 4);
        copy::header(&mut piece);
        let mut sent = 0;
        let result = async {
            for batch in rows.kept_batches(kept)? {
                let batch = batch?;
                self.check_keys(&batch, plan)?;
                let encoder = Encoder::new(&batch)?;
                for row in 0..batch.num_rows() {
                    encoder
                        .row(row, &mut piece)
                        .map_err(|reason| self.bad_row(&batch, row, &reason))?;
                    if piece.len() >= PIECE_BYTES {
                        sent += piece.len() as u64;
                        let full = std::mem::replace(
                            &mut piece,
                            BytesMut::with_capacity(PIECE_BYTES + PIECE_BYTES / 4),
                        );
                        sink.send(full.freeze()).await.map_err(failed)?;
                    }
                }
            }
            copy::trailer(&mut piece);
            sent += piece.len() as u64;
            sink.send(piece.freeze()).await.map_err(failed)?;
            sink.as_mut().finish().await.map_err(failed)
        }
        .await;
        match result {
            Ok(_) => Ok(sent),
            Err(error) => Err(self.name_row(error, rows, kept)),
        }
    }
}

fn marker_of(row: &tokio_postgres::Row) -> Option<Marker> {
    let (instance, epoch, token): (String, i64, String) = (row.get(0), row.get(1), row.get(2));
    // The empty instance is a row that was only made to be locked.
    let epoch = u64::try_from(epoch).unwrap_or(0);
    (!instance.is_empty()).then_some(Marker { instance, epoch, token })
}
