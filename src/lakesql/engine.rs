//! What runs the queries: threads, memory, and DataFusion's state.

use std::future::Future;
use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::prelude::SessionConfig;
use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;

use super::LakeSqlError;

/// Stack of the engine's threads, in bytes; only what is used becomes memory. Plans are trees that
/// are walked by recursion, a thousand levels deep for a sum of a thousand terms.
const STACK: usize = 64 << 20;

/// How many of the largest users of memory an error names.
const CONSUMERS_NAMED: usize = 3;

/// What a session may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineOptions {
    /// Threads that read and compute, and parts that a query is cut into. 0: one for each core.
    pub threads: usize,
    /// Bytes that the state of operators may take (groups, sorted rows, sides of joins). What can
    /// be put to disk is, beyond that; else the query fails.
    pub memory: usize,
    /// Whether the disk may be used: below the directory for temporary files, removed afterwards.
    pub spill: bool,
}

impl Default for EngineOptions {
    /// All cores, half of the machine's memory, and the disk.
    fn default() -> Self {
        Self { threads: 0, memory: half_of_memory(), spill: true }
    }
}

fn half_of_memory() -> usize {
    const UNKNOWN: usize = 2 << 30;
    // SAFETY: `sysconf` only looks at a number.
    let (pages, size) =
        unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    match (usize::try_from(pages), usize::try_from(size)) {
        (Ok(pages), Ok(size)) if pages > 0 => (pages.saturating_mul(size) / 2).max(256 << 20),
        _ => UNKNOWN,
    }
}

/// Threads and state. Dropping it leaves running queries to end at their next batch.
#[derive(Debug)]
pub(super) struct Engine {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    state: SessionState,
}

impl Engine {
    pub(super) fn new(options: &EngineOptions) -> Result<Self, LakeSqlError> {
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let runtime = Builder::new_multi_thread()
            // One more than compute, so that there is somebody to look at the clock.
            .worker_threads(threads + 1)
            .thread_name("sql")
            .thread_stack_size(STACK)
            .enable_all()
            .build()
            .map_err(|error| LakeSqlError::Execution(format!("no threads to run in: {error}")))?;
        let pool = TrackConsumersPool::new(
            FairSpillPool::new(options.memory),
            // The constant is not zero.
            CONSUMERS_NAMED.try_into().unwrap_or(std::num::NonZeroUsize::MIN),
        );
        let disk = match options.spill {
            true => DiskManagerMode::OsTmpDirectory,
            false => DiskManagerMode::Disabled,
        };
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(disk))
            .build_arc()?;
        let state = SessionStateBuilder::new()
            .with_default_features()
            .with_config(config(threads))
            .with_runtime_env(environment)
            .build();
        Ok(Self { runtime: Some(runtime), state })
    }

    pub(super) fn state(&self) -> &SessionState {
        &self.state
    }

    /// Runs a future on the engine's threads. Dropping what is returned stops it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, LakeSqlError>> + Send + 'static,
    ) -> Result<T, LakeSqlError> {
        let Some(runtime) = &self.runtime else { return Err(stopped()) };
        let task = runtime.spawn(future);
        let _guard = AbortOnDrop(task.abort_handle());
        match task.await {
            Ok(result) => result,
            Err(error) if error.is_panic() => Err(LakeSqlError::Execution(
                "the engine failed at this query, which is a fault of the engine; please report \
                 it with the query"
                    .to_owned(),
            )),
            Err(_) => Err(stopped()),
        }
    }

    /// Starts a future on the engine's threads that ends when the guard is dropped.
    pub(super) fn start(&self, future: impl Future<Output = ()> + Send + 'static) -> AbortOnDrop {
        match &self.runtime {
            Some(runtime) => AbortOnDrop(runtime.spawn(future).abort_handle()),
            // Only while it is dropped, when nobody can ask.
            None => AbortOnDrop(tokio::spawn(async {}).abort_handle()),
        }
    }

    /// Waits for a future on this thread, which must not be one of a runtime.
    pub(super) fn block_on<T>(
        &self,
        future: impl Future<Output = Result<T, LakeSqlError>>,
    ) -> Result<T, LakeSqlError> {
        match &self.runtime {
            Some(runtime) => runtime.block_on(future),
            None => Err(stopped()),
        }
    }
}

fn stopped() -> LakeSqlError {
    LakeSqlError::Execution("the query was stopped".to_owned())
}

/// A runtime may not be dropped where others run; this one is left to end by itself.
impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Stops a task when nobody waits for it any more.
#[derive(Debug)]
pub(super) struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// docs/LAKEHOUSE.md has the measurements behind these.
fn config(threads: usize) -> SessionConfig {
    let mut config = SessionConfig::new().with_target_partitions(threads);
    let options = config.options_mut();
    options.sql_parser.enable_ident_normalization = false;
    options.execution.time_zone = Some("UTC".into());
    // deltalake's own sessions set these two: the IN lists that a join pushes into its other side
    // panic where its keys are dictionaries, as partition columns are.
    options.optimizer.hash_join_inlist_pushdown_max_size = 0;
    options.optimizer.hash_join_inlist_pushdown_max_distinct_values = 0;
    config
}
