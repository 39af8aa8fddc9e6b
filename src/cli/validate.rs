//! `millpond validate`: is this configuration one that runs?

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::OK;
use super::run::{key_value, refuse};
use crate::actors::Blueprint;
use crate::actors::blueprint::{DetectorBlueprint, QueryBlueprint};
use crate::config::{self, Environment};
use crate::sql::{Origin, QueryPlan};

const EXAMPLES: &str = "\
Examples:
  millpond validate config/weblogs.toml
  for f in config/*.toml; do millpond validate --no-environment $f; done   # in CI

Nothing is connected to and nothing is written. Exit status: 0 valid, 2 not.";

/// Check a configuration: keys, types, SQL, schemas
///
/// Every error is shown with its file, line and what was expected. What is not supported yet is
/// refused here, with the reason, and not when the daemon runs.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ValidateArgs {
    /// TOML files, or directories of them; later ones override earlier ones
    #[arg(required = true, value_name = "CONFIG")]
    pub configs: Vec<PathBuf>,
    /// Leave ${VAR} and ${file:...} as they are, and skip what depends on them
    #[arg(long)]
    pub no_environment: bool,
    /// Override a key, as for `millpond run`
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub overrides: Vec<(String, String)>,
    /// Print the plan as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the subcommand.
pub fn execute(args: ValidateArgs) -> anyhow::Result<ExitCode> {
    let environment = if args.no_environment { Environment::None } else { Environment::Real };
    let settings = match config::load_with_overrides(&args.configs, &args.overrides, &environment) {
        Ok(settings) => settings,
        Err(errors) => return Ok(refuse(&errors)),
    };
    let blueprint = match Blueprint::new(settings) {
        Ok(blueprint) => blueprint,
        Err(errors) => return Ok(refuse(&errors)),
    };
    // Without the environment nothing tells where they are.
    if !args.no_environment
        && let Err(errors) = blueprint.look_for_tables()
    {
        return Ok(refuse(&errors));
    }
    if args.json {
        println!("{:#}", plan_as_json(&blueprint));
    } else {
        print!("{}", plan_as_text(&blueprint));
    }
    Ok(ExitCode::from(OK))
}

fn plan_as_text(blueprint: &Blueprint) -> String {
    let mut text = format!("{}: valid\n", blueprint.settings.name);
    for source in &blueprint.sources {
        let decoded = source.projection.len();
        text += &format!(
            "  source    {:<20} {} {} ({decoded} of {} columns decoded)\n",
            source.name,
            source.input.kind(),
            source.input.describe(),
            source.schema.fields().len(),
        );
    }
    for table in &blueprint.tables {
        text += &format!(
            "  table     {:<20} {} {} ({} columns)\n",
            table.name,
            table.kind,
            table.reader.path(),
            table.reader.schema().fields().len(),
        );
    }
    for query in &blueprint.queries {
        let what = match query.plan.window_us() {
            None => "every row".to_owned(),
            Some(size) => format!("windows of {} s", size as f64 / 1e6),
        };
        text += &format!(
            "  query     {:<20} {what} of {} -> {}\n",
            query.name,
            reads(&query.plan).join(", "),
            addresses(blueprint, query).join(", ")
        );
    }
    for detector in &blueprint.detectors {
        text += &format!(
            "  detector  {:<20} {} on {} -> {}\n",
            detector.name,
            detector.spec.kind(),
            blueprint.queries[detector.query].name,
            receivers(blueprint, detector).join(", ")
        );
    }
    text
}

/// Where events of a detector's anomalies go, its own table first.
fn receivers(blueprint: &Blueprint, detector: &DetectorBlueprint) -> Vec<String> {
    detector.sinks.iter().map(|(sink, _)| blueprint.sinks[*sink].address()).collect()
}

/// What a query names in FROM.
fn reads(plan: &QueryPlan) -> Vec<&str> {
    let mut names: Vec<&str> = plan
        .feeds
        .iter()
        .filter_map(|feed| match &feed.from {
            Origin::Source(name) | Origin::Query(name) => Some(name.as_str()),
            Origin::Operator(_) => None,
        })
        .collect();
    names.dedup();
    names
}

fn addresses(blueprint: &Blueprint, query: &QueryBlueprint) -> Vec<String> {
    query.sinks.iter().map(|sink| blueprint.sinks[*sink].address()).collect()
}

fn plan_as_json(blueprint: &Blueprint) -> serde_json::Value {
    let columns = |schema: &arrow::datatypes::SchemaRef| -> Vec<serde_json::Value> {
        schema
            .fields()
            .iter()
            .map(|field| json!({ "name": field.name(), "type": field.data_type().to_string() }))
            .collect()
    };
    json!({
        "name": blueprint.settings.name,
        "sources": blueprint.sources.iter().map(|source| json!({
            "name": &*source.name,
            "type": source.input.kind(),
            "input": source.input.describe(),
            "decoded": source.projection.iter()
                .map(|column| source.schema.field(*column).name())
                .collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "tables": blueprint.tables.iter().map(|table| json!({
            "name": &*table.name,
            "type": table.kind,
            "path": table.reader.path(),
            "columns": columns(&table.reader.schema()),
        })).collect::<Vec<_>>(),
        "queries": blueprint.queries.iter().map(|query| json!({
            "name": &*query.name,
            "reads": reads(&query.plan),
            "operators": query.plan.operators.iter().map(|operator| json!({
                "id": operator.id,
                "fingerprint": operator.fingerprint,
            })).collect::<Vec<_>>(),
            "sinks": addresses(blueprint, query),
            "columns": columns(&query.plan.output_schema),
        })).collect::<Vec<_>>(),
        "detectors": blueprint.detectors.iter().map(|detector| json!({
            "name": &*detector.name,
            "kind": detector.spec.kind(),
            "query": &*blueprint.queries[detector.query].name,
            "table": receivers(blueprint, detector).first(),
            "sinks": receivers(blueprint, detector),
        })).collect::<Vec<_>>(),
    })
}
