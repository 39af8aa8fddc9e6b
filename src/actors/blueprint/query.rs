//! Queries, planned in the order in which they read each other.

use std::sync::Arc;

use crate::config::{
    self, ConfigError, ConfigErrors, DropWithin, OutputMode, QuerySettings, Settings,
    ViolationAction,
};
use crate::sql::{
    self, Catalog, DropDuplicates, OnViolation, QueryPlan, QueryRequest, SqlError, StaticTable,
    Within, plan,
};

use super::micros;
use super::source::SourceBlueprint;

/// Plans every query, those that are read before those that read them. Each comes with its place in
/// the configuration.
pub(super) fn plan_queries(
    settings: &Settings,
    sources: &[SourceBlueprint],
    tables: &[Arc<StaticTable>],
) -> Result<Vec<(usize, Arc<QueryPlan>)>, ConfigErrors> {
    let sources: Vec<_> = sources.iter().map(SourceBlueprint::table).collect();
    let mut errors = Vec::new();
    let mut planned: Vec<(usize, Arc<QueryPlan>)> = Vec::new();
    // What each query names in FROM, as far as that is a query.
    let mut waiting: Vec<(usize, Vec<&str>)> = Vec::new();
    for (index, query) in settings.queries.iter().enumerate() {
        if query.trigger.is_some() {
            let message = "queries of one pipeline have their triggers together";
            let help = "set `trigger` at the top of the file, for all of them".to_owned();
            let path = ["queries", &query.name, "trigger"];
            errors.push(settings.error_at(&path, message, Some(help)));
        }
        match sql::relations(&query.sql) {
            Ok(names) => {
                let is_read = |other: &&QuerySettings| {
                    names.iter().any(|name| name.eq_ignore_ascii_case(&other.name))
                };
                let reads = settings.queries.iter().filter(is_read);
                waiting.push((index, reads.map(|other| other.name.as_str()).collect()));
            }
            Err(error) => errors.push(sql_error(settings, query, &error)),
        }
    }
    while !waiting.is_empty() {
        let ready = waiting.iter().position(|(_, reads)| {
            reads.iter().all(|name| planned.iter().any(|(_, plan)| plan.name == *name))
        });
        let Some(ready) = ready else { break };
        let (index, _) = waiting.remove(ready);
        let query = &settings.queries[index];
        let queries: Vec<&QueryPlan> = planned.iter().map(|(_, plan)| &**plan).collect();
        let catalog = Catalog { sources: &sources, queries: &queries, tables };
        match plan(&request(query), &catalog) {
            Ok(plan) => match with_expectations(settings, query, plan) {
                Ok(plan) => planned.push((index, Arc::new(plan))),
                Err(found) => errors.extend(found),
            },
            Err(error) => errors.push(sql_error(settings, query, &error)),
        }
    }
    // What is left reads what failed, whose error is enough, or itself.
    if errors.is_empty() {
        for (index, reads) in waiting {
            let query = &settings.queries[index];
            let message = format!("the query reads itself, through {}", reads.join(", "));
            errors.push(settings.error_at_sql(query, 1, 1, message, None));
        }
    }
    if errors.is_empty() { Ok(planned) } else { Err(errors.into()) }
}

fn request(query: &QuerySettings) -> QueryRequest<'_> {
    QueryRequest {
        name: &query.name,
        sql: &query.sql,
        mode: output_mode(query.mode),
        drop_duplicates: query.drop_duplicates.as_ref().map(|drop| DropDuplicates {
            columns: drop.columns.clone(),
            within: match drop.within {
                DropWithin::Watermark => Within::Watermark,
                DropWithin::EventTime(duration) => Within::EventTime(micros(duration)),
                DropWithin::WallClock(duration) => Within::Wall(micros(duration)),
            },
        }),
        state_ttl_us: query.state_ttl.map(micros),
    }
}

/// Plans a query's rules.
fn with_expectations(
    settings: &Settings,
    query: &QuerySettings,
    mut plan: QueryPlan,
) -> Result<QueryPlan, Vec<ConfigError>> {
    let mut errors = Vec::new();
    for rule in &query.expect {
        if rule.on_violation == ViolationAction::DeadLetter {
            let problem = if !settings.dead_letters.enabled {
                Some((
                    "there is no table of dead letters",
                    "leave out `enabled = false` of [dead_letters], or write \"drop\"",
                ))
            } else if plan.mode == sql::OutputMode::Complete {
                Some((
                    "in complete mode every row comes out at every trigger, and each time it would \
                     be a dead letter",
                    "write \"drop\" or \"fail\", or put the rule on the query that this one reads",
                ))
            } else {
                None
            };
            if let Some((message, help)) = problem {
                let help = Some(help.to_owned());
                errors.push(settings.error_at_expectation(query, rule, None, message, help));
                continue;
            }
        }
        let on_violation = match rule.on_violation {
            ViolationAction::Warn => OnViolation::Warn,
            ViolationAction::Drop => OnViolation::Drop,
            ViolationAction::DeadLetter => OnViolation::DeadLetter,
            ViolationAction::Fail => OnViolation::Fail,
        };
        match plan.plan_expectation(&rule.name, &rule.that, on_violation) {
            Ok(planned) => plan.expectations.push(planned),
            Err(SqlError { message, hint, location }) => {
                errors.push(settings.error_at_expectation(query, rule, location, message, hint));
            }
        }
    }
    if errors.is_empty() { Ok(plan) } else { Err(errors) }
}

/// The query room's word for the configuration's.
fn output_mode(mode: OutputMode) -> sql::OutputMode {
    match mode {
        config::OutputMode::Append => sql::OutputMode::Append,
        config::OutputMode::Update => sql::OutputMode::Update,
        config::OutputMode::Complete => sql::OutputMode::Complete,
    }
}

fn sql_error(settings: &Settings, query: &QuerySettings, error: &SqlError) -> ConfigError {
    let (line, column) = error.location.unwrap_or((1, 1));
    settings.error_at_sql(query, line, column, error.message.clone(), error.hint.clone())
}
