//! What PostgreSQL says, sorted by what can be done about it.

use arrow::array::RecordBatch;
use tokio_postgres::Error;
use tokio_postgres::error::DbError;

use super::PostgresTarget;
use super::table::Plan;
use crate::sink::console::Renderer;
use crate::sink::error::{SinkError, chain};
use crate::sink::staged::{KeptRows, StagedRows};

/// SQLSTATEs, whole or by class, that pass: the connection, resources that have run out, the server
/// that starts, stops or has crashed, lost races, locks, a server that is a replica just now, its
/// disk, and the time a statement or an idle transaction may take.
/// <https://www.postgresql.org/docs/15/errcodes-appendix.html>
const TRANSIENT: [&str; 15] = [
    "08", "40001", "40P01", "40003", "53", "55P03", "55006", "57P01", "57P02", "57P03", "57014",
    "58", "25006", "25P03", "25P02",
];

/// Sorts an error. `action` completes "could not".
pub(super) fn classify(action: &str, target: &str, error: &Error) -> SinkError {
    let target = target.to_owned();
    let Some(db) = error.as_db_error() else {
        let reason = format!("could not {action}: {}", chain(error));
        // The network, a TLS handshake, a server that speaks another protocol: of these only what
        // the certificate says can be told apart, and that will be said again.
        return if reason.contains("invalid peer certificate")
            || reason.contains("invalid configuration")
            || reason.contains("server does not support TLS")
        {
            SinkError::Rejected { target, reason }
        } else {
            SinkError::Unavailable { target, reason }
        };
    };
    let reason = format!("could not {action}: {}", words(db));
    let code = db.code().code();
    if TRANSIENT.iter().any(|transient| code.starts_with(transient)) {
        SinkError::Unavailable { target, reason }
    } else if code.starts_with("22") || code.starts_with("23") || code.starts_with("44") {
        SinkError::Data { target, reason }
    } else {
        SinkError::Rejected { target, reason }
    }
}

/// Everything the server said that helps: message, detail, hint, where.
fn words(db: &DbError) -> String {
    let mut text = format!("{} ({})", db.message(), db.code().code());
    for more in [db.detail(), db.hint()].into_iter().flatten() {
        text.push_str(": ");
        text.push_str(more);
    }
    if let Some(context) = db.where_() {
        text.push_str(&format!(" [{}]", context.replace('\n', "; ")));
    }
    text
}

impl PostgresTarget {
    pub(super) fn error(&self, action: &str, error: &Error) -> SinkError {
        classify(action, &self.address(), error)
    }

    /// A row that cannot be sent.
    pub(super) fn bad_row(&self, batch: &RecordBatch, row: usize, reason: &str) -> SinkError {
        SinkError::Data {
            target: self.address(),
            reason: format!("{reason}; the row is {}", shown(batch, row)),
        }
    }

    /// Refuses NULL in a key that the index takes for different from every other NULL: such a row
    /// would be added again with every epoch.
    pub(super) fn check_keys(&self, batch: &RecordBatch, plan: &Plan) -> Result<(), SinkError> {
        if plan.null_is_a_key {
            return Ok(());
        }
        for key in &self.keys {
            let column = batch.column(*key);
            let Some(row) = (0..batch.num_rows()).find(|row| column.is_null(*row)) else {
                continue;
            };
            let name = batch.schema_ref().field(*key).name().clone();
            return Err(self.bad_row(
                batch,
                row,
                &format!(
                    "key column `{name}` is NULL, which the table's unique index takes for \
                     different from every other NULL; make the index NULLS NOT DISTINCT \
                     (PostgreSQL 15), or put coalesce(...) into the query"
                ),
            ));
        }
        Ok(())
    }

    /// Adds the row to an error in which the server only counts lines.
    pub(super) fn name_row(
        &self,
        error: SinkError,
        rows: &StagedRows,
        kept: &KeptRows,
    ) -> SinkError {
        let SinkError::Data { target, reason } = error else { return error };
        let Some(line) = line_of(&reason) else { return SinkError::Data { target, reason } };
        let mut before = 0;
        let batches = rows.kept_batches(kept).into_iter().flatten().map_while(Result::ok);
        for batch in batches {
            if line <= before + batch.num_rows() {
                let row = shown(&batch, line - before - 1);
                return SinkError::Data { target, reason: format!("{reason}; the row is {row}") };
            }
            before += batch.num_rows();
        }
        SinkError::Data { target, reason }
    }
}

/// `COPY readings, line 17, column value` is the 17th row, counted from 1.
fn line_of(reason: &str) -> Option<usize> {
    let (_, rest) = reason.rsplit_once("[COPY ")?;
    let (_, rest) = rest.split_once(", line ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|line| *line > 0)
}

/// A row with its columns' names, cut to a length fit for a log.
fn shown(batch: &RecordBatch, row: usize) -> String {
    const LONGEST: usize = 500;
    let mut text = String::from("(");
    for (place, (field, column)) in
        batch.schema_ref().fields().iter().zip(batch.columns()).enumerate()
    {
        if place > 0 {
            text.push_str(", ");
        }
        text.push_str(field.name());
        text.push('=');
        // One row, so that a wide column is not turned into text as a whole.
        match Renderer::new(&column.slice(row, 1)) {
            Ok(renderer) => renderer.write(0, &mut text),
            Err(_) => text.push('?'),
        }
        if text.len() > LONGEST {
            let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
            text.push_str("...");
            break;
        }
    }
    text.push(')');
    text
}
