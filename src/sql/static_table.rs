//! A table that does not stream: a query's other side in a join. It is data only; whoever loads it
//! puts new rows in when they change.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::SqlError;

/// A table's name and columns, and the rows it has now.
#[derive(Debug)]
pub struct StaticTable {
    name: String,
    schema: SchemaRef,
    /// Counts the replacements, so that readers can tell cheaply whether there was one.
    version: AtomicU64,
    rows: RwLock<Arc<Vec<RecordBatch>>>,
}

impl StaticTable {
    /// A table without rows, until [`replace`](Self::replace) brings them.
    pub fn new(name: impl Into<String>, schema: SchemaRef) -> Self {
        Self {
            name: name.into(),
            schema,
            version: AtomicU64::new(0),
            rows: RwLock::new(Arc::new(vec![])),
        }
    }

    /// The name that queries use in FROM.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Puts these rows in the place of all that were there. Batches that are joined from now on see
    /// them.
    ///
    /// # Errors
    /// A batch has other columns than the table.
    pub fn replace(&self, batches: Vec<RecordBatch>) -> Result<(), SqlError> {
        for batch in &batches {
            let found = batch.schema();
            let same = found.fields().len() == self.schema.fields().len()
                && found.fields().iter().zip(self.schema.fields()).all(|(found, declared)| {
                    found.name() == declared.name()
                        && found.data_type().equals_datatype(declared.data_type())
                });
            if !same {
                return Err(SqlError::new(format!(
                    "table '{}' was declared with the columns {}, and its rows have {found}",
                    self.name, self.schema
                ))
                .hint("restart the daemon, so that queries are planned with the new columns"));
            }
        }
        *self.rows.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(batches);
        // Release: who sees the new version sees the new rows.
        self.version.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Changes with every [`replace`](Self::replace).
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The rows that are there now, with the version they have at least.
    pub fn current(&self) -> (u64, Arc<Vec<RecordBatch>>) {
        let version = self.version();
        (version, Arc::clone(&self.rows.read().unwrap_or_else(PoisonError::into_inner)))
    }
}
