//! Batch jobs: when they run, how often they are tried, and what is told of them.
//!
//! Each job has a task of its own beside the pipeline. Nothing that happens in it can stop the
//! pipeline: a run that fails is tried again with growing pauses, then counted, logged and left to
//! its next time. A job never runs twice at once: times that pass while it runs are left out.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::task::JoinHandle;

use crate::actors::blueprint::{Blueprint, table_spec};
use crate::batch::{BatchError, Done, Job, Outcome, Run, RunLog, Schedule, runs_schema};
use crate::catalog::Catalog;
use crate::lake::TableSpec;
use crate::lakesql::{LakeSqlError, Session};
use crate::telemetry::events::{BatchLogFailed, BatchRunEnded, BatchRunRetried};
use crate::telemetry::progress::PipelineProgress;

/// The first pause after an attempt that failed; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// No job sleeps longer than this at once, so that a clock that is set is noticed.
const NAP: Duration = Duration::from_secs(30);

/// A job with its schedule.
#[derive(Debug, Clone)]
pub struct BatchJob {
    /// What is computed.
    pub job: Job,
    /// When; `None`: only at the end of a bounded run.
    pub schedule: Option<Schedule>,
    /// How often a run that fails is tried again.
    pub retries: u32,
}

/// All jobs of a pipeline.
pub struct BatchJobs {
    jobs: Vec<Arc<BatchJob>>,
    log: Option<RunLog>,
    session: Session,
    progress: Arc<PipelineProgress>,
    tasks: Vec<JoinHandle<()>>,
}

impl BatchJobs {
    /// The jobs of a configuration; `None` if it has none.
    ///
    /// # Errors
    /// No threads can be had for queries.
    pub fn of(
        blueprint: &Blueprint,
        progress: &Arc<PipelineProgress>,
    ) -> Result<Option<Self>, LakeSqlError> {
        let settings = &blueprint.settings;
        if settings.batch.is_empty() {
            return Ok(None);
        }
        let jobs = settings.batch.iter().map(|job| BatchJob {
            job: Job {
                name: job.name.as_str().into(),
                sql: job.sql.as_str().into(),
                // Its columns are known when it runs.
                table: table_spec(&job.sink, runs_schema()),
                timeout: job.timeout,
            },
            // The configuration has been checked.
            schedule: job.schedule.as_deref().and_then(|text| Schedule::parse(text).ok()),
            retries: job.retries,
        });
        let log = settings.batch_runs.enabled.then(|| {
            RunLog::new(TableSpec {
                storage_options: settings.batch_runs.storage.clone(),
                ..TableSpec::new(&settings.batch_runs.path, runs_schema())
            })
        });
        let session = Session::new(Catalog::of(settings))?;
        Self::new(jobs.collect(), log, session, progress.clone()).map(Some)
    }

    /// For planned jobs; nothing runs yet.
    ///
    /// # Errors
    /// No threads can be had for queries.
    pub fn new(
        jobs: Vec<BatchJob>,
        log: Option<RunLog>,
        session: Session,
        progress: Arc<PipelineProgress>,
    ) -> Result<Self, LakeSqlError> {
        for job in &jobs {
            let schedule = job.schedule.as_ref().map(ToString::to_string);
            progress.batch(&job.job.name).describe(schedule.as_deref(), &job.job.table.uri);
        }
        let jobs = jobs.into_iter().map(Arc::new).collect();
        Ok(Self { jobs, log, session, progress, tasks: Vec::new() })
    }

    /// Starts the tasks of those that have a schedule. Must be called on a thread with a local
    /// task set, as actors' threads are. They end when this is dropped.
    pub fn start(&mut self) {
        for job in &self.jobs {
            let Some(schedule) = job.schedule.clone() else { continue };
            let runner = self.runner(job);
            self.tasks.push(actix::spawn(async move { runner.keep_running(schedule).await }));
        }
    }

    /// Runs every job once, one after the other.
    pub async fn run_all(&self) {
        for job in &self.jobs {
            self.runner(job).run(None).await;
        }
    }

    fn runner(&self, job: &Arc<BatchJob>) -> Runner {
        Runner {
            job: job.clone(),
            log: self.log.clone(),
            session: self.session.clone(),
            progress: self.progress.clone(),
        }
    }
}

impl Drop for BatchJobs {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

struct Runner {
    job: Arc<BatchJob>,
    log: Option<RunLog>,
    session: Session,
    progress: Arc<PipelineProgress>,
}

impl Runner {
    async fn keep_running(&self, schedule: Schedule) {
        let progress = self.progress.batch(&self.job.job.name);
        let mut after = Utc::now();
        // A schedule that never comes again is at its end.
        while let Some(due) = schedule.after(after) {
            progress.next_at(Some(due.timestamp_micros()));
            loop {
                let left = (due - Utc::now()).to_std().unwrap_or(Duration::ZERO);
                if left.is_zero() {
                    break;
                }
                tokio::time::sleep(left.min(NAP)).await;
            }
            self.run(Some(due)).await;
            // Times that have passed meanwhile are not made up for.
            after = Utc::now().max(due);
        }
        progress.next_at(None);
    }

    /// One run with all its attempts. Whatever comes of it is told, nothing is returned.
    async fn run(&self, due: Option<DateTime<Utc>>) {
        let name = &self.job.job.name;
        let progress = self.progress.batch(name);
        progress.running(true);
        let started_us = Utc::now().timestamp_micros();
        let mut pause = FIRST_PAUSE;
        let mut attempts = 0;
        let result = loop {
            attempts += 1;
            match self.attempt().await {
                Ok(done) => break Ok(done),
                Err(error) if attempts > self.job.retries => break Err(error),
                Err(error) => {
                    let pipeline = self.progress.name();
                    BatchRunRetried {
                        pipeline,
                        job: name,
                        attempt: attempts,
                        pause,
                        error: &error,
                    }
                    .emit();
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                }
            }
        };
        let ended_us = Utc::now().timestamp_micros();
        let (outcome, done, error) = match result {
            Ok(done) => (Outcome::Succeeded, Some(done), None),
            Err(error) => (Outcome::Failed, None, Some(error.to_string())),
        };
        let took =
            Duration::from_micros(u64::try_from(ended_us.saturating_sub(started_us)).unwrap_or(0));
        BatchRunEnded {
            pipeline: self.progress.name(),
            job: name,
            outcome: outcome.name(),
            rows_read: done.and_then(|done| done.rows_read),
            rows_written: done.map(|done| done.rows_written),
            version: done.map(|done| done.version),
            attempts,
            took,
            error: error.as_deref(),
        }
        .emit();
        progress.ended(outcome == Outcome::Succeeded, ended_us, took, error.as_deref());
        let run = Run {
            id: uuid::Uuid::new_v4().simple().to_string(),
            job: name.clone(),
            due_us: due.map(|due| due.timestamp_micros()),
            started_us,
            ended_us,
            outcome,
            attempts,
            rows_read: done.and_then(|done| done.rows_read),
            rows_written: done.map(|done| done.rows_written),
            version: done.map(|done| done.version),
            error,
        };
        if let Some(log) = &self.log
            && let Err(error) = log.append(&run).await
        {
            let pipeline = self.progress.name();
            BatchLogFailed { pipeline, job: name, error: &error }.emit();
        }
    }

    /// One attempt, on a task of its own: a panic in a library is an attempt that failed.
    async fn attempt(&self) -> Result<Done, BatchError> {
        let (job, session) = (self.job.clone(), self.session.clone());
        let attempt = actix::spawn(async move { job.job.run(&session).await });
        attempt.await.unwrap_or_else(|error| {
            Err(LakeSqlError::Execution(format!("the run ended in a panic: {error}")).into())
        })
    }
}
