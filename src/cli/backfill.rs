//! `millpond run --once --from-table`: a query computed again over a table.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use super::{FAILED, OK, REFUSED, USAGE};
use crate::actors::{Blueprint, SinkTarget};
use crate::backfill::{self, BackfillError, Relation, Report};
use crate::catalog::{Catalog, TableEntry};
use crate::graph::Graph;
use crate::lake::{TableLocation, TableSpec};
use crate::sink::TargetSpec;
use crate::source::delta::WholeTable;
use crate::sql::{self, Origin, QueryPlan};

/// What is asked for on the command line.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(id = "backfill")]
pub struct BackfillArgs {
    /// Compute a query again over this table instead of its source, and stop
    ///
    /// A table of the configuration (`bronze`), a path, or a URL, as of its newest version or of
    /// the one behind `@`. Of a query that reads several streams: NAME=TABLE, once for each.
    #[arg(
        long = "from-table",
        value_name = "[NAME=]TABLE[@VERSION]",
        requires_all = ["once", "query"],
        help_heading = "Backfill"
    )]
    pub from_table: Vec<String>,
    /// The query that is computed
    #[arg(long, value_name = "QUERY", requires = "from_table", help_heading = "Backfill")]
    pub query: Option<String>,
    /// Write to this table instead of the query's own
    #[arg(long, value_name = "TABLE", requires = "from_table", help_heading = "Backfill")]
    pub into: Option<String>,
    /// Replace all rows of the table that is written
    ///
    /// Without it a table that holds rows is refused. Stop the daemon that writes the table first:
    /// if anything is committed to it meanwhile, nothing is replaced and this fails.
    #[arg(long, requires = "from_table", help_heading = "Backfill")]
    pub overwrite: bool,
}

/// `[NAME=]TABLE[@VERSION]`
#[derive(Debug, Clone, PartialEq, Eq)]
struct Given {
    name: Option<String>,
    table: String,
    version: Option<i64>,
}

impl Given {
    fn parse(text: &str, relations: &[String]) -> Self {
        let (name, rest) = match text.split_once('=') {
            // A path may hold an equals sign, as partitions' directories do.
            Some((name, rest)) if relations.iter().any(|r| r.eq_ignore_ascii_case(name)) => {
                (Some(name.to_owned()), rest)
            }
            _ => (None, text),
        };
        let (table, version) = match rest.rsplit_once('@') {
            Some((table, version)) if !table.is_empty() => match version.parse() {
                Ok(version) => (table, Some(version)),
                Err(_) => (rest, None),
            },
            _ => (rest, None),
        };
        Self { name, table: table.to_owned(), version }
    }
}

/// Runs it. What is wrong with the request has been said when this returns.
pub fn execute(blueprint: &Blueprint, args: &BackfillArgs) -> ExitCode {
    let wrong = |text: String| {
        eprintln!("error: {text}");
        ExitCode::from(USAGE)
    };
    let Prepared { plans, relations, spec } = match prepare(blueprint, args) {
        Ok(prepared) => prepared,
        Err(text) => return wrong(text),
    };
    let began = Instant::now();
    let bar = Bar::new(&relations);
    let done =
        backfill::run(&plans, relations, &spec, args.overwrite, |progress| bar.show(progress));
    bar.finish();
    match done {
        Ok(report) => {
            println!(
                "{}",
                in_words(
                    args.query.as_deref().unwrap_or_default(),
                    &spec.uri,
                    &report,
                    began.elapsed()
                )
            );
            ExitCode::from(OK)
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(match error {
                BackfillError::NotEmpty { .. } | BackfillError::Changed { .. } => REFUSED,
                _ => FAILED,
            })
        }
    }
}

/// What a backfill computes, from what, and into which table.
struct Prepared {
    /// The query's, behind those of the queries it reads.
    plans: Vec<Arc<QueryPlan>>,
    relations: Vec<Relation>,
    spec: TableSpec,
}

fn prepare(blueprint: &Blueprint, args: &BackfillArgs) -> Result<Prepared, String> {
    let wanted = args.query.as_deref().unwrap_or_default();
    let names = || blueprint.queries.iter().map(|query| &*query.name);
    let place = blueprint.queries.iter().position(|query| *query.name == *wanted);
    let place = place.ok_or_else(|| {
        format!("there is no query '{wanted}'; {}", sql::suggestion(wanted, names(), "queries"))
    })?;
    let query = &blueprint.queries[place];
    let plan = query.plan.clone();
    let catalog = Catalog::of(&blueprint.settings);
    let upstream = upstream(blueprint, &plan);
    let mut tables: BTreeMap<String, (TableEntry, Option<i64>)> = BTreeMap::new();
    for text in &args.from_table {
        let given = Given::parse(text, &upstream);
        let table = catalog.resolve(&given.table).map_err(|error| error.to_string())?;
        let written_by =
            || upstream.iter().find(|name| table_of(blueprint, name) == Some(table.location.uri()));
        let direct = streams_of(&plan);
        let name = given.name.as_ref().or_else(written_by).or(match direct.as_slice() {
            [only] => Some(only),
            _ => None,
        });
        let name = name.ok_or_else(|| {
            format!(
                "query '{wanted}' reads {}: say which of them the table stands for, as \
                 --from-table {}={}",
                direct.join(" and "),
                direct[0],
                given.table
            )
        })?;
        if tables.insert(name.to_ascii_lowercase(), (table, given.version)).is_some() {
            return Err(format!("--from-table gives '{name}' two tables"));
        }
    }
    let mut plans = Vec::new();
    let mut leaves = Vec::new();
    collect(
        blueprint,
        &plan,
        &|name| tables.contains_key(&name.to_ascii_lowercase()),
        &mut plans,
        &mut leaves,
    );
    let mut relations = Vec::new();
    for name in &leaves {
        let (table, version) = tables.remove(&name.to_ascii_lowercase()).ok_or_else(|| {
            format!("query '{wanted}' reads '{name}' as well: --from-table {name}=TABLE")
        })?;
        relations.push(relation(blueprint, name, &table.location, version)?);
    }
    if let Some(left) = tables.keys().next() {
        return Err(format!("query '{wanted}' does not read '{left}' any more, behind the others"));
    }
    for table in &blueprint.tables {
        if plans.iter().any(|plan| plan.tables().contains(&*table.name)) {
            let rows = table.reader.read().map_err(|error| format!("{}: {error}", table.name))?;
            table.table.replace(rows.batches).map_err(|error| error.to_string())?;
        }
    }
    let own = query.sinks.iter().find_map(|sink| match &blueprint.sinks[*sink].target {
        SinkTarget::Table(spec) => Some(spec.clone()),
        SinkTarget::Staged(staged) => match &staged.spec {
            TargetSpec::DeltaTable(options) => Some(options.table.clone()),
            _ => None,
        },
    });
    let schema = plan.output_schema.clone();
    let spec = match (&args.into, own) {
        (Some(into), own) => {
            let table = catalog.resolve(into).map_err(|error| error.to_string())?;
            let uri = table.location.uri().to_owned();
            let storage_options = table.location.storage_options().clone();
            match own {
                // The same columns and partitions, in another place.
                Some(own) => TableSpec { uri, schema, storage_options, ..own },
                None => TableSpec { storage_options, ..TableSpec::new(uri, schema) },
            }
        }
        (None, Some(own)) => TableSpec { schema, ..own },
        (None, None) => {
            return Err(format!("query '{wanted}' writes no Delta table: say --into TABLE"));
        }
    };
    let same = |relation: &Relation| relation.table.name() == spec.uri;
    if let Some(read) = relations.iter().find(|relation| same(relation)) {
        return Err(format!("'{}' would be read from the table that is written", read.name));
    }
    Ok(Prepared { plans, relations, spec })
}

/// The streams that a plan reads, each once.
fn streams_of(plan: &QueryPlan) -> Vec<String> {
    let mut streams: Vec<String> = Vec::new();
    for feed in &plan.feeds {
        if let Origin::Source(name) | Origin::Query(name) = &feed.from
            && !streams.contains(name)
        {
            streams.push(name.clone());
        }
    }
    streams
}

fn planned<'a>(blueprint: &'a Blueprint, name: &str) -> Option<&'a Arc<QueryPlan>> {
    blueprint.queries.iter().find(|query| *query.name == *name).map(|query| &query.plan)
}

/// Every stream that a plan's rows have come through.
fn upstream(blueprint: &Blueprint, plan: &QueryPlan) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut waiting = streams_of(plan);
    while let Some(name) = waiting.pop() {
        waiting.extend(planned(blueprint, &name).map(|plan| streams_of(plan)).unwrap_or_default());
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

/// The plans from those that only read what a table stands for to this one, upstream first; and what
/// they read.
fn collect(
    blueprint: &Blueprint,
    plan: &Arc<QueryPlan>,
    has_table: &dyn Fn(&str) -> bool,
    plans: &mut Vec<Arc<QueryPlan>>,
    leaves: &mut Vec<String>,
) {
    if plans.iter().any(|other| other.name == plan.name) {
        return;
    }
    for name in streams_of(plan) {
        match planned(blueprint, &name) {
            Some(read) if !has_table(&name) => {
                collect(blueprint, read, has_table, plans, leaves);
            }
            _ if leaves.contains(&name) => {}
            _ => leaves.push(name),
        }
    }
    plans.push(plan.clone());
}

/// The table that a query writes.
fn table_of<'a>(blueprint: &'a Blueprint, query: &str) -> Option<&'a str> {
    let query = blueprint.queries.iter().find(|other| *other.name == *query)?;
    query.sinks.iter().find_map(|sink| match &blueprint.sinks[*sink].target {
        SinkTarget::Table(spec) => Some(spec.uri.as_str()),
        SinkTarget::Staged(staged) => match &staged.spec {
            TargetSpec::DeltaTable(options) => Some(options.table.uri.as_str()),
            _ => None,
        },
    })
}

/// The columns and the event time of what a query reads, and the table that stands for it.
fn relation(
    blueprint: &Blueprint,
    name: &str,
    location: &TableLocation,
    version: Option<i64>,
) -> Result<Relation, String> {
    let graph: &Graph = &blueprint.graph;
    let source = blueprint.sources.iter().find(|source| *source.name == *name);
    let (schema, time, timed) = match source {
        Some(source) => {
            let time = source.watermark.as_ref().map(|watermark| watermark.column.clone());
            let timed = time.is_some();
            (source.schema.clone(), time, timed)
        }
        None => {
            let place = blueprint.queries.iter().position(|query| *query.name == *name);
            let place = place.ok_or_else(|| format!("there is no query '{name}'"))?;
            let plan = &blueprint.queries[place].plan;
            let sources = graph.sources_of_output(place);
            let timed = sources.iter().any(|source| blueprint.sources[*source].watermark.is_some());
            (plan.output_schema.clone(), plan.event_time_column().map(str::to_owned), timed)
        }
    };
    let table = WholeTable::open(location, version, time.as_deref()).map_err(|e| e.to_string())?;
    Ok(Relation { name: name.into(), schema, timed, table })
}

/// Progress on the terminal, if there is one.
struct Bar {
    bar: Option<ProgressBar>,
}

impl Bar {
    fn new(relations: &[Relation]) -> Self {
        if !io::stderr().is_terminal() {
            return Self { bar: None };
        }
        let rows: Option<u64> = relations.iter().map(|relation| relation.table.num_rows()).sum();
        let (bar, style) = match rows {
            Some(rows) => {
                (ProgressBar::new(rows), "{bar:30} {pos}/{len} rows, {per_sec}, {eta} left, {msg}")
            }
            None => (ProgressBar::new_spinner(), "{spinner} {pos} rows, {per_sec}, {msg}"),
        };
        // The template is constant; the default style would do as well.
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self { bar: Some(bar) }
    }

    fn show(&self, progress: backfill::Progress) {
        if let Some(bar) = &self.bar {
            bar.set_position(progress.read);
            bar.set_message(format!("{} rows out", progress.written));
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn in_words(query: &str, table: &str, report: &Report, took: std::time::Duration) -> String {
    let Report { progress, rejected, null_time, late, version } = report;
    let mut text = format!(
        "{query}: {} rows of {} files came to {} rows in {:.1} s\nwritten to {table}, version {version}",
        progress.read,
        progress.files,
        progress.written,
        took.as_secs_f64()
    );
    for (count, what) in [
        (rejected, "were rejected by expectations (dead letters of a backfill are not written)"),
        (null_time, "had no event time and belong to no window"),
        (late, "came too late: the statistics of a file are wrong"),
    ] {
        if *count > 0 {
            text.push_str(&format!("\n{count} rows {what}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_name_a_path_and_a_version() {
        let relations = ["logs".to_owned(), "users".to_owned()];
        let given = |text: &str| {
            let Given { name, table, version } = Given::parse(text, &relations);
            (name.unwrap_or_default(), table, version)
        };
        let of = |name: &str, table: &str, version| (name.to_owned(), table.to_owned(), version);
        assert_eq!(given("bronze"), of("", "bronze", None));
        assert_eq!(given("logs=bronze@12"), of("logs", "bronze", Some(12)));
        assert_eq!(given("/data/day=1/t@0"), of("", "/data/day=1/t", Some(0)));
        assert_eq!(given("s3://user@host/t"), of("", "s3://user@host/t", None));
    }
}
