//! The table: what it is made of, and the statements that write to it.

use std::fmt::Write;

use arrow::datatypes::{DataType, Field};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use super::errors::classify;
use super::name::{TableName, quote};
use super::types::{JSONB, natural};
use crate::sink::encode::json_objection;
use crate::sink::error::SinkError;
use crate::sink::target::TargetContext;

/// The table that remembers which epoch of which sink has been written.
pub(super) const EPOCHS: &str = "millpond_epochs";

/// The temporary table that rows go through.
const STAGE: &str = "millpond_stage";

/// More columns no PostgreSQL table has.
const MOST_COLUMNS: usize = 1600;

/// The statements of a commit.
pub(super) struct Plan {
    /// `COPY ... FROM STDIN`, into the table or into the temporary one.
    pub copy: String,
    /// Set if rows go through a temporary table.
    pub stage: Option<Stage>,
    /// Empties the table.
    pub delete: String,
    /// Whether NULL in a key is equal to NULL, for the index that upserts go by.
    pub null_is_a_key: bool,
}

/// The way through a temporary table.
pub(super) struct Stage {
    pub create: String,
    pub insert: String,
}

/// A column of the table that is there.
struct Found {
    name: String,
    oid: u32,
    kind: String,
    required: bool,
    generated: bool,
}

/// A unique index of the table that is there.
struct Unique {
    columns: Vec<String>,
    null_is_a_key: bool,
}

impl Plan {
    /// Makes the tables that are missing, if that is allowed, and holds the table against the rows.
    pub async fn make(
        client: &mut Client,
        name: &TableName,
        context: &TargetContext,
        upsert: Option<&[usize]>,
        create: bool,
        target: &str,
    ) -> Result<Self, SinkError> {
        let failed = |action: &'static str| move |e: Error| classify(action, target, &e);
        let fields = context.schema.fields();
        if fields.is_empty() || fields.len() > MOST_COLUMNS {
            let problem =
                format!("the query has {} columns; 1 to 1600 can be written", fields.len());
            return Err(SinkError::definition(&context.sink, problem));
        }
        let problems: Vec<String> = fields
            .iter()
            .filter(|field| natural(field.data_type()).oid == JSONB)
            .filter_map(|field| json_objection(field))
            .collect();
        if !problems.is_empty() {
            return Err(SinkError::Definition { sink: context.sink.clone(), problems });
        }
        let epochs = format!(
            "CREATE TABLE IF NOT EXISTS {} (pipeline text NOT NULL, sink text NOT NULL, \
             instance text NOT NULL, epoch bigint NOT NULL, token text NOT NULL, \
             rows bigint NOT NULL, committed_at timestamptz NOT NULL, \
             PRIMARY KEY (pipeline, sink))",
            name.sibling(EPOCHS)
        );
        ensure(client, &name.sibling(EPOCHS), &[epochs], "create the table of epochs", target)
            .await?;
        if create {
            let statements = definition(client, name, context, upsert)
                .await
                .map_err(failed("ask for its version"))?;
            ensure(client, &name.quoted(), &statements, "create it", target).await?;
        }
        let Some(oid) = oid(client, &name.quoted()).await.map_err(failed("find it"))? else {
            return Err(SinkError::Schema {
                target: target.to_owned(),
                differences: vec![
                    "there is no such table; create it, or set `create = true`".to_owned(),
                ],
            });
        };
        let found = columns(client, oid).await.map_err(failed("read its columns"))?;
        let mut differences = Vec::new();
        let mut casts: Vec<Option<String>> = Vec::with_capacity(fields.len());
        for field in fields {
            match assignable(client, name, field, &found)
                .await
                .map_err(failed("check its types"))?
            {
                Ok(cast) => casts.push(cast),
                Err(difference) => differences.push(difference),
            }
        }
        for column in &found {
            if column.required && !fields.iter().any(|field| *field.name() == column.name) {
                differences.push(format!(
                    "column `{}` is NOT NULL without a default, and the rows do not have it",
                    column.name
                ));
            }
        }
        let mut null_is_a_key = true;
        if let Some(keys) = upsert {
            let keys: Vec<&str> = keys.iter().map(|key| fields[*key].name().as_str()).collect();
            let uniques = uniques(client, oid).await.map_err(failed("read its indexes"))?;
            let fitting = uniques.iter().filter(|unique| {
                unique.columns.len() == keys.len()
                    && keys.iter().all(|key| unique.columns.iter().any(|column| column == key))
            });
            match fitting.max_by_key(|unique| unique.null_is_a_key) {
                Some(unique) => null_is_a_key = unique.null_is_a_key,
                None => differences.push(format!(
                    "no unique index or primary key has exactly the key columns {}; upsert needs one",
                    keys.join(", ")
                )),
            }
        }
        if !differences.is_empty() {
            return Err(SinkError::Schema { target: target.to_owned(), differences });
        }
        Ok(Self::of(name, fields, &casts, upsert, null_is_a_key))
    }

    fn of(
        name: &TableName,
        fields: &[std::sync::Arc<Field>],
        casts: &[Option<String>],
        upsert: Option<&[usize]>,
        null_is_a_key: bool,
    ) -> Self {
        let list: Vec<String> = fields.iter().map(|field| quote(field.name())).collect();
        let list = list.join(", ");
        let table = name.quoted();
        let delete = format!("DELETE FROM {table}");
        // An empty cast says that the types are the same.
        let direct = upsert.is_none() && casts.iter().all(|cast| cast.as_deref() == Some(""));
        if direct {
            let copy = format!("COPY {table} ({list}) FROM STDIN (FORMAT binary)");
            return Self { copy, stage: None, delete, null_is_a_key };
        }
        let mut create = format!("CREATE TEMPORARY TABLE {STAGE} (");
        let mut select = String::new();
        for (place, (field, cast)) in fields.iter().zip(casts).enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            // Writing to a string cannot fail.
            let _ = write!(create, "{comma}c{place} {}", natural(field.data_type()).name);
            let _ = write!(select, "{comma}c{place}");
            if let Some(cast) = cast.as_deref().filter(|cast| !cast.is_empty()) {
                let _ = write!(select, "::{cast}");
            }
        }
        create.push_str(") ON COMMIT DROP");
        let mut insert = format!("INSERT INTO {table} ({list}) SELECT {select} FROM {STAGE}");
        if let Some(keys) = upsert {
            let (keys, values): (Vec<_>, Vec<_>) =
                (0..fields.len()).partition(|column| keys.contains(column));
            let names = |columns: Vec<usize>| -> Vec<String> {
                columns.into_iter().map(|column| quote(fields[column].name())).collect()
            };
            let _ = write!(insert, " ON CONFLICT ({})", names(keys).join(", "));
            let sets: Vec<String> =
                names(values).iter().map(|name| format!("{name} = EXCLUDED.{name}")).collect();
            if sets.is_empty() {
                insert.push_str(" DO NOTHING");
            } else {
                let _ = write!(insert, " DO UPDATE SET {}", sets.join(", "));
            }
        }
        let copy = format!("COPY {STAGE} FROM STDIN (FORMAT binary)");
        Self { copy, stage: Some(Stage { create, insert }), delete, null_is_a_key }
    }
}

async fn oid(client: &Client, quoted: &str) -> Result<Option<u32>, Error> {
    let row = client.query_one("SELECT to_regclass($1)::oid", &[&quoted]).await?;
    Ok(row.get(0))
}

/// Runs `statements` in one transaction if the table is not there; the error shows them, so that
/// somebody with the right to can run them.
async fn ensure(
    client: &mut Client,
    quoted: &str,
    statements: &[String],
    action: &str,
    target: &str,
) -> Result<(), SinkError> {
    let failed = |e: Error| classify(action, target, &e);
    // Of two that create the same table at once, one meets the other's entry in the catalogue.
    for last in [false, true] {
        if oid(client, quoted).await.map_err(failed)?.is_some() {
            return Ok(());
        }
        let tx = client.transaction().await.map_err(failed)?;
        let done = match tx.batch_execute(&statements.join("; ")).await {
            Ok(()) => tx.commit().await,
            Err(error) => Err(error),
        };
        let Err(error) = done else { return Ok(()) };
        let race = error.code().is_some_and(|code| {
            [SqlState::UNIQUE_VIOLATION, SqlState::DUPLICATE_TABLE, SqlState::DUPLICATE_OBJECT]
                .contains(code)
        });
        if race && !last {
            continue;
        }
        let mut error = classify(action, target, &error);
        if let SinkError::Rejected { reason, .. } = &mut error {
            let _ = write!(reason, "; the statement was: {}", statements.join("; "));
        }
        return Err(error);
    }
    Ok(())
}

/// The statements that make the table.
async fn definition(
    client: &Client,
    name: &TableName,
    context: &TargetContext,
    upsert: Option<&[usize]>,
) -> Result<Vec<String>, Error> {
    let fields = context.schema.fields();
    let columns: Vec<String> = fields
        .iter()
        .map(|field| format!("{} {}", quote(field.name()), natural(field.data_type()).name))
        .collect();
    let table = name.quoted();
    let Some(keys) = upsert else {
        return Ok(vec![format!("CREATE TABLE {table} ({})", columns.join(", "))]);
    };
    let keys: Vec<String> = keys.iter().map(|key| quote(fields[*key].name())).collect();
    let keys = keys.join(", ");
    let version =
        client.query_one("SELECT current_setting('server_version_num')::int", &[]).await?;
    if version.get::<_, i32>(0) >= 150_000 {
        return Ok(vec![
            format!("CREATE TABLE {table} ({})", columns.join(", ")),
            format!("CREATE UNIQUE INDEX ON {table} ({keys}) NULLS NOT DISTINCT"),
        ]);
    }
    Ok(vec![format!("CREATE TABLE {table} ({}, PRIMARY KEY ({keys}))", columns.join(", "))])
}

async fn columns(client: &Client, oid: u32) -> Result<Vec<Found>, Error> {
    let rows = client
        .query(
            "SELECT attname::text, atttypid, format_type(atttypid, atttypmod), \
                    attnotnull AND NOT atthasdef AND attidentity = '', \
                    attgenerated <> '' OR attidentity = 'a' \
             FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped \
             ORDER BY attnum",
            &[&oid],
        )
        .await?;
    Ok(rows
        .iter()
        .map(|row| Found {
            name: row.get(0),
            oid: row.get(1),
            kind: row.get(2),
            required: row.get(3),
            generated: row.get(4),
        })
        .collect())
}

async fn uniques(client: &Client, oid: u32) -> Result<Vec<Unique>, Error> {
    // Asked through jsonb: the column is new in PostgreSQL 15.
    let rows = client
        .query(
            "SELECT (SELECT array_agg(a.attname::text ORDER BY k.place) \
                     FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) \
                          WITH ORDINALITY AS k(attnum, place) \
                     JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum), \
                    coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::bool, false) \
                    OR (SELECT bool_and(a.attnotnull) \
                        FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) AS k(attnum) \
                        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum) \
             FROM pg_index i \
             WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate \
                   AND i.indpred IS NULL AND i.indexprs IS NULL",
            &[&oid],
        )
        .await?;
    Ok(rows.iter().map(|row| Unique { columns: row.get(0), null_is_a_key: row.get(1) }).collect())
}

/// How a column of the rows gets into the table's: as it is (an empty cast), by assignment (no
/// cast), by a cast; or why it does not.
async fn assignable(
    client: &Client,
    name: &TableName,
    field: &Field,
    found: &[Found],
) -> Result<Result<Option<String>, String>, Error> {
    let ours = natural(field.data_type());
    let Some(column) = found.iter().find(|column| column.name == *field.name()) else {
        let near = found.iter().find(|column| column.name.eq_ignore_ascii_case(field.name()));
        return Ok(Err(match near {
            Some(near) => format!(
                "column `{}` is missing; there is `{}`: rename one of them, case counts",
                field.name(),
                near.name
            ),
            None => format!("column `{}` ({}) is missing", field.name(), ours.name),
        }));
    };
    if column.generated {
        return Ok(Err(format!(
            "column `{}` is computed by the server; leave it out of the query",
            field.name()
        )));
    }
    if column.oid == ours.oid {
        return Ok(Ok(Some(String::new())));
    }
    // The server knows best which of its types it assigns to which, domains and extensions included.
    let insert = |value: String| {
        format!("INSERT INTO {} ({}) SELECT {value}", name.quoted(), quote(field.name()))
    };
    let refused = |error: &Error| {
        matches!(error.code(), Some(code) if *code == SqlState::DATATYPE_MISMATCH
            || *code == SqlState::CANNOT_COERCE || *code == SqlState::UNDEFINED_FUNCTION)
    };
    match client.prepare(&insert(format!("NULL::{}", ours.name))).await {
        Ok(_) => return Ok(Ok(None)),
        Err(error) if refused(&error) => {}
        Err(error) => return Err(error),
    }
    // Text and jsonb go into whatever reads its own text: json, uuid, inet, enums.
    if matches!(field.data_type(), DataType::Utf8) || ours.oid == JSONB {
        match client.prepare(&insert(format!("NULL::{}::{}", ours.name, column.kind))).await {
            Ok(_) => return Ok(Ok(Some(column.kind.clone()))),
            Err(error) if refused(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Err(format!(
        "column `{}` is {} in the table and {} in the rows; cast it in the query or change the table",
        field.name(),
        column.kind,
        ours.name
    )))
}
