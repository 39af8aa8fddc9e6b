//! OPTIMIZE: small files become large ones, or rows are put in z-order.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{Field, Schema, SchemaRef};
use deltalake::kernel::{Add, Remove, Snapshot};
use deltalake::protocol::DeltaOperation;
use serde::Serialize;

use super::filter::PartitionFilter;
use super::plan::{self, Job, Selection, ZORDER_TAG};
use super::pool::{Pool, Worker};
use super::{Progress, UpkeepError, open_to_write, zorder};
use crate::lake::rewrite::{Rewrites, Rewritten};
use crate::lake::{Compression, ExistingTable, LakeError, TableLocation, now_ms};
use crate::sink::delta::rewrite::{RewriteFormat, RewriteWriter, remove};
use crate::source::SourceError;
use crate::source::delta::data::DataFiles;
use crate::sql::nearest;

/// What OPTIMIZE is to do.
#[derive(Clone, Debug)]
pub struct OptimizeOptions {
    /// A condition on partition columns; files of other partitions are left alone.
    pub filter: Option<String>,
    /// The columns of the z-order, at most eight; none: files are only merged.
    pub zorder: Vec<String>,
    /// The size in bytes that files should have. Default: the table's `delta.targetFileSize`, or
    /// else 128 MiB.
    pub target_size: Option<u64>,
    /// Which files are chosen.
    pub selection: Selection,
    /// Only say what would be done.
    pub dry_run: bool,
    /// How column chunks of the new files are compressed.
    pub compression: Compression,
    /// Threads that rewrite; 0: as many as there are cores.
    pub threads: usize,
    /// Bytes of decoded rows that a z-order may hold; the rest waits in temporary files. Merging
    /// holds one new file per thread.
    pub memory: u64,
    /// Where those files are; none: the system's directory for temporary files.
    pub spill_dir: Option<PathBuf>,
    /// A commit is made at the latest when files of so many bytes have been rewritten, so that
    /// neither a conflict nor a kill costs more.
    pub commit_bytes: u64,
    /// How often files are chosen again when others have changed those that were.
    pub rounds: u32,
}

impl OptimizeOptions {
    /// The size of files where neither the caller nor the table says one.
    pub const TARGET_SIZE: u64 = 128 << 20;
    /// The least size that makes sense.
    pub const LEAST_TARGET_SIZE: u64 = 64 << 10;
}

impl Default for OptimizeOptions {
    fn default() -> Self {
        Self {
            filter: None,
            zorder: Vec::new(),
            target_size: None,
            selection: Selection::All,
            dry_run: false,
            compression: Compression::Zstd(Compression::ZSTD_LEVEL),
            threads: 0,
            memory: 512 << 20,
            spill_dir: None,
            commit_bytes: 1 << 30,
            rounds: 8,
        }
    }
}

/// What OPTIMIZE came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OptimizeReport {
    /// Nothing was done: the figures are of what would be.
    pub dry_run: bool,
    /// The table's version afterwards.
    pub version: u64,
    /// Commits that were made.
    pub commits: u64,
    /// Files of the table that were looked at.
    pub files_considered: u64,
    /// Files taken out of the table. They stay where they are for time travel, until a vacuum.
    pub files_removed: u64,
    /// Their bytes.
    pub bytes_removed: u64,
    /// Files that took their place.
    pub files_added: u64,
    /// Their bytes.
    pub bytes_added: u64,
    /// Rows that were written again.
    pub rows: u64,
    /// Partitions with new files.
    pub partitions: u64,
    /// Files whose rewriting was in vain, because others had changed them meanwhile.
    pub conflicts: u64,
    /// From the call to its return.
    pub seconds: f64,
}

/// A job that is done.
pub(super) struct Done {
    pub job: Job,
    pub adds: Vec<Add>,
    pub rows: u64,
}

/// Merges small files, or puts rows in z-order, beside whoever writes to the table.
///
/// # Errors
/// See [`UpkeepError`]; whatever was committed before the error stands, and the rest is as it was.
pub async fn optimize(
    location: &TableLocation,
    options: OptimizeOptions,
    progress: &dyn Progress,
) -> Result<OptimizeReport, UpkeepError> {
    let started = Instant::now();
    let table = open_to_write(location).await?;
    let mut report = OptimizeReport { dry_run: options.dry_run, ..Default::default() };
    let mut partitions = std::collections::HashSet::new();
    let mut round = 0;
    loop {
        round += 1;
        let snapshot = table.snapshot(None).await?;
        let mut rewrites = Rewrites::begin(&table, snapshot.version()).await?;
        let reasons = rewrites.objections();
        if !reasons.is_empty() {
            return Err(UpkeepError::Unsupported { table: table.table.clone(), reasons });
        }
        let run = Run::new(location, &table, &snapshot, &options)?;
        let filter = options.filter.as_deref();
        let filter = filter.map(|text| PartitionFilter::new(&table.table, &snapshot, text));
        let files = plan::candidates(&table, &snapshot, filter.transpose()?.as_ref()).await?;
        report.version = snapshot.version();
        if round == 1 {
            report.files_considered = files.len() as u64;
        }
        let jobs = if options.zorder.is_empty() {
            plan::compaction(files, run.target, options.selection, now_ms())
        } else {
            plan::zorder(files, &zorder_tag(&options.zorder), options.selection)
        };
        if options.dry_run {
            for job in &jobs {
                report.files_removed += job.files.len() as u64;
                report.bytes_removed += job.bytes();
                partitions.insert(key(job));
            }
            break;
        }
        if jobs.is_empty() {
            break;
        }
        let before = report.conflicts;
        run.round(jobs, &mut rewrites, &mut report, &mut partitions, progress).await?;
        let lost = report.conflicts - before;
        if lost == 0 {
            break;
        }
        if round >= options.rounds.max(1) {
            return Err(UpkeepError::Conflict {
                table: table.table.clone(),
                files: usize::try_from(lost).unwrap_or(usize::MAX),
                rounds: round,
            });
        }
        // Whoever writes there does so in turns: not the same moment again.
        tokio::time::sleep(Duration::from_millis(100 << round.min(6))).await;
        if progress.cancelled() {
            return Err(UpkeepError::Cancelled);
        }
    }
    report.partitions = partitions.len() as u64;
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// The tag of files in this z-order.
fn zorder_tag(columns: &[String]) -> String {
    serde_json::to_string(columns).unwrap_or_default()
}

fn key(job: &Job) -> BTreeMap<String, Option<String>> {
    job.partition.clone().into_iter().collect()
}

/// One round: files of one version, rewritten and committed.
struct Run<'a> {
    location: &'a TableLocation,
    table: &'a ExistingTable,
    options: &'a OptimizeOptions,
    target: u64,
    threads: usize,
    shared: Arc<Shared>,
}

/// What all threads of a round use.
pub(super) struct Shared {
    pub format: Arc<RewriteFormat>,
    pub file_schema: SchemaRef,
    pub metadata: deltalake::kernel::Metadata,
    pub version: i64,
}

impl Shared {
    /// Opens files to read the columns of `schema`, in the storage of a thread.
    pub fn data_files(
        &self,
        table: &ExistingTable,
        schema: SchemaRef,
    ) -> Result<DataFiles, UpkeepError> {
        DataFiles::new(table.store.clone(), &table.table, &self.metadata, self.version, schema)
            .map_err(|e| file_error(&table.table, "", e))
    }
}

/// Sorts an error of a data file.
pub(super) fn file_error(table: &str, file: &str, error: SourceError) -> UpkeepError {
    match error {
        SourceError::Gone { .. } => {
            UpkeepError::MissingFile { table: table.to_owned(), file: file.to_owned() }
        }
        other => UpkeepError::File(other),
    }
}

impl<'a> Run<'a> {
    fn new(
        location: &'a TableLocation,
        table: &'a ExistingTable,
        snapshot: &Snapshot,
        options: &'a OptimizeOptions,
    ) -> Result<Self, UpkeepError> {
        let metadata = snapshot.metadata().clone();
        let target = match options.target_size {
            Some(target) => target,
            None if metadata.configuration().contains_key("delta.targetFileSize") => {
                use deltalake::table::config::TablePropertiesExt as _;
                snapshot.table_properties().target_file_size().get()
            }
            None => OptimizeOptions::TARGET_SIZE,
        };
        if target < OptimizeOptions::LEAST_TARGET_SIZE {
            return Err(UpkeepError::Option {
                option: "target size",
                reason: format!("{target} bytes is less than 64 KiB, which only makes small files"),
            });
        }
        let schema = snapshot.arrow_schema();
        let partition_by = metadata.partition_columns().to_vec();
        check_columns(&table.table, &schema, &partition_by, &options.zorder)?;
        let fields: Vec<Field> = schema
            .fields()
            .iter()
            .filter(|field| !partition_by.contains(field.name()))
            .map(|field| field.as_ref().clone())
            .collect();
        let file_schema = Arc::new(Schema::new(fields));
        let properties: BTreeMap<String, String> =
            metadata.configuration().iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        // A group of files becomes one file even if it comes out a little larger than it should.
        let file_bytes = if options.zorder.is_empty() { target.saturating_mul(2) } else { target };
        let format = RewriteFormat::new(
            &table.table,
            file_schema.clone(),
            partition_by,
            &properties,
            options.compression,
            usize::try_from(file_bytes).unwrap_or(usize::MAX),
        )?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            location,
            table,
            options,
            target,
            threads: if options.threads == 0 { cores } else { options.threads },
            shared: Arc::new(Shared {
                format: Arc::new(format),
                file_schema,
                version: snapshot.version().cast_signed(),
                metadata,
            }),
        })
    }

    async fn round(
        &self,
        jobs: Vec<Job>,
        rewrites: &mut Rewrites,
        report: &mut OptimizeReport,
        partitions: &mut std::collections::HashSet<BTreeMap<String, Option<String>>>,
        progress: &dyn Progress,
    ) -> Result<(), UpkeepError> {
        let files = jobs.iter().map(|job| job.files.len() as u64).sum();
        let bytes: u64 = jobs.iter().map(Job::bytes).sum();
        let mut ready: Vec<Done> = Vec::new();
        let mut commit = async |ready: Vec<Done>, report: &mut OptimizeReport| {
            for done in self.commit(ready, rewrites, report).await? {
                partitions.insert(key(&done));
            }
            Ok::<_, UpkeepError>(())
        };
        if self.options.zorder.is_empty() {
            progress.begin("compacting", files, bytes);
            let shared = self.shared.clone();
            let mut pool: Pool<Done> =
                Pool::start(self.location, self.threads, jobs, move |job, worker| {
                    let shared = shared.clone();
                    Box::pin(async move { compact(job, &shared, worker).await })
                })?;
            let mut failed = None;
            while let Some(result) = pool.next(progress).await {
                match result {
                    Ok(done) => ready.push(done),
                    // What the others have finished is not thrown away.
                    Err(error) => {
                        failed.get_or_insert(error);
                        continue;
                    }
                }
                if ready.iter().map(|done| done.job.bytes()).sum::<u64>()
                    >= self.options.commit_bytes
                {
                    commit(std::mem::take(&mut ready), report).await?;
                }
            }
            commit(ready, report).await?;
            failed.map_or(Ok(()), Err)
        } else {
            // Every row is read twice: for its place among the others, and to be put there.
            progress.begin("z-ordering", files * 2, bytes * 2);
            for job in jobs {
                let settings = zorder::Settings {
                    columns: &self.options.zorder,
                    target: self.target,
                    threads: self.threads,
                    memory: self.options.memory,
                    spill_dir: self.options.spill_dir.as_deref(),
                };
                let mut done =
                    zorder::rewrite(self.location, job, &self.shared, settings, progress).await?;
                let tag = zorder_tag(&self.options.zorder);
                for add in &mut done.adds {
                    let tags = add.tags.get_or_insert_default();
                    tags.insert(ZORDER_TAG.to_owned(), Some(tag.clone()));
                }
                ready.push(done);
                if ready.iter().map(|done| done.job.bytes()).sum::<u64>()
                    >= self.options.commit_bytes
                {
                    commit(std::mem::take(&mut ready), report).await?;
                }
            }
            commit(ready, report).await
        }
    }

    /// Commits what is ready, without the jobs some of whose files others have changed; returns
    /// the jobs that are in the table now.
    async fn commit(
        &self,
        mut ready: Vec<Done>,
        rewrites: &mut Rewrites,
        report: &mut OptimizeReport,
    ) -> Result<Vec<Job>, UpkeepError> {
        let objects = self.table.store.object_store(None);
        loop {
            rewrites.advance().await?;
            let (fine, lost): (Vec<Done>, Vec<Done>) = ready.into_iter().partition(|done| {
                rewrites.conflicts(done.job.files.iter().map(|f| f.add.path.as_str())).is_empty()
            });
            for done in lost {
                report.conflicts += done.job.files.len() as u64;
                remove(&objects, &done.adds).await;
            }
            ready = fine;
            if ready.is_empty() {
                return Ok(Vec::new());
            }
            let removed: Vec<Remove> = ready
                .iter()
                .flat_map(|done| done.job.files.iter().map(|file| file.remove.clone()))
                .collect();
            let added: Vec<Add> = ready.iter().flat_map(|done| done.adds.clone()).collect();
            let bytes_removed: u64 = ready.iter().map(|done| done.job.bytes()).sum();
            let bytes_added: u64 =
                added.iter().map(|add| u64::try_from(add.size).unwrap_or(0)).sum();
            let operation = DeltaOperation::Optimize {
                predicate: self
                    .options
                    .filter
                    .as_ref()
                    .map(|filter| serde_json::to_string(&[filter]).unwrap_or_default()),
                target_size: i64::try_from(self.target).unwrap_or(i64::MAX),
            };
            // Named and spelled as Spark does, whose history readers expect strings.
            let metrics = serde_json::json!({
                "numRemovedFiles": removed.len().to_string(),
                "numRemovedBytes": bytes_removed.to_string(),
                "numAddedFiles": added.len().to_string(),
                "numAddedBytes": bytes_added.to_string(),
                "numOutputRows": ready.iter().map(|done| done.rows).sum::<u64>().to_string(),
                "zOrderBy": zorder_tag(&self.options.zorder),
            });
            match rewrites.commit(&removed, &added, operation, metrics).await? {
                Rewritten::Committed(version) => {
                    report.version = version;
                    report.commits += 1;
                    report.files_removed += removed.len() as u64;
                    report.bytes_removed += bytes_removed;
                    report.files_added += added.len() as u64;
                    report.bytes_added += bytes_added;
                    report.rows += ready.iter().map(|done| done.rows).sum::<u64>();
                    return Ok(ready.into_iter().map(|done| done.job).collect());
                }
                // Somebody was quicker: what of it is still as it was goes in the next try.
                Rewritten::Conflict { .. } => {}
                Rewritten::Changed(_) => {
                    for done in ready {
                        report.conflicts += done.job.files.len() as u64;
                        remove(&objects, &done.adds).await;
                    }
                    return Ok(Vec::new());
                }
            }
        }
    }
}

/// Columns that rows can be ordered by: there, not of the path, and with an order.
fn check_columns(
    table: &str,
    schema: &Schema,
    partition_by: &[String],
    columns: &[String],
) -> Result<(), UpkeepError> {
    let wrong = |column: &str, reason: String, suggestion: Option<&str>| UpkeepError::Column {
        table: table.to_owned(),
        column: column.to_owned(),
        reason,
        suggestion: suggestion.map(str::to_owned),
    };
    if columns.len() > zorder::MOST_COLUMNS {
        return Err(UpkeepError::Option {
            option: "z-order",
            reason: format!(
                "{} columns are too many: beyond four or so none of them is in any order, and {} \
                 is the most",
                columns.len(),
                zorder::MOST_COLUMNS
            ),
        });
    }
    for (place, column) in columns.iter().enumerate() {
        if columns[..place].contains(column) {
            return Err(wrong(column, "it is listed twice".to_owned(), None));
        }
        let Ok(field) = schema.field_with_name(column) else {
            let names = schema.fields().iter().map(|field| field.name().as_str());
            let near = nearest(column, names);
            return Err(wrong(column, "the table has no such column".to_owned(), near));
        };
        if partition_by.contains(column) {
            let reason = "the table is partitioned by it, so that every file has one value of it";
            return Err(wrong(column, reason.to_owned(), None));
        }
        if field.data_type().is_nested() {
            let reason = format!("it is {}, which has no order", field.data_type());
            return Err(wrong(column, reason, None));
        }
    }
    Ok(())
}

/// Writes the rows of small files into one.
async fn compact(job: Job, shared: &Shared, worker: &Worker<Done>) -> Result<Done, UpkeepError> {
    let table = &worker.table;
    let files = shared.data_files(table, shared.file_schema.clone())?;
    let objects = table.store.object_store(None);
    let mut writer = RewriteWriter::new(shared.format.clone(), objects, &job.partition);
    let mut rows = 0;
    let mut result = Ok(());
    for file in &job.files {
        result = copy(&files, &file.add, &mut writer, &mut rows, worker).await;
        if result.is_err() {
            break;
        }
        worker.advance(1, file.bytes());
    }
    if let Err(error) = result {
        writer.discard().await;
        return Err(error);
    }
    fail::fail_point!("upkeep::written");
    let adds = writer.finish().await?;
    fail::fail_point!("upkeep::stored");
    Ok(Done { job, adds, rows })
}

async fn copy(
    files: &DataFiles,
    add: &Add,
    writer: &mut RewriteWriter,
    rows: &mut u64,
    worker: &Worker<Done>,
) -> Result<(), UpkeepError> {
    let named = |e| file_error(&worker.table.table, &add.path, e);
    let mut file = files.open(add).await.map_err(named)?;
    while let Some(batch) = file.next().await.map_err(named)? {
        worker.go_on()?;
        *rows += batch.num_rows() as u64;
        writer.write(&batch).await.map_err(|e: LakeError| UpkeepError::Lake(e))?;
    }
    Ok(())
}
