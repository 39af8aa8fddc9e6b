//! `MERGE` by key, with deltalake's own operation.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::{Column, ScalarValue, TableReference};
use datafusion::functions::core::expr_fn::{coalesce, get_field};
use datafusion::logical_expr::{Expr, lit};
use datafusion::prelude::{SessionConfig, SessionContext};
use deltalake::kernel::Transaction;
use deltalake::kernel::transaction::{CommitProperties, TransactionError};
use deltalake::{DeltaTable, DeltaTableError};
use parquet::basic::{Compression as Codec, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::lake::{Compression, LakeError, LakeTable, TableSpec};
use crate::sink::error::{SinkError, chain};
use crate::sink::schema::fit;
use crate::sink::staged::StagedRows;
use crate::sink::target::TargetContext;

const SOURCE: &str = "source";
const TARGET: &str = "target";

/// Partition values of an epoch are listed up to this many; beyond, files are passed over by the
/// least and greatest value only.
const MOST_VALUES: usize = 1000;

/// Merges epochs into one table.
pub(super) struct Merger {
    table: String,
    schema: SchemaRef,
    keys: Vec<usize>,
    /// Those of `keys` that the table is partitioned by.
    partitions: Vec<usize>,
    properties: WriterProperties,
    log_checkpoints: bool,
}

/// What a merge came to.
pub(super) struct Merged {
    /// The table after it.
    pub table: DeltaTable,
    /// Rows updated and inserted.
    pub rows: u64,
    /// Files added.
    pub files: usize,
}

impl Merger {
    /// What can be said without the table.
    pub fn check(context: &TargetContext) -> Result<(), SinkError> {
        let keys = context.key_columns()?;
        if keys.is_empty() {
            return Err(SinkError::definition(
                &context.sink,
                "update mode needs the columns that a row is known by; set `key`",
            ));
        }
        let bad = keys
            .iter()
            .map(|key| context.schema.field(*key))
            .find(|field| !comparable(field.data_type()));
        match bad {
            None => Ok(()),
            Some(field) => Err(SinkError::definition(
                &context.sink,
                format!(
                    "key column `{}` is {}, which rows cannot be matched by",
                    field.name(),
                    field.data_type()
                ),
            )),
        }
    }

    pub fn new(
        context: &TargetContext,
        table: &LakeTable,
        spec: &TableSpec,
    ) -> Result<Self, SinkError> {
        let codec = match spec.compression {
            Compression::None => Codec::UNCOMPRESSED,
            Compression::Snappy => Codec::SNAPPY,
            Compression::Lz4 => Codec::LZ4_RAW,
            Compression::Zstd(level) => Codec::ZSTD(ZstdLevel::try_new(level).map_err(|e| {
                SinkError::definition(
                    &context.sink,
                    format!("compression {}: {e}", spec.compression),
                )
            })?),
        };
        let properties = WriterProperties::builder()
            .set_compression(codec)
            .set_created_by(format!("millpond version {}", env!("CARGO_PKG_VERSION")))
            .build();
        let keys = context.key_columns()?;
        let is_partition =
            |key: &&usize| table.partition_columns().contains(context.schema.field(**key).name());
        Ok(Self {
            table: table.uri().to_owned(),
            schema: in_types_of(&context.schema, &table.schema()),
            partitions: keys.iter().filter(is_partition).copied().collect(),
            keys,
            properties,
            log_checkpoints: spec.checkpoint_interval > 0,
        })
    }

    /// Merges the last row of each key, in one commit with `transactions`, provided that the table
    /// has the versions in `expected`.
    pub async fn merge(
        &self,
        mut delta: DeltaTable,
        rows: &StagedRows,
        transactions: Vec<(String, i64)>,
        expected: &[(String, Option<i64>)],
    ) -> Result<Merged, SinkError> {
        let trouble = |e| SinkError::from(LakeError::from_delta("read the log of", &self.table, e));
        // What the last commit returned would be replayed longer and longer; reading the log's
        // newest checkpoint is not.
        delta.update_state().await.map_err(trouble)?;
        // From this version on it is Delta that notices another commit of the same transactions;
        // what came before it was looked up earlier than this.
        let snapshot = delta.snapshot().map_err(trouble)?.snapshot().clone();
        for (app, version) in expected {
            let log = delta.log_store();
            let now = snapshot.transaction_version(log.as_ref(), app).await.map_err(trouble)?;
            if now != *version {
                return Err(LakeError::Conflict { table: self.table.clone(), attempts: 1 }.into());
            }
        }
        let kept = rows.last_of_each(&self.keys)?;
        let batches: Vec<RecordBatch> = rows
            .kept_batches(&kept)?
            .map(|batch| fit(&batch?, &self.schema))
            .filter(|batch| !batch.as_ref().is_ok_and(|batch| batch.num_rows() == 0))
            .collect::<Result<_, _>>()?;
        let predicate = self.predicate(&batches)?;
        // One thread: the actor that waits for this has no more.
        let session = SessionContext::new_with_config(
            SessionConfig::new().with_target_partitions(1).with_batch_size(8192),
        );
        let source = session.read_batches(batches).map_err(SinkError::internal)?;
        let txns = transactions.into_iter().map(|(app, version)| Transaction::new(app, version));
        let commit = CommitProperties::default()
            .with_application_transactions(txns.collect())
            .with_create_checkpoint(self.log_checkpoints)
            .with_metadata([("engineInfo".to_owned(), crate::lake::engine_info().into())]);
        let columns: Vec<&str> =
            self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let is_key =
            |name: &str| self.keys.iter().any(|key| self.schema.field(*key).name() == name);
        let values: Vec<&str> = columns.iter().copied().filter(|name| !is_key(name)).collect();
        let mut builder = delta
            .merge(source, predicate)
            .with_source_alias(SOURCE)
            .with_target_alias(TARGET)
            .with_writer_properties(self.properties.clone())
            .with_commit_properties(commit);
        // Rows that are nothing but keys are there or not; there is nothing to update.
        if !values.is_empty() {
            builder = builder
                .when_matched_update(|update| {
                    values.iter().fold(update, |update, name| {
                        update.update(Column::new_unqualified(*name), of(SOURCE, name))
                    })
                })
                .map_err(|e| self.error(e))?;
        }
        let builder = builder
            .when_not_matched_insert(|insert| {
                columns.iter().fold(insert, |insert, name| {
                    insert.set(Column::new_unqualified(*name), of(SOURCE, name))
                })
            })
            .map_err(|e| self.error(e))?;
        let (table, metrics) = builder.await.map_err(|e| self.error(e))?;
        Ok(Merged {
            table,
            rows: (metrics.num_target_rows_inserted + metrics.num_target_rows_updated) as u64,
            files: metrics.num_target_files_added,
        })
    }

    /// The condition under which a row of the table is the older version of one of these.
    fn predicate(&self, batches: &[RecordBatch]) -> Result<Expr, SinkError> {
        let mut conditions = Vec::new();
        for key in &self.partitions {
            conditions.extend(self.named_partitions(batches, *key)?);
        }
        for key in &self.keys {
            let name = self.schema.field(*key).name();
            let columns: Vec<ArrayRef> = batches.iter().map(|b| b.column(*key).clone()).collect();
            let kind = self.schema.field(*key).data_type();
            same(&columns, kind, of(SOURCE, name), of(TARGET, name), &mut conditions)?;
        }
        conditions
            .into_iter()
            .reduce(Expr::and)
            .ok_or_else(|| SinkError::internal("a merge without a key"))
    }

    /// `target.day IN (...)`: the values of a partition column among the rows.
    fn named_partitions(
        &self,
        batches: &[RecordBatch],
        key: usize,
    ) -> Result<Option<Expr>, SinkError> {
        let field = self.schema.field(key);
        let columns: Vec<&dyn Array> = batches.iter().map(|b| b.column(key).as_ref()).collect();
        if columns.is_empty() {
            return Ok(None);
        }
        let column: ArrayRef = concat(&columns).map_err(SinkError::internal)?;
        // As text, so that any type can be told apart; the row is where the value is first.
        let texts = cast(&column, &DataType::Utf8).map_err(SinkError::internal)?;
        let texts: &StringArray = texts.as_string();
        let mut seen = BTreeSet::new();
        let mut values = Vec::new();
        for (row, text) in texts.iter().enumerate() {
            if let Some(text) = text
                && seen.insert(text)
            {
                let value = ScalarValue::try_from_array(&column, row);
                values.push(lit(value.map_err(SinkError::internal)?));
                if values.len() > MOST_VALUES {
                    return Ok(None);
                }
            }
        }
        let target = of(TARGET, field.name());
        let mut condition =
            if values.is_empty() { None } else { Some(target.clone().in_list(values, false)) };
        if column.null_count() > 0 {
            let null = target.is_null();
            condition = Some(match condition {
                Some(list) => list.or(null),
                None => null,
            });
        }
        Ok(condition)
    }

    fn error(&self, error: DeltaTableError) -> SinkError {
        let conflict = matches!(
            error,
            DeltaTableError::VersionAlreadyExists(_)
                | DeltaTableError::Transaction {
                    source: TransactionError::CommitConflict(_)
                        | TransactionError::MaxCommitAttempts(_)
                        | TransactionError::VersionAlreadyExists(_)
                }
        );
        if conflict {
            // The next attempt reads the newer version first.
            return LakeError::Conflict { table: self.table.clone(), attempts: 1 }.into();
        }
        if let DeltaTableError::Generic(_) | DeltaTableError::InvalidData { .. } = &error {
            return SinkError::data(&format!("the Delta table {}", self.table), chain(&error));
        }
        LakeError::from_delta("merge into", &self.table, error).into()
    }
}

/// The conditions under which `target` is the same value as `source`, which `columns` hold. Structs,
/// such as a window, are compared field by field.
fn same(
    columns: &[ArrayRef],
    kind: &DataType,
    source: Expr,
    target: Expr,
    conditions: &mut Vec<Expr>,
) -> Result<(), SinkError> {
    if let DataType::Struct(fields) = kind {
        for (place, field) in fields.iter().enumerate() {
            // Flattened, a field is NULL where its struct is.
            let inner = columns
                .iter()
                .map(|column| column.as_struct().flatten())
                .map(|(_, columns)| columns[place].clone())
                .collect::<Vec<_>>();
            let source = get_field(source.clone(), field.name().as_str());
            let target = get_field(target.clone(), field.name().as_str());
            same(&inner, field.data_type(), source, target, conditions)?;
        }
        return Ok(());
    }
    if columns.iter().all(|column| column.null_count() == 0) {
        // A NULL in the table is equal to none of these.
        conditions.push(target.eq(source));
        return Ok(());
    }
    // `<=>` would be joined row by row with every row; two equalities are hashed.
    let stand_in = lit(ScalarValue::new_default(kind).map_err(SinkError::internal)?);
    conditions.push(
        coalesce(vec![target.clone(), stand_in.clone()])
            .eq(coalesce(vec![source.clone(), stand_in])),
    );
    conditions.push(target.is_null().eq(source.is_null()));
    Ok(())
}

/// The columns of `rows` with the types that the table has: they may be wider there.
fn in_types_of(rows: &SchemaRef, table: &SchemaRef) -> SchemaRef {
    let fields = rows.fields().iter().map(|field| match table.field_with_name(field.name()) {
        Ok(there) => Arc::new(field.as_ref().clone().with_data_type(there.data_type().clone())),
        Err(_) => field.clone(),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Whether rows can be matched by values of this type.
fn comparable(kind: &DataType) -> bool {
    match kind {
        DataType::List(_) | DataType::Map(_, _) => false,
        DataType::Struct(fields) => fields.iter().all(|field| comparable(field.data_type())),
        _ => true,
    }
}

/// A column by its very name, whatever its case.
fn of(relation: &'static str, name: &str) -> Expr {
    Expr::Column(Column::new(Some(TableReference::bare(Arc::<str>::from(relation))), name))
}
