//! Statements over the tables, from the page and from programs: read-only, bounded, and on threads
//! of their own that give way to every other.
//!
//! A statement is cancelled when its time is over, and when whoever sent it has gone. One more than
//! `server.sql.max_concurrent` is refused, not kept waiting: whoever asks can ask again.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, web};
use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinError};

use super::routes::{STATEMENT_BYTES, error};
use crate::codec::encode::{Encoder, EncodingSpec, JsonEncoding};
use crate::codec::type_name;
use crate::config::SqlBoxSettings;

/// Time to send a statement.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer's rows in JSON; rows beyond it are cut off.
const ANSWER_BYTES: usize = 8 << 20;
/// How far statements give way to the pipelines, as `nice` counts.
const NICE: libc::c_int = 10;
/// Integers beyond this are not exact in JavaScript: they are sent as text.
const EXACT_DIGITS: usize = 15;

/// The bounds of one statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rows of the answer.
    pub max_rows: usize,
    /// Time, from start to the last row.
    pub timeout: Duration,
    /// Bytes that it may hold.
    pub memory: usize,
}

/// The rows of a statement.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Their columns.
    pub schema: SchemaRef,
    /// They.
    pub batches: Vec<RecordBatch>,
    /// There were more than the limit.
    pub truncated: bool,
    /// What its author should know.
    pub notices: Vec<String>,
}

/// Why a statement gave no rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// It is wrong, or not one that may be run here.
    #[error("{0}")]
    Refused(String),
    /// It took too long.
    #[error("the statement was cancelled: it took more than {} s (server.sql.timeout)", .0.as_secs_f64())]
    Timeout(Duration),
    /// Something else went wrong.
    #[error("{0}")]
    Failed(String),
}

/// A table that statements can read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableColumns {
    /// As a statement names it.
    pub name: String,
    /// What it is to the configuration, in words.
    pub kind: String,
    /// Who writes it.
    pub written_by: Option<String>,
    /// Where it is.
    pub location: String,
    /// Its columns with their types; empty if there is no table yet.
    pub columns: Vec<TableColumn>,
    /// Why its columns are not known, if they are not.
    pub problem: Option<String>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// Its type, as Spark SQL writes it.
    #[serde(rename = "type")]
    pub kind: String,
}

impl TableColumn {
    /// The columns of a schema.
    pub fn of(schema: &Schema) -> Vec<Self> {
        let fields = schema.fields().iter();
        fields
            .map(|field| Self { name: field.name().clone(), kind: type_name(field.data_type()) })
            .collect()
    }
}

/// What runs statements.
pub trait Statements: Debug + Send + Sync {
    /// The tables that there are.
    fn tables(&self) -> BoxFuture<'static, Vec<TableColumns>>;

    /// Runs one statement, which only reads. Dropping the future cancels it.
    fn run(
        &self,
        sql: String,
        limits: Limits,
    ) -> BoxFuture<'static, Result<Answer, StatementError>>;
}

/// The statements of this server.
#[derive(Debug)]
pub(super) struct SqlBox {
    settings: SqlBoxSettings,
    statements: Arc<dyn Statements>,
    runtime: Handle,
    slots: Arc<Semaphore>,
}

impl SqlBox {
    pub fn new(settings: SqlBoxSettings, statements: Arc<dyn Statements>, runtime: Handle) -> Self {
        let slots = Arc::new(Semaphore::new(settings.max_concurrent));
        Self { settings, statements, runtime, slots }
    }

    fn limits(&self) -> Limits {
        Limits {
            max_rows: self.settings.max_rows,
            timeout: self.settings.timeout,
            memory: self.settings.memory / self.settings.max_concurrent.max(1),
        }
    }
}

/// The threads of statements.
///
/// # Errors
/// They cannot be started.
pub(super) fn runtime(settings: &SqlBoxSettings) -> io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Builder::new_multi_thread()
        .worker_threads(settings.max_concurrent.min(cores))
        .max_blocking_threads(8)
        .thread_name("sql")
        .on_thread_start(give_way)
        .enable_all()
        .build()
}

/// Lets every other thread of the process go first.
pub(super) fn give_way() {
    #[cfg(target_os = "linux")]
    // SAFETY: on Linux this concerns the calling thread alone, and touches no memory. A refusal
    // leaves it as it is.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = NICE;
}

type Box_ = web::Data<Option<SqlBox>>;

fn switched_off() -> HttpResponse {
    error(StatusCode::NOT_FOUND, "this daemon runs no statements; server.sql.enabled says so")
}

/// Ends a task that nobody waits for any more.
struct Cancel(AbortHandle);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The tables that statements can read, with their columns.
pub(super) async fn tables(sql: Box_) -> HttpResponse {
    let Some(sql) = sql.get_ref() else { return switched_off() };
    let task = sql.runtime.spawn(sql.statements.tables());
    let _cancel = Cancel(task.abort_handle());
    match task.await {
        Ok(tables) => HttpResponse::Ok().json(json!({
            "tables": tables,
            "limits": {
                "maxRows": sql.settings.max_rows,
                "timeoutMs": u64::try_from(sql.settings.timeout.as_millis()).unwrap_or(u64::MAX),
            },
        })),
        Err(problem) => broken(&problem),
    }
}

fn broken(problem: &JoinError) -> HttpResponse {
    let what = if problem.is_panic() { "ended in a panic" } else { "was cancelled" };
    error(StatusCode::INTERNAL_SERVER_ERROR, &format!("the work on the statement {what}"))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    sql: String,
}

/// Runs a statement.
pub(super) async fn run(sql: Box_, body: web::Payload) -> HttpResponse {
    let Some(sql) = sql.get_ref() else { return switched_off() };
    let body =
        match tokio::time::timeout(BODY_TIMEOUT, body.to_bytes_limited(STATEMENT_BYTES)).await {
            Ok(Ok(Ok(body))) => body,
            Ok(Ok(Err(problem))) => return error(StatusCode::BAD_REQUEST, &problem.to_string()),
            Ok(Err(_)) => {
                let message = format!("a statement has at most {STATEMENT_BYTES} bytes");
                return error(StatusCode::PAYLOAD_TOO_LARGE, &message);
            }
            Err(_) => {
                return error(StatusCode::REQUEST_TIMEOUT, "the statement did not arrive in time");
            }
        };
    let sent: Sent = match serde_json::from_slice(&body) {
        Ok(sent) => sent,
        Err(problem) => {
            let message = format!("expected {{\"sql\": \"SELECT ...\"}}: {problem}");
            return error(StatusCode::BAD_REQUEST, &message);
        }
    };
    let Ok(slot) = sql.slots.clone().try_acquire_owned() else {
        let count = sql.settings.max_concurrent;
        let message = format!(
            "{count} {} running already, which is all that server.sql.max_concurrent allows; try \
             again in a moment",
            if count == 1 { "statement is" } else { "statements are" }
        );
        let mut refusal = error(StatusCode::TOO_MANY_REQUESTS, &message);
        refusal.headers_mut().insert(RETRY_AFTER, 1.into());
        return refusal;
    };
    let limits = sql.limits();
    let statement = sql.statements.run(sent.sql, limits);
    let began = Instant::now();
    let task = sql.runtime.spawn(async move {
        // Held until the work has really ended, which may be a while after it was cancelled.
        let _slot = slot;
        let answer = match tokio::time::timeout(limits.timeout, statement).await {
            Ok(answer) => answer?,
            Err(_) => return Err(StatementError::Timeout(limits.timeout)),
        };
        answer.to_json(began).map_err(|problem| {
            StatementError::Failed(format!("the rows cannot be shown: {problem}"))
        })
    });
    let _cancel = Cancel(task.abort_handle());
    match task.await {
        Ok(Ok(body)) => HttpResponse::Ok().content_type("application/json").body(body),
        Ok(Err(problem)) => {
            let status = match problem {
                StatementError::Refused(_) => StatusCode::BAD_REQUEST,
                StatementError::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
                StatementError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            error(status, &problem.to_string())
        }
        Err(problem) => broken(&problem),
    }
}

impl Answer {
    /// `{"columns": [...], "rows": [[...], ...], ...}`. Numbers, truth values and nested values are
    /// JSON's own; integers that JavaScript would round are text.
    fn to_json(&self, began: Instant) -> Result<Vec<u8>, String> {
        let columns: Vec<TableColumn> = TableColumn::of(&self.schema);
        let head = json!({ "columns": columns }).to_string();
        let mut out = head.strip_suffix('}').unwrap_or(&head).as_bytes().to_vec();
        out.extend_from_slice(b",\"rows\":[");
        let (mut rows, mut cut) = (0_usize, self.truncated);
        'batches: for batch in &self.batches {
            let cells: Vec<Cells> =
                batch.columns().iter().map(Cells::new).collect::<Result<_, _>>()?;
            for row in 0..batch.num_rows() {
                if out.len() > ANSWER_BYTES {
                    cut = true;
                    break 'batches;
                }
                out.extend_from_slice(if rows > 0 { b",[" } else { b"[" });
                for (place, column) in cells.iter().enumerate() {
                    if place > 0 {
                        out.push(b',');
                    }
                    column.write(row, &mut out);
                }
                out.push(b']');
                rows += 1;
            }
        }
        let elapsed = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let notices = json!(self.notices);
        let tail = format!(
            "],\"rowCount\":{rows},\"truncated\":{cut},\"elapsedMs\":{elapsed},\
             \"notices\":{notices}}}"
        );
        out.extend_from_slice(tail.as_bytes());
        Ok(out)
    }
}

/// One column of a batch, ready to be written as JSON.
enum Cells {
    /// Rows of `{"v":...}`.
    Encoded { rows: crate::codec::encode::EncodedRows, integers: bool },
    /// What the encoder does not know, as text; `None` is NULL.
    Text(Vec<Option<String>>),
}

impl Cells {
    fn new(column: &arrow::array::ArrayRef) -> Result<Self, String> {
        let schema = Arc::new(Schema::new(vec![Field::new("v", column.data_type().clone(), true)]));
        let spec = EncodingSpec::Json(JsonEncoding { nulls: true });
        let encoded = Encoder::new(&schema, &spec).ok().and_then(|mut encoder| {
            let batch = RecordBatch::try_new(schema, vec![column.clone()]).ok()?;
            encoder.encode(&batch).ok()
        });
        let integers = matches!(
            column.data_type(),
            DataType::Int64
                | DataType::UInt64
                | DataType::Decimal128(_, _)
                | DataType::Decimal256(_, _)
        );
        if let Some(rows) = encoded {
            return Ok(Self::Encoded { rows, integers });
        }
        let options = FormatOptions::default();
        let shown =
            ArrayFormatter::try_new(column.as_ref(), &options).map_err(|e| e.to_string())?;
        let cell = |row| column.is_valid(row).then(|| shown.value(row).to_string());
        Ok(Self::Text((0..column.len()).map(cell).collect()))
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Encoded { rows, integers } => {
                let whole = rows.row(row);
                let value = whole.strip_prefix(b"{\"v\":").and_then(|v| v.strip_suffix(b"}"));
                let value = value.unwrap_or(b"null");
                let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
                let exact = !integers || digits <= EXACT_DIGITS || value.starts_with(b"\"");
                if !exact {
                    out.push(b'"');
                }
                out.extend_from_slice(value);
                if !exact {
                    out.push(b'"');
                }
            }
            Self::Text(cells) => match cells.get(row).and_then(Option::as_ref) {
                // Text always has a JSON form.
                Some(text) => out.extend(serde_json::to_vec(text).unwrap_or_default()),
                None => out.extend_from_slice(b"null"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BooleanArray, DurationSecondArray, Float64Array, Int64Array, StringArray,
        TimestampMicrosecondArray,
    };

    use super::*;

    #[test]
    fn rows_are_written_as_json_that_javascript_reads_exactly() {
        let time = TimestampMicrosecondArray::from(vec![Some(0), None]).with_timezone("UTC");
        let columns: Vec<(&str, arrow::array::ArrayRef)> = vec![
            ("n", Arc::new(Int64Array::from(vec![Some(9_007_199_254_740_993), Some(-5)]))),
            // Two columns of one name, as in SELECT a, a.
            ("n", Arc::new(Float64Array::from(vec![Some(0.5), None]))),
            ("text", Arc::new(StringArray::from(vec![Some("<script>\"\u{1}"), None]))),
            ("yes", Arc::new(BooleanArray::from(vec![true, false]))),
            ("at", Arc::new(time)),
            ("took", Arc::new(DurationSecondArray::from(vec![Some(5), None]))),
        ];
        let fields: Vec<Field> = columns
            .iter()
            .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let arrays = columns.into_iter().map(|(_, column)| column).collect();
        let batch = RecordBatch::try_new(schema.clone(), arrays).expect("columns of one length");
        let answer = Answer {
            schema,
            batches: vec![batch.slice(0, 1), batch.slice(1, 1)],
            truncated: true,
            notices: Vec::new(),
        };
        let body = answer.to_json(Instant::now()).expect("it has a form");
        let json: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(json["columns"][0], json!({"name": "n", "type": "BIGINT"}));
        assert_eq!(json["rows"][0][0], "9007199254740993");
        assert_eq!(json["rows"][0][1], 0.5);
        assert_eq!(json["rows"][0][2], "<script>\"\u{1}");
        assert_eq!(json["rows"][0][3], true);
        let at = json["rows"][0][4].as_str().expect("a time is text").to_owned();
        assert!(at.starts_with("1970-01-01T00:00:00"), "{at}");
        assert_eq!(json["rows"][0][5], "PT5S");
        assert_eq!(json["rows"][1][0], -5);
        for place in [1, 2, 4, 5] {
            assert!(json["rows"][1][place].is_null(), "{json}");
        }
        assert_eq!((&json["rowCount"], &json["truncated"]), (&2.into(), &true.into()));
    }
}
