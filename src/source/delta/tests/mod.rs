//! Against tables that deltalake itself writes.

mod changes;
mod follow;
mod trouble;

use std::future::Future;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Int64Type, TimeUnit};
use deltalake::DeltaTable;
use deltalake::kernel::{DataType as DeltaType, PrimitiveType, StructField};
use deltalake::operations::create::CreateBuilder;
use url::Url;

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A table `id BIGINT, name STRING`, and a place for what a source keeps.
struct Place {
    dir: tempfile::TempDir,
}

fn rows(ids: std::ops::Range<i64>) -> RecordBatch {
    let names: Vec<String> = ids.clone().map(|id| format!("n{id}")).collect();
    RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from_iter_values(ids)) as ArrayRef),
        ("name", Arc::new(StringArray::from(names))),
    ])
    .unwrap()
}

impl Place {
    fn new() -> Self {
        Self::with(&[], &[])
    }

    fn with(partition_by: &[&str], properties: &[(&str, &str)]) -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(place.path()).unwrap();
        let column = |name, kind| StructField::nullable(name, DeltaType::Primitive(kind));
        let configuration =
            properties.iter().map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned())));
        run(CreateBuilder::new()
            .with_location(place.url())
            .with_columns([
                column("id", PrimitiveType::Long),
                column("name", PrimitiveType::String),
            ])
            .with_partition_columns(partition_by.iter().copied())
            .with_configuration(configuration)
            .with_raise_if_key_not_exists(false)
            .into_future())
        .unwrap();
        place
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("table")
    }

    fn url(&self) -> Url {
        Url::from_directory_path(self.path()).unwrap()
    }

    fn sources(&self) -> PathBuf {
        self.dir.path().join("sources")
    }

    async fn table(&self) -> DeltaTable {
        deltalake::open_table(self.url()).await.unwrap()
    }

    fn append(&self, ids: std::ops::Range<i64>) {
        run(async { self.table().await.write(vec![rows(ids)]).await.unwrap() });
    }

    fn options(&self) -> DeltaOptions {
        let mut options = DeltaOptions::new(self.path().to_str().unwrap());
        options.poll_interval = Duration::from_millis(5);
        options
    }

    fn open(&self, options: &DeltaOptions) -> DeltaSource {
        self.try_open(options).unwrap()
    }

    fn try_open(&self, options: &DeltaOptions) -> Result<DeltaSource, SourceError> {
        let schema = DeltaSource::schema(options)?;
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        DeltaSource::open(options.clone(), &schema, &all, &self.sources(), "table")
    }

    /// Reads all that is there in a bounded run.
    fn read(&self, options: &DeltaOptions) -> Seen {
        let mut reader = Reader::new(self.open(options));
        reader.source.bound().unwrap();
        reader.until(|seen| seen.finished);
        assert!(reader.seen.error.is_none(), "{:?}", reader.seen.error);
        reader.seen
    }
}

/// What reading came to.
#[derive(Debug, Default)]
struct Seen {
    batches: Vec<RecordBatch>,
    /// Position and id of every row.
    rows: Vec<(i64, i64)>,
    next: i64,
    finished: bool,
    limited: bool,
    error: Option<SourceError>,
}

impl Seen {
    fn ids(&self) -> Vec<i64> {
        self.rows.iter().map(|(_, id)| *id).collect()
    }

    fn sorted(&self) -> Vec<i64> {
        let mut ids = self.ids();
        ids.sort_unstable();
        ids
    }
}

struct Reader {
    source: DeltaSource,
    woken: mpsc::Receiver<()>,
    limit: usize,
    seen: Seen,
}

impl Reader {
    fn new(mut source: DeltaSource) -> Self {
        let (wake, woken) = mpsc::channel();
        source.on_ready(Box::new(move || {
            let _ = wake.send(());
        }));
        Self { source, woken, limit: 1000, seen: Seen::default() }
    }

    fn take(&mut self) -> bool {
        let taken = self.source.take_columns(self.limit).unwrap();
        let seen = &mut self.seen;
        let next = taken.next.unwrap();
        assert!(next >= seen.next);
        (seen.next, seen.finished, seen.limited) = (next, taken.finished, taken.limited);
        if let Some(error) = taken.error {
            seen.error.get_or_insert(error);
        }
        let Some(batch) = taken.batch else { return false };
        assert!(batch.num_rows() > 0 && batch.num_rows() <= self.limit);
        assert!(taken.file.is_some());
        let ids = batch.column_by_name("id").unwrap().as_primitive::<Int64Type>().values();
        seen.rows.extend((taken.first..).zip(ids.iter().copied()));
        seen.batches.push(batch);
        true
    }

    /// Takes, woken by the source, until `done`, an error, or nothing more before a barrier.
    fn until(&mut self, done: impl Fn(&Seen) -> bool) {
        loop {
            while !done(&self.seen) && self.take() {}
            if done(&self.seen) || self.seen.error.is_some() || self.seen.limited {
                return;
            }
            self.woken.recv_timeout(PATIENCE).unwrap();
        }
    }

    fn until_error(mut self) -> SourceError {
        self.until(|_| false);
        self.seen.error.unwrap()
    }
}

#[test]
fn every_column_is_declared_as_one_that_may_be_null() {
    let place = Place::new();
    let schema = DeltaSource::schema(&place.options()).unwrap();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["id", "name"]);
    let options = DeltaOptions { change_feed: true, ..place.options() };
    let schema = DeltaSource::schema(&options).unwrap();
    assert_eq!(schema.field(2).name(), "_change_type");
    assert_eq!(schema.field(3).data_type(), &DataType::Int64);
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    assert_eq!(schema.field(4).data_type(), &utc);
    assert!(schema.fields().iter().all(|field| field.is_nullable()));
}

#[test]
fn a_projection_reads_fewer_columns_in_its_order() {
    let place = Place::with(&["name"], &[]);
    place.append(0..3);
    let options = place.options();
    let schema = DeltaSource::schema(&options).unwrap();
    let read = |projection: &[usize], dir: &str| {
        let sources = place.dir.path().join(dir);
        let source =
            DeltaSource::open(options.clone(), &schema, projection, &sources, "t").unwrap();
        let mut source = source;
        source.bound().unwrap();
        let mut batches = Vec::new();
        loop {
            let taken = source.take_columns(100).unwrap();
            assert!(taken.error.is_none(), "{:?}", taken.error);
            batches.extend(taken.batch);
            if taken.finished {
                return batches;
            }
            std::thread::yield_now();
        }
    };
    let batches = read(&[1, 0], "one");
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
    for batch in &batches {
        let id = batch.column(1).as_primitive::<Int64Type>().value(0);
        assert_eq!(batch.column(0).as_string::<i32>().value(0), format!("n{id}"));
    }
    let batches = read(&[], "two");
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
    assert_eq!(batches[0].num_columns(), 0);
}
