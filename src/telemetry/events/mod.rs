//! Everything that happens, as a type: fill in the struct, call `emit()`, and it is logged and
//! counted in one place (after Vector's internal events).
//!
//! What happens once a batch or once a record takes handles that were looked up once,
//! [`ReaderMetrics`] and [`QueryMetrics`]; emitting such an event costs a few atomic additions.
//! The rest happens once a second or less and looks its metrics up by name.
//!
//! Log levels: `trace` once a batch, `debug` once an epoch, `info` what an operator reads in
//! passing, `warn` what heals by itself, `error` what needs somebody. Lines that could come once
//! a record come at most once in [`super::rate_limit::PERIOD`]. No event logs a payload.

mod actors;
mod anomaly;
mod batch;
mod checkpoint;
mod kafka;
mod query;
mod sink;
mod source;
mod table;
mod upkeep;
mod webhook;

pub use actors::{
    ActorExited, ActorStarted, ConfigLoaded, CreditLevel, ExitCause, MailboxDepth,
    PipelineDeclared, PipelineRestarting, PipelineStateChanged,
};
pub use anomaly::{
    AnomalyChange, AnomalyChanged, DetectorSeries, SeriesHidden, SeriesJudged, WindowsJudged,
};
pub use batch::{BatchLogFailed, BatchRunEnded, BatchRunRetried};
pub use checkpoint::{
    CheckpointAge, EpochAligned, EpochCommitted, EpochDurable, EpochFailed, EpochStarted,
};
pub use kafka::{BrokerStatistics, KafkaError, KafkaStatistics};
pub use query::{
    DuplicatesDropped, ExpectationChecked, ExpectationMetrics, LateRows, NullEventTime,
    QueryMetrics, RowsProduced, StateSize, WatermarkAdvanced, WindowsClosed,
};
pub use sink::{Fenced, FileWritten, SinkCommitted, SinkRecovered, SinkRetrying, TypesRejected};
pub use source::{
    BatchDecoded, BatchRead, ConsumerLag, CreditWaited, PartitionActive, PartitionIdle,
    ReaderMetrics, RecordRejected, SourceAssigned, SourceRevoked, TombstoneSkipped,
};
pub use table::{TableFailed, TableLoaded, TableRecovered};
pub use upkeep::{UpkeepFailed, UpkeepFinished, UpkeepOutcome, UpkeepStarted};
pub use webhook::{DeliveryOutcome, WebhookDone, WebhookRetrying, WebhookWaiting};

#[cfg(test)]
mod tests;
