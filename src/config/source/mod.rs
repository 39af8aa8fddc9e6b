//! `[sources.NAME]`: reading it.

mod delta;
mod files;
mod kafka;
mod options;

use std::time::Duration;

pub(crate) use files::{files_path, port};
pub(crate) use kafka::{brokers, is_topic};
pub(crate) use options::{Client, options};

use super::diagnostics::ConfigError;
use super::format::{self, Carrier};
use super::model::{
    BatchSettings, FormatSettings, MetadataColumn, MetadataField, SourceKind, SourceSettings,
    WatermarkSettings,
};
use super::names::check_name;
use super::section::Section;
use super::suggest::{self, alternatives};
use super::text::TextLocation;

const SCHEMA: &str = "columns as Spark SQL declares them";
const SCHEMA_EXAMPLE: &str = "\"timestamp TIMESTAMP NOT NULL, ip STRING\"";
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

#[derive(Clone, Copy)]
enum Kind {
    Kafka,
    Files,
    Socket,
    Rate,
    Delta,
}

/// Only what has errors comes back as nothing.
pub(crate) fn read(name: &str, section: &Section<'_>, pipeline: &str) -> Option<SourceSettings> {
    check_name(section, name, "source");
    let kind = match section.entry("type") {
        Some(entry) => section.choose(
            "type",
            &entry.node,
            &[
                ("kafka", Kind::Kafka),
                ("files", Kind::Files),
                ("socket", Kind::Socket),
                ("rate", Kind::Rate),
                ("delta", Kind::Delta),
            ],
            &[
                ("file", "write \"files\""),
                ("json", "write \"files\", and the format in [sources.NAME.format]"),
                ("csv", "write \"files\", and the format in [sources.NAME.format]"),
                ("text", "write \"files\", and the format in [sources.NAME.format]"),
                ("parquet", "write \"files\", and the format in [sources.NAME.format]"),
            ],
        )?,
        None => {
            section.missing("type", "\"kafka\", \"files\", \"socket\", \"rate\" or \"delta\"");
            return None;
        }
    };
    let (kind, carrier) = match kind {
        Kind::Kafka => {
            (kafka::read(section, pipeline).map(SourceKind::Kafka), Some(Carrier::Kafka))
        }
        Kind::Files => (files::read(section).map(SourceKind::Files), Some(Carrier::Files)),
        Kind::Socket => {
            (files::read_socket(section).map(SourceKind::Socket), Some(Carrier::Socket))
        }
        Kind::Rate => (Some(SourceKind::Rate(files::read_rate(section))), None),
        Kind::Delta => (delta::read(section).map(SourceKind::Delta), None),
    };
    let format = carrier.map(|carrier| format::read(&section.section("format"), carrier));
    let needs_schema = match (&kind, &format) {
        (_, Some(Some(FormatSettings::Text | FormatSettings::Raw))) => false,
        (_, Some(Some(_))) => true,
        (_, Some(None) | None) => false,
    };
    let rate = matches!(kind, Some(SourceKind::Rate(_)));
    let declared = if rate {
        let message = "cannot be given: the columns are `timestamp TIMESTAMP, value BIGINT`";
        section.forbid(&["schema"], message, "no `schema` in a source of type `rate`");
        Some(None)
    } else {
        schema(section, needs_schema)
    };
    let parquet = matches!(format, Some(Some(FormatSettings::Parquet)));
    let metadata = metadata(&section.section("metadata"), carrier, parquet);
    let watermark = watermark(section);
    let batch = batch(&section.section("batch"));
    let max_record_bytes = match carrier {
        Some(_) => section.size("max_record", MAX_RECORD, 1, 1 << 30),
        None => MAX_RECORD,
    };
    section.finish();
    let format = match format {
        Some(format) => Some(format?),
        None => None,
    };
    let (schema_text, schema_location) = match declared? {
        Some((text, location)) => (Some(text), location),
        None => {
            let header = &section.header;
            (None, TextLocation::new(header.source(), vec![header.span().start]))
        }
    };
    Some(SourceSettings {
        name: name.to_owned(),
        kind: kind?,
        format,
        schema_text,
        schema_location,
        metadata,
        watermark,
        batch,
        max_record_bytes,
        location: section.header.clone(),
    })
}

const MAX_RECORD: usize = 16 << 20;

/// The columns: one string, or lines of one, which commas are put between where they lack them.
/// Nothing if there are errors, `Some(None)` if there are none and need not be.
pub(crate) fn schema(
    section: &Section<'_>,
    required: bool,
) -> Option<Option<(String, TextLocation)>> {
    let lines = section.strings("schema", SCHEMA);
    if !section.has("schema") {
        if required {
            section.missing("schema", SCHEMA_EXAMPLE);
            return None;
        }
        return Some(None);
    }
    let file = lines.first()?.node.at.source().clone();
    let mut text = String::new();
    let mut offsets = Vec::new();
    let mut end = 0;
    for line in &lines {
        if !text.is_empty() {
            let comma = if text.trim_end().ends_with(',') { "\n" } else { ",\n" };
            text.push_str(comma);
            offsets.extend(std::iter::repeat_n(end, comma.len()));
        }
        let in_file = line.offsets();
        text.push_str(line.text);
        offsets.extend(in_file.iter().take(line.text.len()));
        end = in_file.last().copied().unwrap_or(0);
    }
    offsets.push(end);
    Some(Some((text, TextLocation::new(&file, offsets))))
}

const FIELDS: [(&str, MetadataField, &[Carrier]); 10] = [
    ("topic", MetadataField::Topic, &[Carrier::Kafka]),
    ("partition", MetadataField::Partition, &[Carrier::Kafka]),
    ("offset", MetadataField::Offset, &[Carrier::Kafka]),
    ("timestamp", MetadataField::Timestamp, &[Carrier::Kafka, Carrier::Socket]),
    ("timestamp_type", MetadataField::TimestampType, &[Carrier::Kafka]),
    ("key", MetadataField::Key, &[Carrier::Kafka]),
    ("headers", MetadataField::Headers, &[Carrier::Kafka]),
    ("file", MetadataField::File, &[Carrier::Files]),
    ("line", MetadataField::Line, &[Carrier::Files, Carrier::Socket]),
    ("modified", MetadataField::Modified, &[Carrier::Files]),
];

fn metadata(section: &Section<'_>, carrier: Option<Carrier>, parquet: bool) -> Vec<MetadataColumn> {
    let mut columns: Vec<MetadataColumn> = Vec::new();
    let there: Vec<&str> = FIELDS
        .iter()
        .filter(|(_, field, carriers)| {
            carrier.is_some_and(|carrier| carriers.contains(&carrier))
                && !(parquet && *field == MetadataField::Line)
        })
        .map(|(name, ..)| *name)
        .collect();
    for entry in section.entries() {
        let expected = if there.is_empty() {
            "no metadata: the source has columns only".to_owned()
        } else {
            alternatives(there.iter().copied())
        };
        let field = FIELDS.iter().find(|(name, ..)| *name == entry.key);
        let Some((name, field, _)) = field.filter(|(name, ..)| there.contains(name)) else {
            let message = match field {
                Some((name, ..)) => format!("records of this source have no `{name}`"),
                None => format!("unknown key `{}`", super::document::write_key(&entry.key)),
            };
            let help = suggest::did_you_mean(&entry.key, there.iter().copied());
            let error = ConfigError::new(message).expected(expected).help(help);
            section.report(&entry.key, &entry.key_at, error);
            continue;
        };
        const COLUMN: &str = "the name of a column to be";
        let Some(column) = section.as_string(name, &entry.node, COLUMN) else { continue };
        if column.text.trim().is_empty() && !column.unresolved {
            section.reject(name, &entry.node, COLUMN, None);
        } else if columns.iter().any(|other| other.column.eq_ignore_ascii_case(column.text)) {
            let error = ConfigError::new(format!("{} is named twice", column.node.shown()))
                .expected("a column for each");
            section.report(name, &entry.node.at, error);
        } else {
            columns.push(MetadataColumn { field: *field, column: column.text.to_owned() });
        }
    }
    columns
}

fn watermark(source: &Section<'_>) -> Option<WatermarkSettings> {
    let section = source.section("watermark");
    let column = if source.has("watermark") {
        let column = section.required("column", "the name of a TIMESTAMP column", "\"timestamp\"");
        if !section.has("delay") {
            section.missing("delay", "\"2 minutes\"");
        }
        column
    } else {
        section.string("column", "the name of a TIMESTAMP column")
    };
    let delay = section.duration("delay", Duration::ZERO, Duration::ZERO, 365 * DAY);
    let idle_timeout = section
        .duration_or("idle_timeout", &["never"], Duration::from_millis(100), 365 * DAY)
        .unwrap_or(Some(Duration::from_secs(30)));
    let wall_clock = section.boolean("wall_clock", false);
    if wall_clock && idle_timeout.is_none() {
        let error = ConfigError::new("`wall_clock` has no effect: no partition is ever idle")
            .expected("an `idle_timeout` that is a duration, or no `wall_clock`");
        section.report("wall_clock", &section.location("wall_clock"), error);
    }
    section.finish();
    Some(WatermarkSettings { column: column?.text.to_owned(), delay, idle_timeout, wall_clock })
}

fn batch(section: &Section<'_>) -> BatchSettings {
    let settings = BatchSettings {
        max_rows: section.count("max_rows", 1, 1 << 20).unwrap_or(8192),
        max_bytes: section.size("max_bytes", 4 << 20, 1 << 10, 1 << 30),
        linger: section.duration(
            "linger",
            Duration::from_millis(20),
            Duration::ZERO,
            Duration::from_secs(10),
        ),
    };
    section.finish();
    settings
}
