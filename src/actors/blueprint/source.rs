//! Sources, ready to be read.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};

use crate::actors::partition_reader::{BatchLimits, ColumnsOf, Decoding};
use crate::codec::{
    CodecError, Decoder, FormatSpec, MetadataColumn, parse_schema, raw_schema, text_schema,
};
use crate::config::{
    self, AfterFile, ConfigError, CsvFormat, DeltaSourceSettings, FileCompression, FileOrder,
    FilesSettings, FormatSettings, KafkaSettings, MetadataField, Settings, SourceKind,
    SourceSettings, StartOffset, StartPosition,
};
use crate::source::delta::{DeltaOptions, DeltaSource, DeltaStart, Rewrites};
use crate::source::files::{
    After, Compression, CsvFraming, FileFormat, FilesOptions, FilesSource, Framing, Order,
};
use crate::source::kafka::{KafkaOptions, Start, StartAt};
use crate::source::rate::{RateOptions, RateSource};
use crate::source::socket::{SocketOptions, SocketSource};
use crate::source::{PartitionId, SourceError, SplitReader};
use crate::sql::SourceTable;

use super::format::plan_format;
use super::{find_column, micros};

/// A source, ready to be read.
#[derive(Debug)]
pub struct SourceBlueprint {
    /// Its name.
    pub name: Arc<str>,
    /// The declared columns, then those that are filled from what surrounds a record.
    pub schema: SchemaRef,
    /// The columns that are decoded: what some query reads, and the event time.
    pub projection: Vec<usize>,
    /// How its records are decoded; nothing for sources that have columns of their own.
    pub format: Option<FormatSpec>,
    /// The last columns of the schema: what surrounds a record.
    pub metadata: Vec<MetadataColumn>,
    /// The event time's name, and the watermark's delay in microseconds.
    pub watermark: Option<WatermarkBlueprint>,
    /// Where it comes from.
    pub input: SourceInput,
    /// How much a reader takes at once.
    pub limits: BatchLimits,
}

/// Where a source's records come from.
#[derive(Debug)]
pub enum SourceInput {
    /// Group, topics and client options.
    Kafka(KafkaOptions),
    /// Where the files are, and how they are read.
    Files(FilesOptions),
    /// Who sends lines.
    Socket(SocketOptions),
    /// How many rows are made.
    Rate(RateOptions),
    /// Which table, and from where on.
    Delta(DeltaOptions),
}

impl SourceInput {
    /// The source's type, as configured.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Kafka(_) => "kafka",
            Self::Files(_) => "files",
            Self::Socket(_) => "socket",
            Self::Rate(_) => "rate",
            Self::Delta(_) => "delta",
        }
    }

    /// What and where, for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Kafka(options) => format!("{} at {}", options.topics.join(", "), options.brokers),
            Self::Files(options) => options.path.clone(),
            Self::Socket(options) => format!("{}:{}", options.host, options.port),
            Self::Rate(options) => format!("{} rows/s", options.rows_per_second),
            Self::Delta(options) => options.path.clone(),
        }
    }
}

impl SourceBlueprint {
    /// The source as queries see it.
    pub(super) fn table(&self) -> SourceTable {
        SourceTable {
            name: self.name.to_string(),
            schema: self.schema.clone(),
            event_time: self.watermark.as_ref().map(|watermark| watermark.column.clone()),
            watermark_delay_us: self.watermark.as_ref().map(|watermark| watermark.delay_us),
        }
    }

    /// Decodes what is read by queries, and the event time.
    pub(super) fn project(&mut self, reads: BTreeSet<usize>) {
        let mut columns = reads;
        if let Some(watermark) = &self.watermark {
            columns.extend(self.schema.index_of(&watermark.column).ok());
        }
        self.projection = columns.into_iter().collect();
    }

    /// What becomes of the records of one partition.
    ///
    /// # Errors
    /// A column that is read has a type that the format cannot give.
    pub fn decoding(&self) -> Result<Decoding, CodecError> {
        let Some(format) = &self.format else {
            let first_metadata = self.schema.fields().len() - self.metadata.len();
            let read = self.projection.iter().filter(|column| **column >= first_metadata);
            let metadata = read.map(|column| self.metadata[column - first_metadata]).collect();
            let schema = Arc::new(self.schema.project(&self.projection)?);
            return Ok(Decoding::Columns(ColumnsOf { schema, metadata }));
        };
        let decoder =
            Decoder::new(self.schema.clone(), self.projection.clone(), format, &self.metadata)?;
        Ok(Decoding::Records(Box::new(decoder)))
    }

    /// Opens its partition, if it has but one; see [`only_partition`](Self::only_partition).
    /// `once`: all of it in one epoch, whatever the limits of a trigger.
    ///
    /// # Errors
    /// It is not there, or is not what it should be.
    pub fn open(
        &self,
        settings: &Settings,
        once: bool,
    ) -> Result<Box<dyn SplitReader>, SourceError> {
        let dir = settings.checkpoint.directory.join("sources");
        std::fs::create_dir_all(&dir).map_err(|error| SourceError::io("create", &dir, error))?;
        match &self.input {
            SourceInput::Files(options) => {
                let mut options = options.clone();
                if once {
                    options.max_files_per_trigger = None;
                }
                if let FileFormat::Parquet { projection, .. } = &mut options.format {
                    *projection = self.own_columns();
                }
                Ok(Box::new(FilesSource::open(options, &dir, self.name.clone())?))
            }
            SourceInput::Socket(options) => Ok(Box::new(SocketSource::open(options.clone())?)),
            SourceInput::Rate(options) => {
                let options = RateOptions { projection: self.own_columns(), ..options.clone() };
                Ok(Box::new(RateSource::open(&options, &dir, self.name.clone())?))
            }
            SourceInput::Delta(options) => {
                let mut options = options.clone();
                if once {
                    options.max_files_per_trigger = None;
                }
                let columns = self.own_columns();
                let declared = self.schema.fields().len() - self.metadata.len();
                let schema = self.schema.fields()[..declared].to_vec();
                let schema = Arc::new(Schema::new(schema));
                Ok(Box::new(DeltaSource::open(options, &schema, &columns, &dir, &self.name)?))
            }
            SourceInput::Kafka(options) => Err(SourceError::Option {
                option: "topics",
                problem: format!("{} are read by a group", options.topics.join(", ")),
            }),
        }
    }

    /// Its partition, if it has but one and always has it; the partitions of Kafka topics are
    /// handed out by their group.
    pub fn only_partition(&self) -> Option<PartitionId> {
        match &self.input {
            SourceInput::Kafka(_) => None,
            SourceInput::Files(_)
            | SourceInput::Socket(_)
            | SourceInput::Rate(_)
            | SourceInput::Delta(_) => Some(PartitionId::new(self.name.clone(), "0")),
        }
    }

    /// The columns that are read, without those that are filled from what surrounds a record.
    fn own_columns(&self) -> Vec<usize> {
        let first_metadata = self.schema.fields().len() - self.metadata.len();
        self.projection.iter().copied().filter(|column| *column < first_metadata).collect()
    }
}

/// How a source's event time advances.
#[derive(Debug, Clone)]
pub struct WatermarkBlueprint {
    /// The event time's column.
    pub column: String,
    /// How long late rows are waited for, in microseconds.
    pub delay_us: i64,
    /// A partition that brings nothing for this long is left out, in milliseconds.
    pub idle_timeout_ms: Option<u64>,
    /// Whether the wall clock moves the watermark while all partitions are idle.
    pub wall_clock: bool,
}

pub(super) fn plan_source(
    settings: &Settings,
    source: &SourceSettings,
) -> Result<SourceBlueprint, ConfigError> {
    let declared = match &source.schema_text {
        Some(text) => Some(parse_schema(text).map_err(|error| {
            settings.error_at_schema(source, error.offset, error.message.clone(), None)
        })?),
        None => None,
    };
    let declared = match (declared, &source.format, &source.kind) {
        (Some(declared), ..) => declared,
        (None, Some(FormatSettings::Text), _) => text_schema(),
        (None, Some(FormatSettings::Raw), _) => raw_schema(),
        (None, _, SourceKind::Rate(_)) => RateSource::schema(),
        (None, _, SourceKind::Delta(delta)) => {
            DeltaSource::schema(&delta_options(delta)).map_err(|error| {
                let help = "declare the columns as `schema`, to plan without the table".to_owned();
                let path = ["sources", &source.name, "path"];
                settings.error_at(&path, error.to_string(), Some(help))
            })?
        }
        (None, ..) => {
            return Err(settings.error_at(&["sources", &source.name], "it has no schema", None));
        }
    };
    let (schema, metadata) = with_metadata(&declared, source);
    let watermark = plan_watermark(settings, source, &schema)?;
    let format = match &source.format {
        Some(format) => plan_format(settings, source, format, &declared)?,
        None => None,
    };
    let input = match &source.kind {
        SourceKind::Kafka(kafka) => SourceInput::Kafka(kafka_options(settings, source, kafka)),
        SourceKind::Files(files) => {
            SourceInput::Files(files_options(source, files, format.as_ref(), &declared))
        }
        SourceKind::Socket(socket) => SourceInput::Socket(SocketOptions {
            first_pause: socket.initial_backoff,
            max_pause: socket.max_backoff,
            max_line_bytes: source.max_record_bytes,
            skip_blank: !matches!(format, Some(FormatSpec::Text)),
            ..SocketOptions::new(socket.host.clone(), socket.port)
        }),
        SourceKind::Rate(rate) => SourceInput::Rate(RateOptions {
            rows_per_second: rate.rows_per_second,
            ramp_up: rate.ramp_up,
            ..RateOptions::default()
        }),
        SourceKind::Delta(delta) => SourceInput::Delta(delta_options(delta)),
    };
    Ok(SourceBlueprint {
        name: source.name.as_str().into(),
        schema,
        projection: Vec::new(),
        format,
        metadata,
        watermark,
        input,
        limits: BatchLimits {
            rows: source.batch.max_rows,
            bytes: source.batch.max_bytes,
            linger: source.batch.linger,
            record_bytes: source.max_record_bytes,
        },
    })
}

/// The columns with those behind them that are filled from what surrounds a record.
fn with_metadata(
    declared: &SchemaRef,
    source: &SourceSettings,
) -> (SchemaRef, Vec<MetadataColumn>) {
    let mut fields = declared.fields().to_vec();
    let mut metadata = Vec::new();
    for column in &source.metadata {
        let what = match column.field {
            MetadataField::Topic => MetadataColumn::Topic,
            MetadataField::Partition => MetadataColumn::Partition,
            MetadataField::Offset => MetadataColumn::Offset,
            MetadataField::Timestamp => MetadataColumn::Timestamp,
            MetadataField::TimestampType => MetadataColumn::TimestampType,
            MetadataField::Key => MetadataColumn::Key,
            MetadataField::Headers => MetadataColumn::Headers,
            MetadataField::File => MetadataColumn::File,
            MetadataField::Line => MetadataColumn::Line,
            MetadataField::Modified => MetadataColumn::Modified,
        };
        fields.push(Arc::new(what.field(&column.column)));
        metadata.push(what);
    }
    (Arc::new(Schema::new(fields)), metadata)
}

fn plan_watermark(
    settings: &Settings,
    source: &SourceSettings,
    schema: &SchemaRef,
) -> Result<Option<WatermarkBlueprint>, ConfigError> {
    let Some(watermark) = &source.watermark else { return Ok(None) };
    let path = ["sources", &source.name, "watermark", "column"];
    let column = find_column(schema, &watermark.column).map_err(|help| {
        let message = format!("the schema has no column '{}'", watermark.column);
        settings.error_at(&path, message, help)
    })?;
    let field = schema.field(column);
    if !matches!(field.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _)) {
        let message = format!("event time must be a TIMESTAMP, and '{}' is not", field.name());
        return Err(settings.error_at(&path, message, None));
    }
    Ok(Some(WatermarkBlueprint {
        column: field.name().clone(),
        delay_us: micros(watermark.delay),
        idle_timeout_ms: watermark.idle_timeout.map(|timeout| timeout.as_millis() as u64),
        wall_clock: watermark.wall_clock,
    }))
}

fn delta_options(delta: &DeltaSourceSettings) -> DeltaOptions {
    DeltaOptions {
        start: match delta.start {
            config::DeltaStart::Snapshot => DeltaStart::Snapshot,
            config::DeltaStart::Latest => DeltaStart::Latest,
            config::DeltaStart::Version(version) => DeltaStart::Version(version),
            config::DeltaStart::Timestamp(us) => DeltaStart::Timestamp(us),
        },
        change_feed: delta.change_feed,
        rewrites: Rewrites {
            ignore_deletes: delta.ignore_deletes,
            ignore_changes: delta.ignore_changes,
            skip_change_commits: delta.skip_change_commits,
        },
        max_files_per_trigger: Some(delta.max_files_per_trigger),
        poll_interval: delta.poll_interval,
        storage_options: delta.storage.clone(),
        ..DeltaOptions::new(delta.path.clone())
    }
}

fn files_options(
    source: &SourceSettings,
    files: &FilesSettings,
    format: Option<&FormatSpec>,
    declared: &SchemaRef,
) -> FilesOptions {
    let framing = match (format, &source.format) {
        (None, _) => {
            let (schema, projection) = (declared.clone(), Vec::new());
            return with_files(source, files, FileFormat::Parquet { schema, projection });
        }
        (Some(_), Some(FormatSettings::Csv(csv))) => csv_framing(csv),
        (Some(FormatSpec::Text), _) => Framing::Lines { skip_blank: false },
        (Some(FormatSpec::Avro(_)), _) => Framing::Whole,
        (Some(_), _) => Framing::Lines { skip_blank: true },
    };
    with_files(source, files, FileFormat::Records(framing))
}

/// Where the records of a CSV file end.
pub(super) fn csv_framing(csv: &CsvFormat) -> Framing {
    Framing::Csv(CsvFraming {
        delimiter: csv.delimiter,
        // Only inside of quotes can a record go over several lines.
        quote: csv.quote.filter(|_| csv.multiline),
        escape: csv.escape,
        comment: csv.comment,
        header: csv.header != config::CsvHeader::None,
    })
}

fn with_files(source: &SourceSettings, files: &FilesSettings, format: FileFormat) -> FilesOptions {
    FilesOptions {
        path: files.path.clone(),
        recursive: files.recursive,
        format,
        compression: match files.compression {
            FileCompression::Auto => Compression::Auto,
            FileCompression::None => Compression::None,
            FileCompression::Gzip => Compression::Gzip,
            FileCompression::Zstd => Compression::Zstd,
        },
        max_files_per_trigger: files.max_files_per_trigger,
        order: match files.order {
            FileOrder::Oldest => Order::OldestFirst,
            FileOrder::Newest => Order::NewestFirst,
        },
        settle: files.settle,
        poll_interval: files.poll_interval,
        after: match &files.after {
            AfterFile::Keep => After::Keep,
            AfterFile::Delete => After::Delete,
            AfterFile::Archive(directory) => After::Archive(directory.clone()),
        },
        max_file_age: files.max_file_age,
        max_record_bytes: source.max_record_bytes,
    }
}

fn kafka_options(
    settings: &Settings,
    source: &SourceSettings,
    kafka: &KafkaSettings,
) -> KafkaOptions {
    // librdkafka takes a name that begins with ^ for a pattern.
    let pattern = kafka.topic_pattern.iter().map(|pattern| format!("^({pattern})$"));
    KafkaOptions {
        brokers: kafka.brokers.clone(),
        topics: kafka.topics.iter().cloned().chain(pattern).collect(),
        group_id: kafka.group_id.clone(),
        start: match &kafka.start {
            StartPosition::Earliest => Start::Earliest,
            StartPosition::Latest => Start::Latest,
            // The brokers' index counts milliseconds: the first record at or after the time.
            StartPosition::Timestamp(us) => {
                Start::Timestamp { ms: us.div_euclid(1000) + i64::from(us.rem_euclid(1000) > 0) }
            }
            StartPosition::Offsets(offsets) => Start::Offsets {
                listed: offsets
                    .iter()
                    .map(|(partition, offset)| {
                        let at = match offset {
                            StartOffset::Earliest => StartAt::Earliest,
                            StartOffset::Latest => StartAt::Latest,
                            StartOffset::At(offset) => StartAt::Offset(*offset),
                        };
                        (partition.clone(), at)
                    })
                    .collect(),
                others: StartAt::Earliest,
            },
        },
        options: kafka
            .options
            .iter()
            .map(|(key, value)| (key.clone(), value.expose().to_owned()))
            .collect(),
        batch: source.batch.max_rows,
        drain_timeout: settings.checkpoint.drain_timeout,
    }
}
