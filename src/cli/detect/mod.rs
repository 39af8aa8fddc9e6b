//! `millpond detect`: a detector over history.

mod input;
mod judge;
mod output;
mod points;
mod report;
mod time;

#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;

use arrow::datatypes::DataType;
use chrono_tz::Tz;
use clap::Args;

use self::input::{CsvForm, Input};
use self::judge::{Found, Spacing};
use self::output::Form;
use self::points::{Asked, Columns, Combine, Points};
use self::report::Summary;
use self::time::TimeRule;
use super::catalog::CatalogArgs;
use super::run::refuse;
use super::{OK, USAGE};
use crate::actors::Blueprint;
use crate::actors::blueprint::{DetectorBlueprint, SinkTarget};
use crate::anomaly::{DetectorSpec, Policy};
use crate::plot::{self, Size};

const EXAMPLES: &str = "\
Examples:
  A file of timestamps and values; which columns they are is guessed, the detector needs no tuning:
    millpond detect requests.csv

  Values with their bands to a file, and a picture of them for tuning by eye:
    millpond detect requests.csv --output judged.csv --plot requests.svg
    millpond detect requests.csv --kind traffic_spike -p threshold=6 -p direction=both

  Several series, from a Delta table or a query:
    millpond detect ./data/gold/endpoint_minutes --key endpoint --value requests
    millpond detect -c config/weblogs.toml --key endpoint --sql \\
        \"SELECT window_start, endpoint, error_rate, requests FROM endpoint_minutes\" \\
        --kind error_rate --value error_rate --weight requests

  What a detector of the daemon would have said over the history of its query's table:
    millpond detect -c config/weblogs.toml --detector error_rate

Rows are `timestamp,[key,]value,expected,lower,upper,anomaly_score,is_anomaly`; they go to --output,
or else to standard output unless that is a terminal, which gets the summary and a chart. Nothing
looks ahead: each value is judged by those before it, as the daemon does. Exit status: 0, 1 if
reading or writing failed, 2 for wrong usage.";

/// Find anomalies in a CSV or Parquet file, a Delta table, or what a query gives
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DetectArgs {
    /// A .csv, .tsv or .parquet file, a Delta table by its path, address or (with --config) name;
    /// `-` is CSV on standard input
    #[arg(value_name = "INPUT", required_unless_present_any = ["sql", "detector"])]
    input: Option<String>,
    /// Rows of this query instead (Spark SQL over Delta tables)
    #[arg(long, value_name = "QUERY", conflicts_with = "input")]
    sql: Option<String>,
    #[command(flatten)]
    catalog: CatalogArgs,
    /// A detector of the configuration, with its parameters and columns, over the history of its
    /// query's table (or INPUT, if that is given)
    #[arg(long, value_name = "NAME", requires = "configs", conflicts_with_all = ["kind", "parameters", "time", "value", "key", "weight", "window", "combine"])]
    detector: Option<String>,
    /// Which rule; docs/DETECTORS.md describes them
    #[arg(long, value_name = "KIND", default_value = DEFAULT_KIND)]
    kind: String,
    /// A parameter of the rule, such as -p threshold=6
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE", value_parser = super::run::key_value)]
    parameters: Vec<(String, String)>,
    /// The column of times: timestamps, dates, text in many forms, or numbers since 1970
    #[arg(long, value_name = "COLUMN", help_heading = "Columns")]
    time: Option<String>,
    /// The column of values
    #[arg(long, value_name = "COLUMN", help_heading = "Columns")]
    value: Option<String>,
    /// A column that tells series apart; may be given several times
    #[arg(long, value_name = "COLUMN", help_heading = "Columns")]
    key: Vec<String>,
    /// The column that says how many events are behind a value
    #[arg(long, value_name = "COLUMN", help_heading = "Columns")]
    weight: Option<String>,
    /// Only this series
    #[arg(long, value_name = "KEY", help_heading = "Columns")]
    series: Option<String>,
    /// The zone of times that name none
    #[arg(long, value_name = "ZONE", default_value = "UTC", help_heading = "Columns")]
    timezone: Tz,
    /// The form of times in text, if it is an unusual one: %m/%d/%Y %H:%M
    #[arg(long, value_name = "FORM", help_heading = "Columns")]
    time_format: Option<String>,
    /// What stands between the columns of a CSV file; guessed from its first line if not given
    #[arg(long, value_name = "CHAR", help_heading = "Columns")]
    delimiter: Option<char>,
    /// The CSV file's first line is a row; columns are called _c0, _c1 ...
    #[arg(long, help_heading = "Columns")]
    no_header: bool,
    /// Put values into windows of this length (5m); a window without values counts as the rule
    /// says. Without it every time is judged as it comes
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    window: Option<i64>,
    /// How values of one series and time become one: `last`, or `mean` with --window, if not given
    #[arg(long, value_name = "HOW", value_enum)]
    combine: Option<Combine>,
    /// Values in a row out of line before an anomaly opens [default: 1]
    #[arg(long, value_name = "N")]
    open_after: Option<u32>,
    /// Values in line before an anomaly closes [default: 3]
    #[arg(long, value_name = "N")]
    clear_after: Option<u32>,
    /// Write the judged rows to this file: .csv, .parquet, .json or .jsonl; `-`: CSV on standard
    /// output
    #[arg(long, short = 'o', value_name = "FILE", help_heading = "Output")]
    output: Option<PathBuf>,
    /// Draw the values, their band and the anomalies: to a .svg or .png file, or `-` on the terminal
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    plot: Option<PathBuf>,
    /// The size of the picture in pixels
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "1200x480", value_parser = size, help_heading = "Output")]
    plot_size: Size,
    /// Print the summary as JSON on standard output (rows then go to --output alone)
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// No summary
    #[arg(long, short = 'q', help_heading = "Output")]
    quiet: bool,
}

/// What is used if nothing is said.
const DEFAULT_KIND: &str = "auto";

fn duration(text: &str) -> Result<i64, String> {
    let expected = "expected a duration such as 5m";
    let duration = crate::config::parse_duration(text)
        .map_err(|help| help.unwrap_or_else(|| expected.to_owned()))?;
    match i64::try_from(duration.as_micros()) {
        Ok(micros) if micros > 0 => Ok(micros),
        _ => Err("expected a duration above 0, such as 5m".to_owned()),
    }
}

fn size(text: &str) -> Result<Size, String> {
    let parts = text.split_once('x').and_then(|(width, height)| {
        Some(Size { width: width.trim().parse().ok()?, height: height.trim().parse().ok()? })
    });
    parts.ok_or_else(|| "expected WIDTHxHEIGHT in pixels, such as 1200x480".to_owned())
}

/// Something that the command line has wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Runs the subcommand.
pub fn execute(args: DetectArgs) -> anyhow::Result<ExitCode> {
    let settings = match args.catalog.settings() {
        Ok(settings) => settings,
        Err(code) => return Ok(code),
    };
    let catalog =
        settings.as_ref().map_or_else(crate::catalog::Catalog::new, crate::catalog::Catalog::of);
    let work = || -> anyhow::Result<Option<ExitCode>> {
        check_outputs(&args)?;
        let plan = match (&args.detector, settings) {
            (Some(name), Some(settings)) => match Blueprint::new(settings) {
                Ok(blueprint) => Plan::of_detector(&args, &blueprint, name)?,
                Err(errors) => return Ok(Some(refuse(&errors))),
            },
            _ => Plan::of_arguments(&args)?,
        };
        let form = CsvForm {
            delimiter: args.delimiter.map(delimiter).transpose()?,
            no_header: args.no_header,
        };
        let batches = input::read(&plan.input, form, catalog)?;
        let (summary, found) = plan.run(&args, &batches)?;
        give(&args, &summary, &found)?;
        Ok(None)
    };
    match work() {
        Ok(code) => Ok(code.unwrap_or(ExitCode::from(OK))),
        Err(error) if error.is::<Usage>() => {
            eprintln!("error: {error}");
            Ok(ExitCode::from(USAGE))
        }
        Err(error) => Err(error),
    }
}

fn delimiter(given: char) -> Result<u8, Usage> {
    u8::try_from(given)
        .ok()
        .filter(u8::is_ascii)
        .ok_or_else(|| Usage(format!("--delimiter '{given}': expected one ASCII character")))
}

/// What can be said to be wrong before the work.
fn check_outputs(args: &DetectArgs) -> Result<(), Usage> {
    if let Some(path) = args.output.as_deref().filter(|path| path.as_os_str() != "-") {
        Form::of(path).map_err(Usage)?;
    }
    if let Some(path) = args.plot.as_deref().filter(|path| path.as_os_str() != "-") {
        plot::check_ending(path).map_err(|error| Usage(error.to_string()))?;
    }
    Ok(())
}

/// What is done with which input.
struct Plan {
    input: Input,
    name: String,
    /// Whether the configuration has the detector.
    configured: bool,
    spec: DetectorSpec,
    policy: Policy,
    asked: Asked,
    window: Option<i64>,
    combine: Combine,
}

impl Plan {
    fn of_arguments(args: &DetectArgs) -> Result<Self, Usage> {
        let mut parameters = toml::Table::new();
        for (name, value) in &args.parameters {
            // A value is what TOML takes it for; a bare word is text.
            let read =
                format!("v = {value}").parse::<toml::Table>().ok().and_then(|mut t| t.remove("v"));
            let value = read.unwrap_or_else(|| toml::Value::String(value.clone()));
            parameters.insert(name.clone(), value);
        }
        let spec = DetectorSpec::from_parameters(&args.kind, &parameters)
            .map_err(|error| Usage(error.to_string()))?;
        if spec.needs_weight() && args.weight.is_none() {
            return Err(Usage(format!(
                "a detector of kind '{}' needs --weight, the column that counts the events behind a value",
                args.kind
            )));
        }
        let input = match (&args.sql, &args.input) {
            (Some(sql), _) => Input::Sql(sql.clone()),
            (None, Some(input)) => Input::of(input),
            (None, None) => return Err(Usage("expected an INPUT, --sql or --detector".to_owned())),
        };
        let combine = args.combine.unwrap_or(match args.window {
            Some(_) => Combine::Mean,
            None => Combine::Last,
        });
        Ok(Plan {
            input,
            name: args.kind.clone(),
            configured: false,
            spec,
            policy: policy(args, Policy::default()),
            asked: Asked {
                time: args.time.clone(),
                value: args.value.clone(),
                keys: args.key.clone(),
                weight: args.weight.clone(),
            },
            window: args.window,
            combine,
        })
    }

    fn of_detector(args: &DetectArgs, blueprint: &Blueprint, name: &str) -> Result<Self, Usage> {
        let detectors = &blueprint.detectors;
        let Some(described) = detectors.iter().find(|detector| &*detector.name == name) else {
            let names = detectors.iter().map(|detector| &*detector.name);
            let help = crate::sql::suggestion(name, names, "detectors");
            return Err(Usage(format!("there is no detector '{name}'; {help}")));
        };
        let input = match (&args.sql, &args.input) {
            (Some(sql), _) => Input::Sql(sql.clone()),
            (None, Some(input)) => Input::of(input),
            (None, None) => Input::Table(table_of(blueprint, described)?),
        };
        Ok(Plan {
            input,
            name: name.to_owned(),
            configured: true,
            spec: described.spec.clone(),
            policy: policy(args, described.policy),
            asked: Asked {
                time: Some(described.columns.window_start.clone()),
                value: Some(described.columns.value.clone()),
                keys: described.columns.keys.clone(),
                weight: described.columns.weight.clone(),
            },
            window: Some(described.window_us),
            combine: match described.spec.combine() {
                crate::anomaly::Combine::Sum => Combine::Sum,
                crate::anomaly::Combine::WeightedMean => Combine::Mean,
            },
        })
    }

    fn run(
        &self,
        args: &DetectArgs,
        batches: &[arrow::array::RecordBatch],
    ) -> anyhow::Result<(Summary, Found)> {
        let no_schema = arrow::datatypes::Schema::empty();
        let schema = batches.first().map(|batch| batch.schema());
        let schema = schema.as_deref().unwrap_or(&no_schema);
        let columns = Columns::find(schema, &self.asked).map_err(Usage)?;
        let rule = TimeRule { zone: args.timezone, format: args.time_format.clone() };
        let mut points = points::read(batches, &columns, &rule).map_err(Usage)?;
        if let Some(series) = &args.series {
            only(&mut points, series)?;
        }
        if points.points.is_empty() && points.counts.without_time > 0 {
            return Err(Usage(format!(
                "no row has a time that can be read; {}. --time names the column, --time-format its form",
                points.examples.first().map_or("all are empty", String::as_str)
            ))
            .into());
        }
        let points = points.in_order(self.window, self.combine);
        let interval = self.window.or_else(|| points.interval());
        // Of one time alone nobody knows how long it lasts; it is not judged anyhow.
        let length = interval.unwrap_or(60_000_000).max(1);
        let spacing = match self.window {
            Some(window) => Spacing::Windows(window),
            None => Spacing::AsItComes(length),
        };
        if let Some(window) = self.window {
            self.check_span(&points, window)?;
        }
        let (gaps, longest) = interval.map_or((0, 0), |interval| points.gaps(interval));
        let others: Vec<String> = schema
            .fields()
            .iter()
            .filter(|f| {
                matches!(f.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8)
            })
            .map(|f| f.name().clone())
            .filter(|name| *name != columns.time && *name != columns.value)
            .collect();
        let Points { points, counts, mut examples } = points;
        examples.extend(report::unkeyed(&counts, &columns, &others));
        let found = judge::run(&self.name, &self.spec, self.policy, spacing, points)?;
        let values = found.rows.iter().filter(|row| row.point.value.is_some()).count() as u64;
        let keys: std::collections::BTreeSet<&str> =
            found.rows.iter().map(|row| &*row.point.key).collect();
        let summary = Summary {
            input: self.input.describe(),
            kind: self.spec.kind().to_owned(),
            detector: self.configured.then(|| self.name.clone()),
            columns,
            counts,
            examples,
            values,
            ignored: found.stats.ignored,
            series: keys.len(),
            from: found.rows.first().map(|row| time::text(row.point.time)),
            to: found.rows.last().map(|row| time::text(row.point.time)),
            interval_seconds: interval.map(|micros| micros as f64 / 1e6),
            gaps,
            longest_gap_seconds: longest as f64 / 1e6,
            anomalous_values: found.rows.iter().filter(|row| row.is_anomaly()).count() as u64,
            alerts_per_series_and_day: found.alerts_per_series_day(),
            anomalies: found.anomalies.iter().map(Into::into).collect(),
        };
        Ok((summary, found))
    }

    /// A window far too short for the data is a mistake: a day in microseconds is many windows.
    fn check_span(&self, points: &Points, window: i64) -> Result<(), Usage> {
        const MOST: i64 = 100_000_000;
        let (Some(first), Some(last)) = (points.points.first(), points.points.last()) else {
            return Ok(());
        };
        let windows = last.time.saturating_sub(first.time) / window;
        if windows <= MOST {
            return Ok(());
        }
        Err(Usage(format!(
            "from {} to {} there are {windows} windows of that length, which is more than {MOST}; is the \
             unit of --window or of the times another?",
            time::text(first.time),
            time::text(last.time)
        )))
    }
}

fn policy(args: &DetectArgs, base: Policy) -> Policy {
    Policy {
        open_after: args.open_after.unwrap_or(base.open_after),
        clear_after: args.clear_after.unwrap_or(base.clear_after),
        ..base
    }
}

/// The Delta table that the detector's query writes.
fn table_of(blueprint: &Blueprint, detector: &DetectorBlueprint) -> Result<String, Usage> {
    let query = &blueprint.queries[detector.query];
    let uri = query.sinks.iter().find_map(|sink| match &blueprint.sinks[*sink].target {
        SinkTarget::Table(table) => Some(table.uri.clone()),
        SinkTarget::Staged(staged) if staged.spec.kind() == "delta" => Some(staged.spec.address()),
        SinkTarget::Staged(_) => None,
    });
    uri.ok_or_else(|| {
        Usage(format!(
            "the query '{}' of detector '{}' writes no Delta table, so its history is nowhere; give an INPUT \
             that has its columns",
            query.name, detector.name
        ))
    })
}

fn only(points: &mut Points, series: &str) -> Result<(), Usage> {
    let known: std::collections::BTreeSet<&str> =
        points.points.iter().map(|point| &*point.key).collect();
    if !known.contains(series) {
        let help = crate::sql::suggestion(series, known.iter().copied(), "series");
        return Err(Usage(format!("--series: there is no series '{series}'; {help}")));
    }
    points.points.retain(|point| &*point.key == series);
    Ok(())
}

/// Writes rows, summary and picture to where they are asked for.
fn give(args: &DetectArgs, summary: &Summary, found: &Found) -> anyhow::Result<()> {
    let keyed = !summary.columns.keys.is_empty();
    let on_terminal = io::stdout().is_terminal();
    let rows_on_stdout = match &args.output {
        Some(path) if path.as_os_str() == "-" => true,
        Some(path) => {
            let form = Form::of(path).map_err(Usage)?;
            output::write_file(path, form, &found.rows, keyed)?;
            false
        }
        None => {
            !args.json && !on_terminal && args.plot.as_deref().is_none_or(|p| p.as_os_str() != "-")
        }
    };
    if rows_on_stdout {
        let written = output::write_csv(io::stdout().lock(), &found.rows, keyed);
        match written {
            // Whoever read them has enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
    }
    let mut said = String::new();
    if args.json {
        println!("{}", serde_json::to_string_pretty(summary)?);
    } else if !args.quiet {
        said = summary.as_text(columns());
    }
    let drawn_here = match &args.plot {
        Some(path) if path.as_os_str() == "-" => true,
        Some(path) => {
            plot::write(&report::chart(summary, found), path, args.plot_size)?;
            false
        }
        None => on_terminal && !args.json && !args.quiet && !rows_on_stdout,
    };
    if drawn_here && !found.rows.is_empty() {
        let colour = on_terminal && std::env::var_os("NO_COLOR").is_none();
        let chart = plot::terminal(&report::chart(summary, found), columns().into(), 18, colour);
        said = format!("{chart}\n{said}");
    }
    let others = report::other_series(found);
    if (drawn_here || args.plot.is_some()) && others > 0 && !args.quiet && !args.json {
        said.push_str(&format!(
            "\nThe chart shows one of {} series; --series KEY chooses.\n",
            others + 1
        ));
    }
    // Beside rows on standard output the rest is not for a program to read.
    if rows_on_stdout || args.json {
        eprint!("{said}")
    } else {
        print!("{said}")
    }
    Ok(())
}

/// How wide the terminal is.
fn columns() -> u16 {
    crossterm::terminal::size().map_or(100, |(columns, _)| columns).clamp(60, 160)
}
