//! Statements over the lakehouse: the tables of the configuration, by name, and nothing else that
//! this process could read.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, RecordBatch};
use futures::future::BoxFuture;
use tokio::sync::Mutex;

use super::sql::{Answer, Limits, StatementError, Statements, TableColumn, TableColumns, give_way};
use crate::catalog::{Catalog, TableEntry};
use crate::config::SqlBoxSettings;
use crate::lakesql::{self, EngineOptions, LakeSqlError, Session, split};

/// The first words of statements that only read. Views would be everybody's, and are left out.
const READS: [&str; 8] =
    ["SELECT", "WITH", "VALUES", "FROM", "TABLE", "EXPLAIN", "DESCRIBE", "SHOW"];
/// For so long the list of tables is given again without a look at them.
const TABLES_KEPT: Duration = Duration::from_secs(5);
/// Time to look at one table for the list.
const LOOK: Duration = Duration::from_secs(5);

/// The tables as they were listed last, and when.
type Listed = Option<(Instant, Vec<TableColumns>)>;

/// Runs statements over the tables of a catalogue.
#[derive(Clone, Debug)]
pub struct LakeStatements {
    session: Session,
    listed: Arc<Mutex<Listed>>,
}

impl LakeStatements {
    /// With threads that give way to all others, and as much memory as the settings say. Nothing
    /// goes to disk: what needs more memory fails, and says so.
    ///
    /// # Errors
    /// There are no threads to be had.
    pub fn start(catalog: Catalog, settings: &SqlBoxSettings) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let options = EngineOptions {
            threads: settings.max_concurrent.min(cores),
            memory: settings.memory,
            spill: false,
        };
        // Threads inherit how they give way from the one that starts them.
        let starter = std::thread::Builder::new().name("sql".to_owned()).spawn(move || {
            give_way();
            Session::with_options(catalog.only_named(), &options)
        })?;
        let session = starter
            .join()
            .map_err(|_| io::Error::other("the session ended in a panic"))?
            .map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { session, listed: Arc::default() })
    }

    async fn list(self) -> Vec<TableColumns> {
        // One at a time: who waits gets what the one before found.
        let mut listed = self.listed.lock().await;
        if let Some((at, tables)) = &*listed
            && at.elapsed() < TABLES_KEPT
        {
            return tables.clone();
        }
        let mut tables = Vec::new();
        for entry in self.session.catalog().tables() {
            tables.push(self.look(entry).await);
        }
        *listed = Some((Instant::now(), tables.clone()));
        tables
    }

    async fn look(&self, entry: &TableEntry) -> TableColumns {
        let name = format!("{}.{}", quoted(entry.name.schema()), quoted(entry.name.table()));
        let limits = lakesql::Limits { max_rows: None, timeout: Some(LOOK), read_only: true };
        let (columns, problem) =
            match self.session.execute(&format!("DESCRIBE {name}"), &limits).await {
                Ok(answer) => (columns(&answer.batches), None),
                Err(error) => (Vec::new(), Some(error.message())),
            };
        TableColumns {
            name,
            kind: entry.kind.words().to_owned(),
            written_by: entry.written_by.clone(),
            location: entry.location.uri().to_owned(),
            columns,
            problem,
        }
    }
}

impl Statements for LakeStatements {
    fn tables(&self) -> BoxFuture<'static, Vec<TableColumns>> {
        Box::pin(self.clone().list())
    }

    fn run(
        &self,
        sql: String,
        limits: Limits,
    ) -> BoxFuture<'static, Result<Answer, StatementError>> {
        let session = self.session.clone();
        Box::pin(async move {
            only_reads(&sql)?;
            let limits = lakesql::Limits {
                max_rows: Some(limits.max_rows),
                timeout: Some(limits.timeout),
                read_only: true,
            };
            let answer = session.execute(&sql, &limits).await.map_err(|error| said(&error))?;
            Ok(Answer {
                schema: answer.schema,
                batches: answer.batches,
                truncated: answer.truncated,
                notices: answer.notices,
            })
        })
    }
}

/// Refuses what is not known to read only, before the session refuses what it knows to write.
fn only_reads(sql: &str) -> Result<(), StatementError> {
    let statements = split(sql).map_err(|error| said(&LakeSqlError::from(error)))?;
    for statement in statements {
        // Where its first word is, behind blanks and comments.
        let (line, column) = statement.at;
        let word: String = sql
            .lines()
            .nth(line.saturating_sub(1))
            .unwrap_or_default()
            .chars()
            .skip(column.saturating_sub(1))
            .skip_while(|c| *c == '(')
            .take_while(|c| c.is_ascii_alphabetic())
            .collect();
        let word = word.to_ascii_uppercase();
        if !READS.contains(&word.as_str()) && word != "DESC" {
            return Err(StatementError::Refused(format!(
                "'{word}' is not for here: statements only read, and begin with {}",
                READS.join(", ")
            )));
        }
    }
    Ok(())
}

fn said(error: &LakeSqlError) -> StatementError {
    let mut words = error.message();
    if let Some(hint) = error.hint() {
        words = format!("{words}; {hint}");
    }
    if let Some((line, column)) = error.location() {
        words = format!("line {line}, column {column}: {words}");
    }
    match error {
        LakeSqlError::Timeout(limit) => StatementError::Timeout(*limit),
        error if error.is_usage() => StatementError::Refused(words),
        _ => StatementError::Failed(words),
    }
}

/// A part of a name as a statement has to write it.
fn quoted(part: &str) -> String {
    let plain = part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain { part.to_owned() } else { format!("`{}`", part.replace('`', "``")) }
}

/// The first two columns of DESCRIBE: names and types. What follows an empty name is about the
/// table's partitions.
fn columns(batches: &[RecordBatch]) -> Vec<TableColumn> {
    let mut found = Vec::new();
    for batch in batches {
        let (Some(names), Some(kinds)) = (
            batch.columns().first().and_then(|column| column.as_string_opt::<i32>()),
            batch.columns().get(1).and_then(|column| column.as_string_opt::<i32>()),
        ) else {
            continue;
        };
        for row in 0..batch.num_rows() {
            if names.is_null(row)
                || names.value(row).is_empty()
                || names.value(row).starts_with('#')
            {
                return found;
            }
            let kind = if kinds.is_null(row) { "" } else { kinds.value(row) };
            found.push(TableColumn { name: names.value(row).to_owned(), kind: kind.to_owned() });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_statements_that_read_get_through() {
        for good in [
            "SELECT 1",
            "  -- a\n/* b */ select 1",
            "(SELECT 1)",
            "with a as (select 1) select * from a",
            "DESC t",
            "SHOW TABLES",
            "VALUES (1)",
        ] {
            assert_eq!(only_reads(good), Ok(()), "{good}");
        }
        for bad in [
            "CREATE TEMP VIEW v AS SELECT 1",
            "/* SELECT */ DROP VIEW v",
            "-- SELECT\nOPTIMIZE t",
            "SELECT 1; VACUUM t",
            "RESTORE t TO VERSION AS OF 1",
        ] {
            assert!(matches!(only_reads(bad), Err(StatementError::Refused(_))), "{bad}");
        }
        assert_eq!(quoted("web-logs"), "`web-logs`");
        assert_eq!(quoted("a`b"), "`a``b`");
        assert_eq!(quoted("bronze"), "bronze");
    }
}
