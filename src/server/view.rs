//! What the page draws, beside the pipelines' reports: the graph, windows over time, epochs,
//! faults, dead letters. All of it is kept in memory, a bounded number of each.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::data::{State, find};
use super::routes::error;
use crate::telemetry::progress::PipelineProgress;

/// Series of a chart, unless more are asked for: more lines than that nobody tells apart.
const SERIES: usize = 8;
/// At most.
const MOST_SERIES: usize = 16;

pub(super) async fn graph(state: State, name: web::Path<String>) -> HttpResponse {
    match find(&state, &name) {
        Ok((index, pipeline)) => {
            let topology = state.topologies.get(index).cloned().unwrap_or_default();
            HttpResponse::Ok().json(json!({
                "pipeline": &**pipeline.name(),
                "nodes": topology.nodes,
                "edges": topology.edges,
            }))
        }
        Err(refusal) => *refusal,
    }
}

/// `?column=requests&series=8`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Chosen {
    column: Option<String>,
    series: Option<usize>,
}

pub(super) async fn windows(
    request: HttpRequest,
    state: State,
    path: web::Path<(String, String)>,
) -> HttpResponse {
    let (name, query) = path.into_inner();
    let chosen = match web::Query::<Chosen>::from_query(request.query_string()) {
        Ok(chosen) => chosen.into_inner(),
        Err(problem) => {
            let message = format!("{problem}; there are `column` and `series`");
            return error(StatusCode::BAD_REQUEST, &message);
        }
    };
    let pipeline = match find(&state, &name) {
        Ok((_, pipeline)) => pipeline,
        Err(refusal) => return *refusal,
    };
    let series = chosen.series.unwrap_or(SERIES).clamp(1, MOST_SERIES);
    match pipeline.windows(&query, chosen.column.as_deref(), series) {
        Some(report) => HttpResponse::Ok().json(report),
        None => error(StatusCode::NOT_FOUND, &no_windows(pipeline, &query, &chosen)),
    }
}

fn no_windows(pipeline: &PipelineProgress, query: &str, chosen: &Chosen) -> String {
    let report = pipeline.snapshot();
    let known = report.queries.iter().find(|known| *known.name == *query);
    match (known, &chosen.column) {
        (Some(known), Some(column)) if !known.window_columns.is_empty() => {
            let columns: Vec<&str> = known.window_columns.iter().map(|name| &**name).collect();
            format!(
                "the windows of '{query}' have no number called '{column}'; there are: {}",
                columns.join(", ")
            )
        }
        (Some(_), _) => format!("the query '{query}' has no windows with numbers in them"),
        (None, _) => {
            let with: Vec<&str> = report
                .queries
                .iter()
                .filter(|query| !query.window_columns.is_empty())
                .map(|query| &*query.name)
                .collect();
            format!("no query is named '{query}'; those with windows are: {}", with.join(", "))
        }
    }
}

pub(super) async fn checkpoints(state: State, name: web::Path<String>) -> HttpResponse {
    match find(&state, &name) {
        Ok((_, pipeline)) => HttpResponse::Ok().json(json!({
            "pipeline": &**pipeline.name(),
            "checkpoint": pipeline.snapshot().checkpoint,
            "epochs": pipeline.epochs(),
        })),
        Err(refusal) => *refusal,
    }
}

pub(super) async fn restarts(state: State, name: web::Path<String>) -> HttpResponse {
    match find(&state, &name) {
        Ok((_, pipeline)) => {
            let report = pipeline.snapshot();
            HttpResponse::Ok().json(json!({
                "pipeline": report.name,
                "state": report.state,
                "restarts": report.restarts,
                "faults": pipeline.restarts(),
            }))
        }
        Err(refusal) => *refusal,
    }
}

pub(super) async fn dead_letters(state: State, name: web::Path<String>) -> HttpResponse {
    match find(&state, &name) {
        Ok((_, pipeline)) => {
            let report = pipeline.snapshot();
            let total: u64 = report.sources.iter().map(|source| source.num_dead_letters).sum();
            let sources: Vec<_> = report
                .sources
                .iter()
                .map(|source| json!({"source": source.name, "reasons": source.dead_letters}))
                .collect();
            HttpResponse::Ok().json(json!({
                "pipeline": report.name,
                "total": total,
                "sources": sources,
                "recent": pipeline.letters(),
            }))
        }
        Err(refusal) => *refusal,
    }
}
