//! A client of schema registries that speak Confluent's HTTP API.

mod error;

pub use error::RegistryError;
