//! The routes and what goes around them.

use std::fmt::Write;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse, Resource, guard, web};
use bytes::Bytes;
use serde_json::json;

use super::ServerState;
use crate::codec::type_name;
use crate::telemetry::exposition::Format;
use crate::telemetry::time::{Now, millis};
use crate::telemetry::{exporter, names};

type State = web::Data<ServerState>;

/// The paths with what they give, for the index and for the `route` label.
const ROUTES: [(&str, &str); 7] = [
    ("/", "this list"),
    ("/metrics", "metrics for Prometheus"),
    ("/healthz", "whether the process is alive"),
    ("/readyz", "whether every pipeline is fit to work, and what is missing"),
    ("/api/v1/pipelines", "where every pipeline stands"),
    ("/api/v1/pipelines/{name}", "where one pipeline stands"),
    ("/api/v1/queries/{name}/rows", "the rows that a query's memory sink holds"),
];

pub(super) fn configure(app: &mut web::ServiceConfig) {
    app.service(get("/").to(index))
        .service(get("/metrics").to(metrics))
        .service(get("/healthz").to(healthz))
        .service(get("/readyz").to(readyz))
        .service(get("/api/v1/pipelines").to(pipelines))
        .service(get("/api/v1/pipelines/{name}").to(pipeline))
        .service(get("/api/v1/queries/{name}/rows").to(rows))
        .default_service(web::to(not_found));
}

/// A resource that answers GET and HEAD, and refuses the rest.
fn get(path: &str) -> Readable {
    Readable(web::resource(path))
}

struct Readable(Resource);

impl Readable {
    fn to<F, Args>(self, handler: F) -> Resource
    where
        F: actix_web::Handler<Args>,
        Args: actix_web::FromRequest + 'static,
        F::Output: actix_web::Responder + 'static,
    {
        let reads = guard::Any(guard::Get()).or(guard::Head());
        self.0
            .route(web::route().guard(reads).to(handler))
            .default_service(web::to(method_not_allowed))
    }
}

/// Around every request: refuses bodies, counts and times the request, and adds the headers that
/// every response has.
pub(super) async fn guard(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    // The pattern, not the path: a path is whatever a client makes up.
    let route = request
        .match_pattern()
        .and_then(|pattern| ROUTES.iter().map(|(path, _)| *path).find(|path| *path == pattern))
        .unwrap_or("other");
    let mut response =
        if has_body(&request) { refuse_body(request) } else { next.call(request).await? };
    let status = response.status();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    names::HTTP_REQUESTS.with([route, status.as_str()]).increment(1);
    names::HTTP_SECONDS.with([route]).record(started.elapsed().as_secs_f64());
    Ok(response)
}

fn has_body(request: &ServiceRequest) -> bool {
    let headers = request.headers();
    headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0")
}

/// Nothing here takes a body. It is not read either: the connection closes behind the response.
fn refuse_body(mut request: ServiceRequest) -> ServiceResponse<BoxBody> {
    let unread = request.take_payload();
    let refusal = error(StatusCode::PAYLOAD_TOO_LARGE, "requests to this server have no body");
    request.into_response(refusal.map_body(|_, body| Refusal { body, _unread: unread }.boxed()))
}

/// The body of a refusal, which holds on to the request's. Once that is dropped, actix-http reads
/// a chunked one to its end, which need not come, to keep the connection; while it is held, the
/// connection is closed.
struct Refusal {
    body: BoxBody,
    _unread: Payload,
}

impl MessageBody for Refusal {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}

fn error(status: StatusCode, message: &str) -> HttpResponse {
    HttpResponse::build(status)
        .json(json!({"error": {"status": status.as_u16(), "message": message}}))
}

async fn not_found(request: HttpRequest) -> HttpResponse {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return method_not_allowed().await;
    }
    error(StatusCode::NOT_FOUND, "there is nothing at this path; / lists what there is")
}

async fn method_not_allowed() -> HttpResponse {
    let mut response =
        error(StatusCode::METHOD_NOT_ALLOWED, "this server only answers GET and HEAD");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

async fn metrics(request: HttpRequest, state: State) -> HttpResponse {
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

async fn healthz(state: State) -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "status": "alive",
        "version": env!("CARGO_PKG_VERSION"),
        "revision": exporter::revision(),
        "uptimeMs": millis(Now::read().since(state.started)),
    }))
}

async fn readyz(state: State) -> HttpResponse {
    let checks: Vec<_> =
        state.pipelines.iter().map(|pipeline| (pipeline.name(), pipeline.readiness())).collect();
    // A daemon without pipelines does no work.
    let ready = !checks.is_empty() && checks.iter().all(|(_, readiness)| readiness.ready);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
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

async fn pipelines(state: State) -> HttpResponse {
    let reports: Vec<_> = state.pipelines.iter().map(|pipeline| pipeline.snapshot()).collect();
    HttpResponse::Ok().json(json!({"pipelines": reports}))
}

async fn pipeline(state: State, name: web::Path<String>) -> HttpResponse {
    match state.pipelines.iter().find(|pipeline| **pipeline.name() == **name) {
        Some(pipeline) => HttpResponse::Ok().json(pipeline.snapshot()),
        None => {
            let names: Vec<&str> = state.pipelines.iter().map(|p| &**p.name()).collect();
            let message = match &names[..] {
                [] => format!("no pipeline is named '{name}'; there are none"),
                names => format!("no pipeline is named '{name}'; there are: {}", names.join(", ")),
            };
            error(StatusCode::NOT_FOUND, &message)
        }
    }
}

/// The rows of a memory sink, named by the sink: the query's name, or `query.sink`.
async fn rows(state: State, name: web::Path<String>) -> HttpResponse {
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

async fn index(state: State) -> HttpResponse {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Millpond</title>\n\
         <h1>Millpond</h1>\n<ul>\n",
    );
    // Writing to a String cannot fail.
    for (path, what) in ROUTES.into_iter().filter(|(path, _)| !path.contains('{')) {
        let _ = writeln!(page, "<li><a href=\"{path}\">{path}</a>: {what}");
    }
    for pipeline in &state.pipelines {
        let name = pipeline.name();
        let path: String = url::form_urlencoded::byte_serialize(name.as_bytes())
            .map(|part| if part == "+" { "%20" } else { part })
            .collect();
        let _ = writeln!(
            page,
            "<li><a href=\"/api/v1/pipelines/{path}\">/api/v1/pipelines/{}</a>: {}",
            escape(name),
            pipeline.state()
        );
    }
    page.push_str("</ul>\n");
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
