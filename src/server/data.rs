//! What the server has always shown: metrics, health, readiness, reports, memory sinks.

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT, VARY};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::ServerState;
use super::access::Access;
use super::routes::error;
use crate::codec::type_name;
use crate::telemetry::exporter;
use crate::telemetry::exposition::Format;
use crate::telemetry::progress::PipelineProgress;
use crate::telemetry::time::{Now, millis};

pub(super) type State = web::Data<ServerState>;

pub(super) async fn metrics(request: HttpRequest, state: State) -> HttpResponse {
    // A scraper may spread what it takes over several headers; a value that is not text is none.
    let accept: Vec<&str> =
        request.headers().get_all(ACCEPT).filter_map(|value| value.to_str().ok()).collect();
    let format = Format::negotiate(&accept.join(","));
    let page = exporter::render(&state.handle, &state.pipelines, Now::read(), format);
    HttpResponse::Ok()
        .content_type(format.content_type())
        .insert_header((VARY, "Accept"))
        .body(page)
}

pub(super) async fn healthz(state: State) -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "status": "alive",
        "version": env!("CARGO_PKG_VERSION"),
        "revision": exporter::revision(),
        "uptimeMs": millis(Now::read().since(state.started)),
    }))
}

pub(super) async fn readyz(
    request: HttpRequest,
    state: State,
    access: web::Data<Access>,
) -> HttpResponse {
    let checks: Vec<_> =
        state.pipelines.iter().map(|pipeline| (pipeline.name(), pipeline.readiness())).collect();
    // A daemon without pipelines does no work.
    let ready = !checks.is_empty() && checks.iter().all(|(_, readiness)| readiness.ready);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // A probe needs no more than the status; reasons name hosts and paths.
    if access.authenticate(request.headers()).is_err() {
        return HttpResponse::build(status).json(json!({"ready": ready}));
    }
    let pipelines: Vec<_> = checks
        .iter()
        .map(|(name, readiness)| {
            json!({
                "name": name,
                "ready": readiness.ready,
                "checks": readiness.checks().into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            })
        })
        .collect();
    HttpResponse::build(status).json(json!({"ready": ready, "pipelines": pipelines}))
}

pub(super) async fn pipelines(state: State) -> HttpResponse {
    let reports: Vec<_> = state.pipelines.iter().map(|pipeline| pipeline.snapshot()).collect();
    HttpResponse::Ok().json(json!({"pipelines": reports}))
}

pub(super) async fn pipeline(state: State, name: web::Path<String>) -> HttpResponse {
    match find(&state, &name) {
        Ok((_, pipeline)) => HttpResponse::Ok().json(pipeline.snapshot()),
        Err(refusal) => *refusal,
    }
}

/// The pipeline of this name, with its place; an error lists those that there are.
pub(super) fn find<'a>(
    state: &'a ServerState,
    name: &str,
) -> Result<(usize, &'a PipelineProgress), Box<HttpResponse>> {
    let found = state.pipelines.iter().position(|pipeline| **pipeline.name() == *name);
    if let Some(index) = found {
        return Ok((index, &state.pipelines[index]));
    }
    let names: Vec<&str> = state.pipelines.iter().map(|p| &**p.name()).collect();
    let message = match &names[..] {
        [] => format!("no pipeline is named '{name}'; there are none"),
        names => format!("no pipeline is named '{name}'; there are: {}", names.join(", ")),
    };
    Err(Box::new(error(StatusCode::NOT_FOUND, &message)))
}

/// The rows of a memory sink, named by the sink: the query's name, or `query.sink`.
pub(super) async fn rows(state: State, name: web::Path<String>) -> HttpResponse {
    let Some(table) = state.tables.get(&**name) else {
        let names: Vec<&str> = state.tables.keys().map(String::as_str).collect();
        let message = match &names[..] {
            [] => format!("no query named '{name}' has a memory sink; none has"),
            names => format!(
                "no query named '{name}' has a memory sink; those that have are: {}",
                names.join(", ")
            ),
        };
        return error(StatusCode::NOT_FOUND, &message);
    };
    let held = table.rows();
    let columns: Vec<_> = held
        .schema
        .fields()
        .iter()
        .map(|field| json!({"name": field.name(), "type": type_name(field.data_type())}))
        .collect();
    let rows = match held.to_json() {
        Ok(rows) => rows,
        Err(problem) => {
            let message = format!("the rows can't be shown: {problem}");
            return error(StatusCode::INTERNAL_SERVER_ERROR, &message);
        }
    };
    // The rows are JSON already.
    let head = json!({
        "query": &**name,
        "epoch": held.marker.as_ref().map(|marker| marker.epoch),
        "updatedAt": held.updated_at.map(chrono::DateTime::<chrono::Utc>::from),
        "dropped": held.dropped,
        "columns": columns,
    });
    let head = head.to_string();
    let body = format!("{},\"rows\":{rows}}}", head.strip_suffix('}').unwrap_or(&head));
    HttpResponse::Ok().content_type("application/json").body(body)
}
