//! Which tables a command knows by name: the options that all commands about tables have.

use std::path::PathBuf;
use std::process::ExitCode;

use super::run::{key_value, refuse};
use crate::catalog::Catalog;
use crate::config::{self, Environment, Settings};

/// `--config` and `--set`
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct CatalogArgs {
    /// TOML files or directories of a pipeline, whose tables are then known by name; without it
    /// tables are named by their paths
    #[arg(
        long = "config",
        short = 'c',
        value_name = "CONFIG",
        env = "MILLPOND_CONFIG",
        value_delimiter = ':'
    )]
    pub(super) configs: Vec<PathBuf>,
    /// Override a key of the configuration, as for `millpond run`
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(super) overrides: Vec<(String, String)>,
}

impl CatalogArgs {
    /// The configuration, if one is given. Variables that are not set are no errors here: what
    /// they stand for is a broker's password more likely than a table's path.
    ///
    /// # Errors
    /// The status to exit with, when what is wrong has been said.
    pub(super) fn settings(&self) -> Result<Option<Settings>, ExitCode> {
        if self.configs.is_empty() {
            return Ok(None);
        }
        config::load_with_overrides(&self.configs, &self.overrides, &Environment::Partial)
            .map(Some)
            .map_err(|errors| refuse(&errors))
    }

    /// The tables.
    ///
    /// # Errors
    /// As [`settings`](Self::settings).
    pub(super) fn catalog(&self) -> Result<Catalog, ExitCode> {
        Ok(self.settings()?.map_or_else(Catalog::new, |settings| Catalog::of(&settings)))
    }
}
