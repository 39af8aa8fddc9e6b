//! What each statement does: the rows that it gives, and what it changes.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::session_state::SessionState;
use datafusion::physical_plan::displayable;
use globset::GlobBuilder;

use super::select::{self, QueryRows};
use super::session::World;
use super::statement::{Statement, TableRef, TravelQuery};
use super::tables::{self, At};
use super::views::{self, View};
use super::{LakeSqlError, delta};
use crate::catalog::TableEntry;
use crate::sql::{SqlError, function_names, nearest, type_name};

/// A statement that has begun: its columns, and where its rows come from.
pub(super) struct Ready {
    pub(super) schema: SchemaRef,
    pub(super) notices: Vec<String>,
    pub(super) rows: Source,
}

/// Where the rows of a statement come from.
pub(super) enum Source {
    Query(QueryRows),
    Batches(VecDeque<RecordBatch>),
}

impl Source {
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, LakeSqlError> {
        match self {
            Self::Query(rows) => rows.next().await,
            Self::Batches(batches) => Ok(batches.pop_front()),
        }
    }
}

impl Ready {
    pub(super) fn batch(batch: RecordBatch) -> Self {
        Self {
            schema: batch.schema(),
            notices: vec![],
            rows: Source::Batches(VecDeque::from([batch])),
        }
    }
}

/// Executes a statement up to its first row. `max_rows`: how many are of interest.
///
/// # Errors
/// See [`LakeSqlError`].
pub(super) async fn execute(
    statement: Statement,
    world: &World,
    state: &SessionState,
    max_rows: Option<usize>,
) -> Result<Ready, LakeSqlError> {
    match statement {
        Statement::Query(query) => {
            let bound = select::bind(query, world, state).await?;
            let plan = select::plan(bound, world, state).await?;
            let runnable = select::prepare(plan, state, max_rows).await?;
            Ok(Ready {
                rows: Source::Query(runnable.run(state)?),
                schema: runnable.schema,
                notices: runnable.notices,
            })
        }
        Statement::Explain { query, analyze } => explain(query, analyze, world, state).await,
        Statement::CreateView { name, replace, query } => {
            create_view(name, replace, query, world, state).await
        }
        Statement::DropView { name, if_exists } => drop_view(&name, if_exists, world),
        Statement::ShowTables { schema, like } => show_tables(schema.as_deref(), like, world),
        Statement::ShowSchemas => {
            let mut schemas: Vec<String> =
                world.catalog.tables().iter().map(|t| t.name.schema().to_owned()).collect();
            schemas.sort();
            schemas.dedup();
            texts(&[("namespace", schemas)])
        }
        Statement::ShowColumns { table } => {
            let (schema, _) = columns(&table, world).await?;
            texts(&[("col_name", schema.fields().iter().map(|f| f.name().clone()).collect())])
        }
        Statement::ShowFunctions { like } => {
            let like = pattern(like.as_deref())?;
            let names = function_names().into_iter().filter(|name| like(name)).collect();
            texts(&[("function", names)])
        }
        Statement::Describe { table } => describe(&table, world).await,
        Statement::History { table, limit } => delta::history(&entry(&table, world)?, limit).await,
        Statement::Detail { table } => delta::detail(&entry(&table, world)?).await,
        Statement::Optimize { table, filter, zorder } => {
            delta::optimize(&entry(&table, world)?, filter, zorder).await
        }
        Statement::Vacuum { table, retain_hours, dry_run } => {
            delta::vacuum(&entry(&table, world)?, retain_hours, dry_run).await
        }
        Statement::Restore { table, to } => {
            let entry = entry(&table, world)?;
            delta::restore(&entry, to, &table, state).await
        }
    }
}

/// The table that a statement names.
pub(super) fn entry(table: &TableRef, world: &World) -> Result<TableEntry, LakeSqlError> {
    let parts: Vec<&str> = table.parts.iter().map(String::as_str).collect();
    world.catalog.resolve_parts(&parts).map_err(|error| LakeSqlError::catalog(error, at(table)))
}

/// Where it stands in the text.
pub(super) fn at(table: &TableRef) -> Option<(usize, usize)> {
    let start = table.span.start;
    let line = usize::try_from(start.line).ok()?;
    let column = usize::try_from(start.column).ok()?;
    (line > 0).then_some((line, column))
}

/// One batch of columns of text.
pub(super) fn texts(columns: &[(&str, Vec<String>)]) -> Result<Ready, LakeSqlError> {
    let fields: Vec<Field> =
        columns.iter().map(|(name, _)| Field::new(*name, DataType::Utf8, true)).collect();
    let arrays = columns
        .iter()
        .map(|(_, values)| -> ArrayRef { Arc::new(StringArray::from_iter_values(values)) });
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays.collect())?;
    Ok(Ready::batch(batch))
}

async fn explain(
    query: TravelQuery,
    analyze: bool,
    world: &World,
    state: &SessionState,
) -> Result<Ready, LakeSqlError> {
    let bound = select::bind(query, world, state).await?;
    let plan = select::plan(bound, world, state).await?;
    let runnable = select::prepare(plan, state, None).await?;
    if analyze {
        let mut rows = runnable.run(state)?;
        while rows.next().await?.is_some() {}
    }
    let plan = displayable(runnable.physical.as_ref());
    let physical = match analyze {
        true => datafusion::physical_plan::display::DisplayableExecutionPlan::with_metrics(
            runnable.physical.as_ref(),
        )
        .indent(false)
        .to_string(),
        false => plan.indent(false).to_string(),
    };
    let text = format!(
        "== Logical plan ==\n{}\n\n== Physical plan ==\n{}",
        runnable.logical.trim_end(),
        physical.trim_end()
    );
    let mut ready = texts(&[("plan", text.lines().map(str::to_owned).collect())])?;
    ready.notices = runnable.notices;
    Ok(ready)
}

async fn create_view(
    name: TableRef,
    replace: bool,
    query: TravelQuery,
    world: &World,
    state: &SessionState,
) -> Result<Ready, LakeSqlError> {
    let title = name.parts.concat();
    if !replace && world.views().iter().any(|view| view.name.eq_ignore_ascii_case(&title)) {
        return Err(SqlError::new(format!("there is a view '{title}' already"))
            .hint("write CREATE OR REPLACE TEMP VIEW")
            .at_location(at(&name))
            .into());
    }
    let mut bound = select::bind(query, world, state).await?;
    views::seal(&mut bound.query, &mut bound.tables);
    // A view that cannot be planned is refused now and not when it is read.
    let plan = select::plan(bound.clone(), world, state).await?;
    let view = View { name: title, query: bound.query, tables: bound.tables, schema: plan.schema };
    let mut views = world.views.lock().unwrap_or_else(PoisonError::into_inner);
    views.retain(|known| !known.name.eq_ignore_ascii_case(&view.name));
    views.push(view);
    drop(views);
    Ok(Ready { notices: plan.notices, ..nothing() })
}

fn drop_view(name: &TableRef, if_exists: bool, world: &World) -> Result<Ready, LakeSqlError> {
    let title = name.parts.concat();
    let mut views = world.views.lock().unwrap_or_else(PoisonError::into_inner);
    let before = views.len();
    views.retain(|known| !known.name.eq_ignore_ascii_case(&title));
    if views.len() == before && !if_exists {
        let near = nearest(&title, views.iter().map(|view| view.name.as_str()));
        let error = SqlError::new(format!("there is no view '{title}'")).at_location(at(name));
        return Err(match near {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => error.hint("SHOW TABLES lists the views"),
        }
        .into());
    }
    Ok(nothing())
}

/// No columns and no rows.
fn nothing() -> Ready {
    Ready {
        schema: Arc::new(Schema::empty()),
        notices: vec![],
        rows: Source::Batches(VecDeque::new()),
    }
}

fn show_tables(
    schema: Option<&str>,
    like: Option<String>,
    world: &World,
) -> Result<Ready, LakeSqlError> {
    let like = pattern(like.as_deref())?;
    let tables = world.catalog.tables();
    if let Some(schema) = schema
        && !tables.iter().any(|table| table.name.schema().eq_ignore_ascii_case(schema))
    {
        let schemas = tables.iter().map(|table| table.name.schema());
        let error = SqlError::new(format!("there is no schema '{schema}'"));
        return Err(match nearest(schema, schemas) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => error.hint("SHOW SCHEMAS lists them"),
        }
        .into());
    }
    let mut rows: Vec<(String, String, bool)> = tables
        .iter()
        .filter(|t| schema.is_none_or(|schema| t.name.schema().eq_ignore_ascii_case(schema)))
        .map(|table| (table.name.schema().to_owned(), table.name.table().to_owned(), false))
        .collect();
    if schema.is_none() {
        rows.extend(world.views().into_iter().map(|view| (String::new(), view.name, true)));
    }
    rows.retain(|(_, table, _)| like(table));
    let batch = RecordBatch::try_from_iter([
        (
            "namespace",
            Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.0))) as ArrayRef,
        ),
        ("tableName", Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.1)))),
        ("isTemporary", Arc::new(rows.iter().map(|r| Some(r.2)).collect::<BooleanArray>())),
    ])?;
    Ok(Ready::batch(batch))
}

/// Whether a name fits.
type Pattern = Box<dyn Fn(&str) -> bool>;

/// Spark's patterns: `*` for anything, `|` between alternatives, without regard to case; and SQL's
/// `%`.
fn pattern(like: Option<&str>) -> Result<Pattern, LakeSqlError> {
    let Some(like) = like else { return Ok(Box::new(|_| true)) };
    let mut globs = vec![];
    for alternative in like.split('|') {
        let glob = GlobBuilder::new(&alternative.trim().replace('%', "*"))
            .case_insensitive(true)
            .build()
            .map_err(|error| {
                SqlError::new(format!("'{like}' is not a pattern: {error}"))
                    .hint("write 'web*', or 'a*|b*'")
            })?;
        globs.push(glob.compile_matcher());
    }
    Ok(Box::new(move |name| globs.iter().any(|glob| glob.is_match(name))))
}

/// The columns of a table or a view, and which of them it is partitioned by.
async fn columns(
    table: &TableRef,
    world: &World,
) -> Result<(SchemaRef, Vec<String>), LakeSqlError> {
    if let [name] = table.parts.as_slice()
        && let Some(view) = world.views().iter().find(|view| view.name.eq_ignore_ascii_case(name))
    {
        return Ok((Arc::clone(&view.schema), vec![]));
    }
    let entry = entry(table, world)?;
    let open = tables::open(&entry, At::Newest).await?;
    let snapshot = open.snapshot().map_err(|error| {
        crate::lake::LakeError::from_delta("read the log of", entry.location.uri(), error)
    })?;
    let partitions = snapshot.metadata().partition_columns().to_vec();
    Ok((snapshot.snapshot().arrow_schema(), partitions))
}

async fn describe(table: &TableRef, world: &World) -> Result<Ready, LakeSqlError> {
    let (schema, partitions) = columns(table, world).await?;
    let mut rows: Vec<[String; 3]> = schema
        .fields()
        .iter()
        .map(|field| {
            let comment = field.metadata().get("comment").cloned().unwrap_or_default();
            [field.name().clone(), type_name(field.data_type()), comment]
        })
        .collect();
    if !partitions.is_empty() {
        rows.push(["# Partition Information".to_owned(), String::new(), String::new()]);
        rows.push(["# col_name", "data_type", "comment"].map(str::to_owned));
        for partition in partitions {
            let own = rows.iter().find(|row| row[0] == partition).cloned();
            rows.extend(own);
        }
    }
    let column = |n: usize| rows.iter().map(|row| row[n].clone()).collect();
    texts(&[("col_name", column(0)), ("data_type", column(1)), ("comment", column(2))])
}
