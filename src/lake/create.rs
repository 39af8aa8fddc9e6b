//! Making a table that does not exist, and adding columns to one that does.

use std::collections::HashMap;

use deltalake::kernel::{
    Action, CommitInfo, DataType, Metadata, MetadataExt, PrimitiveType, Protocol, StructField,
    StructType,
};
use deltalake::logstore::LogStoreRef;
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::{DeltaOperation, SaveMode};

use super::compat;
use super::log::{LogView, Written, write_version};
use super::types::contains_ntz;
use super::{LakeError, TableSpec, engine_info, now_ms};

/// Checks what of a table's definition can be checked without the table.
pub(super) fn check_definition(
    spec: &TableSpec,
    columns: Result<Vec<StructField>, Vec<String>>,
) -> Result<Vec<StructField>, LakeError> {
    let (columns, mut problems) = match columns {
        Ok(columns) => (columns, Vec::new()),
        Err(problems) => (Vec::new(), problems),
    };
    if problems.is_empty() {
        if columns.is_empty() {
            problems.push("it has no columns".to_owned());
        }
        for (i, name) in spec.partition_by.iter().enumerate() {
            if spec.partition_by[..i].contains(name) {
                problems.push(format!("partition column `{name}` is listed twice"));
                continue;
            }
            match columns.iter().find(|column| column.name() == name) {
                None => problems.push(format!("partition column `{name}` is not a column of the rows")),
                Some(column) => match column.data_type() {
                    DataType::Primitive(PrimitiveType::Binary) => problems.push(format!(
                        "partition column `{name}` is BINARY, which has no readable form in a path; \
                         use hex({name})"
                    )),
                    DataType::Primitive(_) => {}
                    _ => problems.push(format!("partition column `{name}` is nested")),
                },
            }
        }
        if !columns.is_empty() && spec.partition_by.len() >= columns.len() {
            problems.push(
                "every column is a partition column; files need at least one of their own"
                    .to_owned(),
            );
        }
    }
    if spec.target_file_bytes == 0 {
        problems.push("the target size of files is 0 bytes".to_owned());
    }
    if problems.is_empty() {
        Ok(columns)
    } else {
        Err(LakeError::Definition { table: spec.uri.clone(), problems })
    }
}

/// Writes version 0. `Ok` whoever wrote it: with two creators the second finds the first's.
pub(super) async fn create(
    store: &LogStoreRef,
    spec: &TableSpec,
    columns: &[StructField],
) -> Result<(), LakeError> {
    let (protocol, metadata) = define(spec, columns).await?;
    let operation = DeltaOperation::Create {
        mode: SaveMode::ErrorIfExists,
        location: store.root_url().clone(),
        protocol: protocol.clone(),
        metadata: metadata.clone(),
    };
    let mut info = operation.get_commit_info();
    stamp(&mut info);
    let actions =
        [Action::CommitInfo(info), Action::Protocol(protocol), Action::Metadata(metadata)];
    // Not CreateBuilder's own commit: when it loses the race it commits its protocol and
    // metadata on top of the winner's table.
    write_version(store, &spec.uri, 0, &actions).await.map(|_| ())
}

/// Protocol and metadata of a new table, as deltalake's own builder derives them: it knows
/// which properties and types need which table features.
async fn define(
    spec: &TableSpec,
    columns: &[StructField],
) -> Result<(Protocol, Metadata), LakeError> {
    let problem =
        |reason: String| LakeError::Definition { table: spec.uri.clone(), problems: vec![reason] };
    let (deltas, others): (Vec<_>, Vec<_>) =
        spec.properties.iter().partition(|(key, _)| key.starts_with("delta."));
    let mut properties: HashMap<String, Option<String>> =
        deltas.into_iter().map(|(k, v)| (k.clone(), Some(v.clone()))).collect();
    if spec.checkpoint_interval > 0 {
        // For other writers of the table; this one goes by its own setting.
        properties
            .entry("delta.checkpointInterval".to_owned())
            .or_insert_with(|| Some(spec.checkpoint_interval.to_string()));
    }
    let mut builder = CreateBuilder::new()
        .with_location("memory:///")
        .with_columns(columns.iter().cloned())
        .with_partition_columns(spec.partition_by.iter().cloned())
        .with_configuration(properties);
    if let Some(name) = &spec.name {
        builder = builder.with_table_name(name);
    }
    if let Some(description) = &spec.description {
        builder = builder.with_comment(description);
    }
    let table = builder.await.map_err(|e| problem(e.to_string()))?;
    let state = table.snapshot().map_err(|e| problem(e.to_string()))?;
    let (protocol, mut metadata) = (state.protocol().clone(), state.metadata().clone());
    // Properties of the user's own are data to Delta; the builder would call them unknown.
    for (key, value) in others {
        metadata = metadata
            .add_config_key(key.clone(), value.clone())
            .map_err(|e| problem(format!("property {key}: {e}")))?;
    }
    let objections = compat::objections(&protocol, &metadata);
    if objections.is_empty() {
        Ok((protocol, metadata))
    } else {
        Err(LakeError::Unsupported { table: spec.uri.clone(), reasons: objections })
    }
}

/// Adds `columns` to the table in a commit of its own. [`Written::Taken`]: another writer was
/// first, and the comparison has to be made again.
pub(super) async fn add_columns(
    view: &LogView,
    table: &str,
    columns: Vec<StructField>,
) -> Result<Written, LakeError> {
    let unreadable = |e: &dyn std::fmt::Display| LakeError::log(table, e.to_string());
    let has_ntz = view
        .protocol
        .writer_features()
        .unwrap_or_default()
        .iter()
        .any(|feature| feature.to_string() == "timestampNtz");
    if let Some(column) = columns.iter().find(|c| contains_ntz(c.data_type())).filter(|_| !has_ntz)
    {
        return Err(LakeError::Schema {
            table: table.to_owned(),
            differences: vec![format!(
                "column `{}` is TIMESTAMP_NTZ, and the table lacks the feature timestampNtz; \
                 cast it to TIMESTAMP or add the feature",
                column.name()
            )],
        });
    }
    let before = view.metadata.parse_schema().map_err(|e| unreadable(&e))?;
    let after = StructType::try_new(before.fields().cloned().chain(columns.iter().cloned()))
        .map_err(|e| unreadable(&e))?;
    let metadata =
        MetadataExt::with_schema(view.metadata.clone(), &after).map_err(|e| unreadable(&e))?;
    let mut info = DeltaOperation::AddColumn { fields: columns }.get_commit_info();
    info.read_version = Some(view.version);
    stamp(&mut info);
    view.write(&[Action::CommitInfo(info), Action::Metadata(metadata)]).await
}

/// Time and origin of a commit.
pub(super) fn stamp(info: &mut CommitInfo) {
    info.timestamp = Some(now_ms());
    info.engine_info = Some(engine_info());
}
