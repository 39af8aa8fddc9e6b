//! Queries, planned in the order in which they read each other.

use std::sync::Arc;

use crate::config::{ConfigError, ConfigErrors, OutputMode, QuerySettings, Settings};
use crate::sql::{Catalog, QueryPlan, QueryRequest, SqlError, plan};

use super::source::SourceBlueprint;

/// Plans every query, those that are read before those that read them. Each comes with its place in
/// the configuration.
pub(super) fn plan_queries(
    settings: &Settings,
    sources: &[SourceBlueprint],
) -> Result<Vec<(usize, Arc<QueryPlan>)>, ConfigErrors> {
    let tables: Vec<_> = sources.iter().map(SourceBlueprint::table).collect();
    let mut errors = Vec::new();
    let mut planned = Vec::new();
    for (index, query) in settings.queries.iter().enumerate() {
        if query.mode != OutputMode::Append {
            errors.push(settings.error_at(&["queries", &query.name], "not wired yet", None));
            continue;
        }
        let request =
            QueryRequest { name: &query.name, sql: &query.sql, ..QueryRequest::default() };
        match plan(&request, &Catalog { sources: &tables, ..Catalog::default() }) {
            Ok(plan) => planned.push((index, Arc::new(plan))),
            Err(error) => errors.push(sql_error(settings, query, &error)),
        }
    }
    if errors.is_empty() { Ok(planned) } else { Err(errors.into()) }
}

fn sql_error(settings: &Settings, query: &QuerySettings, error: &SqlError) -> ConfigError {
    let (line, column) = error.location.unwrap_or((1, 1));
    settings.error_at_sql(query, line, column, error.message.clone(), error.hint.clone())
}
