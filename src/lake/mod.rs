//! Delta tables: open or create, compare schemas, commit exactly once.
//!
//! A [`TableSpec`] says what a table should be like; [`LakeTable::open_or_create`] makes it so
//! or says why it cannot be, and [`LakeTable::commit`] adds files to it. Files themselves are
//! written by [`crate::sink::delta::DeltaWriter`].
//!
//! What makes a commit exactly once:
//!
//! - the files and the transaction versions that account for them are **one** commit;
//! - the commit is written as the version after the newest one this process knows completely,
//!   and only if nobody has that version yet, so the transaction versions that were checked are
//!   the ones in force: there is no moment between check and write;
//! - a version that is not the expected one is [`LakeError::Fenced`]: somebody else owns it;
//! - a commit carries a token of what it holds, so that after a write whose outcome was never
//!   learnt the same commit is recognised instead of fenced or repeated;
//! - on a local disk nothing gets its name before its bytes are flushed.

mod compat;
mod create;
pub(crate) mod damage;
mod durable;
mod error;
mod existing;
mod location;
mod log;
pub(crate) mod rewrite;
mod spec;
pub mod store;
mod table;
mod types;
mod widen;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use deltalake::kernel::Add;
pub use error::LakeError;
pub(crate) use existing::ExistingTable;
pub use location::{TableLocation, location_problem};
pub use spec::{Compression, TableSpec, UnknownCompression};
pub(crate) use table::rows_of;
pub use table::{CommitInfo, LakeTable};

pub(crate) use types::storage_type;
pub(crate) use widen::widens;

/// What `commitInfo` names as the engine.
pub(crate) fn engine_info() -> String {
    concat!("millpond/", env!("CARGO_PKG_VERSION")).to_owned()
}

/// The wall clock in milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
