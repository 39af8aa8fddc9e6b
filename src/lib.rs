//! Millpond: a streaming lakehouse in one daemon.
//!
//! Events flow through the rooms in this order:
//!
//! | room | what happens to an event there |
//! |---|---|
//! | [`source`] | its bytes arrive, with their partition and offset |
//! | [`codec`] | the bytes become a row of an Arrow batch, or a dead letter |
//! | [`sql`] | the query's filters and projections run over the batch |
//! | [`event_time`] | watermarks say how far event time has come |
//! | [`operator`], [`aggregate`] | the row is counted in its window, joined, or held against what was seen |
//! | [`anomaly`] | a closed window is held against what was expected |
//! | [`sink`] | rows wait in files that no reader can see yet |
//! | [`checkpoint`] | the epoch that holds them becomes durable |
//! | [`lake`] | one Delta commit makes them visible, once |
//!
//! [`backfill`] computes a query again over tables, and [`batch`] recomputes tables on a schedule.
//!
//! [`actors`] carries the batches from room to room and restarts what fails; [`config`] says
//! what to run; [`telemetry`] and [`server`] tell how it goes; [`weblog`] makes events to
//! look at; [`plot`] draws charts; [`catalog`] knows the tables by name, [`lakesql`] queries them and
//! [`upkeep`] keeps them in order; [`cli`] is the command line. [`graph`] joins the queries, and
//! [`trial`] runs them by hand. Rooms know nothing of actors or of configuration files.

pub mod actors;
pub mod aggregate;
pub mod anomaly;
pub mod backfill;
pub mod batch;
pub mod catalog;
pub mod checkpoint;
pub mod cli;
pub mod codec;
pub mod config;
pub mod event_time;
pub mod graph;
pub mod lake;
pub mod lakesql;
pub mod operator;
pub mod plot;
pub mod server;
pub mod sink;
pub mod source;
pub mod sql;
pub mod telemetry;
pub mod trial;
pub mod upkeep;
pub mod weblog;
