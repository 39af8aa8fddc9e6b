//! `--plot`: which columns become which part of a chart.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef, TimeUnit};

use super::run::coloured;
use crate::plot::{self, Axis, Chart, PlotError, Series, SeriesKind, Size};
use crate::sql::nearest;

/// More rows than this are no chart, and a query that forgot its GROUP BY.
const MOST_POINTS: usize = 1_000_000;
/// More lines than this cannot be told apart.
const MOST_SERIES: usize = 12;
/// More bars than this have no names beside them.
const MOST_CATEGORIES: usize = 200;
const MICROS_A_DAY: f64 = 86_400e6;

/// The options of charts.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct PlotArgs {
    /// Draw a chart of the rows: in the terminal, or to a .svg or .png file
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "")]
    pub(super) plot: Option<String>,
    /// How it is drawn. Default: lines over times and numbers, bars over text
    #[arg(long, value_enum, requires = "plot")]
    pub(super) plot_kind: Option<Kind>,
    /// The column of the horizontal axis. Default: the first time, or else text, or else number
    #[arg(long, value_name = "COLUMN", requires = "plot")]
    pub(super) x: Option<String>,
    /// The columns that are drawn. Default: every other number; if there is one, a column of text
    /// tells series apart
    #[arg(long, value_name = "COLUMN", requires = "plot", value_delimiter = ',')]
    pub(super) y: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    Line,
    Bar,
    Points,
}

impl PlotArgs {
    pub(super) fn is_asked_for(&self) -> bool {
        self.plot.is_some()
    }

    /// Whether this can be the file of a chart. `--plot "SELECT ..."` is a chart in the terminal.
    pub(super) fn is_file(text: &str) -> bool {
        plot::check_ending(Path::new(text)).is_ok()
    }

    fn file(&self) -> Option<PathBuf> {
        self.plot.as_ref().filter(|file| !file.is_empty()).map(PathBuf::from)
    }
}

/// Why there is no chart.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChartError {
    #[error("the rows have no column '{name}'; {hint}")]
    Column { name: String, hint: String },
    #[error("column '{name}' of type {data_type} cannot be {what}")]
    Type { name: String, data_type: DataType, what: &'static str },
    #[error("there is nothing to draw: {0}")]
    Nothing(&'static str),
    #[error("{count} {what} are too many for a chart, which has {most} at most: {instead}")]
    TooMany { count: usize, what: &'static str, most: usize, instead: &'static str },
    #[error(transparent)]
    Plot(#[from] PlotError),
    #[error("the rows cannot be drawn: {0}")]
    Values(#[from] arrow::error::ArrowError),
}

impl ChartError {
    /// Whether what was asked for is at fault, rather than a disk.
    pub(super) fn is_usage(&self) -> bool {
        !matches!(self, Self::Plot(PlotError::Write { .. } | PlotError::Draw(_)) | Self::Values(_))
    }
}

/// Refuses rows without number before they fill the memory.
pub(super) fn check_size(rows: usize) -> Result<(), ChartError> {
    if rows <= MOST_POINTS {
        return Ok(());
    }
    Err(ChartError::TooMany {
        count: rows,
        what: "rows",
        most: MOST_POINTS,
        instead: "group them, or add LIMIT",
    })
}

/// Draws the rows: to the file asked for, or as text.
pub(super) fn draw(
    args: &PlotArgs,
    schema: &SchemaRef,
    batches: &[RecordBatch],
) -> Result<Option<String>, ChartError> {
    let rows = concat_batches(schema, batches)?;
    let chart = chart(args, &rows)?;
    match args.file() {
        Some(file) => {
            plot::write(&chart, &file, Size::default())?;
            Ok(None)
        }
        None => {
            let (width, height) = match std::io::stdout().is_terminal() {
                true => crossterm::terminal::size().unwrap_or((80, 24)),
                false => (80, 24),
            };
            let height = usize::from(height).saturating_sub(2).clamp(10, 30);
            Ok(Some(plot::terminal(&chart, usize::from(width), height, coloured())))
        }
    }
}

/// What a column can be in a chart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Time,
    Number,
    Text,
    None,
}

fn role(data_type: &DataType) -> Role {
    match data_type {
        DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64 => Role::Time,
        // Of a window, its start.
        DataType::Struct(fields) => match fields.iter().find(|field| field.name() == "start") {
            Some(start) => role(start.data_type()),
            None => Role::None,
        },
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Boolean => Role::Text,
        data_type if data_type.is_numeric() => Role::Number,
        _ => Role::None,
    }
}

fn chart(args: &PlotArgs, rows: &RecordBatch) -> Result<Chart, ChartError> {
    if rows.num_rows() == 0 {
        return Err(ChartError::Nothing("the query gave no rows"));
    }
    let schema = rows.schema();
    let roles: Vec<Role> = schema.fields().iter().map(|field| role(field.data_type())).collect();
    let x = match &args.x {
        Some(name) => Some(column(rows, name)?),
        None => [Role::Time, Role::Text]
            .iter()
            .find_map(|wanted| roles.iter().position(|r| r == wanted))
            .or_else(|| {
                // One number alone is drawn over the number of its row.
                let numbers: Vec<usize> = positions(&roles, Role::Number).collect();
                (numbers.len() > 1).then(|| numbers[0])
            }),
    };
    let ys: Vec<usize> = match args.y.is_empty() {
        false => args.y.iter().map(|name| column(rows, name)).collect::<Result<_, _>>()?,
        true => positions(&roles, Role::Number).filter(|index| Some(*index) != x).collect(),
    };
    if ys.is_empty() {
        return Err(ChartError::Nothing("the rows have no column of numbers beside the axis"));
    }
    // Text beside one number says which line a row belongs to.
    let by = match (ys.as_slice(), x) {
        ([_], Some(x)) => positions(&roles, Role::Text).find(|index| *index != x),
        _ => None,
    };
    let (axis, xs) = horizontal(rows, x, &roles)?;
    let default = match roles_of(x, &roles) {
        Role::Text | Role::None => SeriesKind::Bar,
        Role::Time | Role::Number => SeriesKind::Line,
    };
    let kind = match args.plot_kind {
        None if x.is_none() => SeriesKind::Line,
        None => default,
        Some(Kind::Line) => SeriesKind::Line,
        Some(Kind::Bar) => SeriesKind::Bar,
        Some(Kind::Points) => SeriesKind::Points,
    };
    let label = match ys.as_slice() {
        [one] => schema.field(*one).name().as_str(),
        _ => "",
    };
    let mut chart = Chart::new("", axis, Axis::number(label));
    for y in ys {
        let values = numbers(rows, y)?;
        let points = xs.iter().copied().zip(values);
        let Some(by) = by else {
            let name = schema.field(y).name().clone();
            let points = sorted(points.filter(|(x, _)| x.is_finite()).collect(), kind);
            chart.series.push(Series { name, kind, points });
            continue;
        };
        let names = texts(rows, by)?;
        let mut series: Vec<Series> = vec![];
        for (name, point) in names.into_iter().zip(points) {
            if !point.0.is_finite() {
                continue;
            }
            match series.iter_mut().find(|series| series.name == name) {
                Some(series) => series.points.push(point),
                None => series.push(Series { name, kind, points: vec![point] }),
            }
        }
        for one in &mut series {
            one.points = sorted(std::mem::take(&mut one.points), kind);
        }
        chart.series = series;
    }
    if chart.series.len() > MOST_SERIES {
        return Err(ChartError::TooMany {
            count: chart.series.len(),
            what: "series",
            most: MOST_SERIES,
            instead: "choose columns with --y, or filter the rows",
        });
    }
    Ok(chart)
}

fn positions(roles: &[Role], wanted: Role) -> impl Iterator<Item = usize> + '_ {
    roles.iter().enumerate().filter(move |(_, role)| **role == wanted).map(|(index, _)| index)
}

fn roles_of(x: Option<usize>, roles: &[Role]) -> Role {
    x.and_then(|x| roles.get(x).copied()).unwrap_or(Role::None)
}

/// A line is drawn from left to right, whatever order its rows came in.
fn sorted(mut points: Vec<(f64, f64)>, kind: SeriesKind) -> Vec<(f64, f64)> {
    if kind != SeriesKind::Bar {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    points
}

fn column(rows: &RecordBatch, name: &str) -> Result<usize, ChartError> {
    let schema = rows.schema();
    let found = schema.fields().iter().position(|field| field.name() == name).or_else(|| {
        schema.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name))
    });
    found.ok_or_else(|| {
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        ChartError::Column {
            name: name.to_owned(),
            hint: match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("the columns are {}", names.join(", ")),
            },
        }
    })
}

/// The horizontal axis, and each row's place on it.
fn horizontal(
    rows: &RecordBatch,
    x: Option<usize>,
    roles: &[Role],
) -> Result<(Axis, Vec<f64>), ChartError> {
    let Some(x) = x else {
        return Ok((Axis::number("row"), (0..rows.num_rows()).map(|row| row as f64).collect()));
    };
    let schema = rows.schema();
    let field = schema.field(x);
    match roles_of(Some(x), roles) {
        Role::Time => Ok((Axis::time(field.name()), times(rows.column(x))?)),
        Role::Number => Ok((Axis::number(field.name()), numbers(rows, x)?)),
        Role::Text => {
            let mut names: Vec<String> = vec![];
            let mut places = Vec::with_capacity(rows.num_rows());
            for text in texts(rows, x)? {
                let place = match names.iter().position(|name| *name == text) {
                    Some(place) => place,
                    None if names.len() == MOST_CATEGORIES => {
                        return Err(ChartError::TooMany {
                            count: rows.num_rows(),
                            what: "bars",
                            most: MOST_CATEGORIES,
                            instead: "order the rows and add LIMIT",
                        });
                    }
                    None => {
                        names.push(text);
                        names.len() - 1
                    }
                };
                places.push(place as f64);
            }
            Ok((Axis::category(field.name(), names), places))
        }
        Role::None => Err(ChartError::Type {
            name: field.name().clone(),
            data_type: field.data_type().clone(),
            what: "an axis",
        }),
    }
}

/// Microseconds since the Unix epoch.
fn times(column: &ArrayRef) -> Result<Vec<f64>, ChartError> {
    if let Some(window) = column.as_struct_opt()
        && let Some(start) = window.column_by_name("start")
    {
        return times(start);
    }
    if matches!(column.data_type(), DataType::Date32 | DataType::Date64) {
        let days = cast(&cast(column, &DataType::Date32)?, &DataType::Int32)?;
        let days = cast(&days, &DataType::Float64)?;
        return Ok(floats(&days).into_iter().map(|day| day * MICROS_A_DAY).collect());
    }
    let micros = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
    let micros = cast(&micros, &DataType::Int64)?;
    let micros = micros.as_primitive::<Int64Type>();
    Ok(micros.iter().map(|us| us.map_or(f64::NAN, |us| us as f64)).collect())
}

fn numbers(rows: &RecordBatch, index: usize) -> Result<Vec<f64>, ChartError> {
    let schema = rows.schema();
    let field = schema.field(index);
    if !field.data_type().is_numeric() {
        return Err(ChartError::Type {
            name: field.name().clone(),
            data_type: field.data_type().clone(),
            what: "drawn, because it is no number",
        });
    }
    Ok(floats(&cast(rows.column(index), &DataType::Float64)?))
}

fn floats(column: &ArrayRef) -> Vec<f64> {
    let column = column.as_primitive::<Float64Type>();
    column.iter().map(|value| value.unwrap_or(f64::NAN)).collect()
}

fn texts(rows: &RecordBatch, index: usize) -> Result<Vec<String>, ChartError> {
    let column = cast(rows.column(index), &DataType::Utf8)?;
    let column = column.as_string::<i32>();
    Ok(column.iter().map(|text| text.unwrap_or("NULL").to_owned()).collect())
}
