//! The routes and what goes around them.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING,
    WWW_AUTHENTICATE,
};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse, Resource, guard, web};
use bytes::Bytes;
use serde_json::json;

use super::access::{self, Access, Denied};
use super::data::{self, State};
use super::{page, sql, view};
use crate::config::SqlBoxSettings;
use crate::telemetry::names;

/// A statement, in JSON, is at most this long.
pub(super) const STATEMENT_BYTES: usize = 64 << 10;
/// Time to answer anything but a statement. All of it is read from memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time around a statement: to plan it, to write its answer.
const AROUND_STATEMENT: Duration = Duration::from_secs(5);

/// Where statements are sent.
pub(super) const SQL: &str = "/api/v1/sql";

/// The paths with what they give, for the index and for the `route` label.
const ROUTES: [(&str, &str); 15] = [
    ("/", "the page, for a browser; for others this list"),
    ("/page/{file}", "the files of the page"),
    ("/metrics", "metrics for Prometheus"),
    ("/healthz", "whether the process is alive"),
    ("/readyz", "whether every pipeline is fit to work, and what is missing"),
    ("/api/v1/pipelines", "where every pipeline stands"),
    ("/api/v1/pipelines/{name}", "where one pipeline stands"),
    ("/api/v1/pipelines/{name}/graph", "what it is made of, and what flows where"),
    (
        "/api/v1/pipelines/{name}/windows/{query}",
        "the last windows of a query as time series; ?column= and ?series= choose",
    ),
    ("/api/v1/pipelines/{name}/checkpoints", "its last epochs"),
    ("/api/v1/pipelines/{name}/restarts", "its last faults"),
    ("/api/v1/pipelines/{name}/dead-letters", "the last records that could not be read"),
    ("/api/v1/queries/{name}/rows", "the rows that a query's memory sink holds"),
    ("/api/v1/tables", "the tables that statements can read"),
    (SQL, "POST {\"sql\": \"SELECT ...\"}: the rows of a statement"),
];

pub(super) fn configure(app: &mut web::ServiceConfig) {
    app.service(get("/").to(index))
        .service(get("/page/{file}").to(page_file))
        .service(get("/metrics").to(data::metrics))
        .service(get("/healthz").to(data::healthz))
        .service(get("/readyz").to(data::readyz))
        .service(get("/api/v1/pipelines").to(data::pipelines))
        .service(get("/api/v1/pipelines/{name}").to(data::pipeline))
        .service(get("/api/v1/pipelines/{name}/graph").to(view::graph))
        .service(get("/api/v1/pipelines/{name}/windows/{query}").to(view::windows))
        .service(get("/api/v1/pipelines/{name}/checkpoints").to(view::checkpoints))
        .service(get("/api/v1/pipelines/{name}/restarts").to(view::restarts))
        .service(get("/api/v1/pipelines/{name}/dead-letters").to(view::dead_letters))
        .service(get("/api/v1/queries/{name}/rows").to(data::rows))
        .service(get("/api/v1/tables").to(sql::tables))
        .service(
            web::resource(SQL)
                .app_data(web::PayloadConfig::new(STATEMENT_BYTES))
                .route(web::post().to(sql::run))
                .default_service(web::to(|| method_not_allowed("POST"))),
        )
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
            .default_service(web::to(|| method_not_allowed("GET, HEAD")))
    }
}

/// How long an answer may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    statement: Duration,
}

impl Deadlines {
    pub fn new(settings: &SqlBoxSettings) -> Self {
        Self { statement: settings.timeout + AROUND_STATEMENT }
    }
}

/// Around every request: sees whether it may be answered, refuses bodies where none is wanted,
/// bounds the time, counts and times the request, and adds the headers that every response has.
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
    let is_statement = route == SQL && request.method() == Method::POST;
    let limit = match request.app_data::<web::Data<Deadlines>>() {
        Some(deadlines) if is_statement => deadlines.statement,
        _ => ANSWER_TIMEOUT,
    };
    let mut response = match admit(&request, route, is_statement) {
        Err(refusal) => refuse(request, *refusal),
        Ok(()) => match tokio::time::timeout(limit, next.call(request)).await {
            Ok(response) => response?,
            Err(_) => return Err(overdue(route, started, limit)),
        },
    };
    let status = response.status();
    finish(route, started, status, response.headers_mut());
    Ok(response)
}

/// What is done to every response.
fn finish(route: &'static str, started: Instant, status: StatusCode, headers: &mut HeaderMap) {
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    access::secure(headers);
    names::HTTP_REQUESTS.with([route, status.as_str()]).increment(1);
    names::HTTP_SECONDS.with([route]).record(started.elapsed().as_secs_f64());
}

/// The response to a request whose handler was given up, and the request with it.
fn overdue(route: &'static str, started: Instant, limit: Duration) -> Error {
    let message = format!("there was no answer within {} s", limit.as_secs());
    let mut response = error(StatusCode::SERVICE_UNAVAILABLE, &message);
    finish(route, started, StatusCode::SERVICE_UNAVAILABLE, response.headers_mut());
    InternalError::from_response(message, response).into()
}

/// Whether a request may be answered; an error is what is said instead.
fn admit(
    request: &ServiceRequest,
    route: &str,
    is_statement: bool,
) -> Result<(), Box<HttpResponse>> {
    let headers = request.headers();
    let Some(access) = request.app_data::<web::Data<Access>>() else {
        // Every application has it; without it nobody gets in.
        return Err(refused(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the server has no rules of access",
        ));
    };
    let authority = access::authority(request.uri(), headers);
    access
        .check_host(authority)
        .and_then(|()| access.check_token(route, headers))
        .and_then(|()| if is_statement { access::check_origin(headers, authority) } else { Ok(()) })
        .map_err(|denied| Box::new(denial(&denied)))?;
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let chunked = headers.contains_key(TRANSFER_ENCODING);
    let bytes = match length {
        Some(length) => length.parse().unwrap_or(u64::MAX),
        None => 0,
    };
    if !is_statement {
        return if chunked || bytes > 0 {
            Err(refused(StatusCode::PAYLOAD_TOO_LARGE, "only statements have a body"))
        } else {
            Ok(())
        };
    }
    if chunked || length.is_none() {
        let message = "a statement's length has to be known: the header Content-Length is missing";
        return Err(refused(StatusCode::LENGTH_REQUIRED, message));
    }
    if bytes > STATEMENT_BYTES as u64 {
        let message = format!("a statement has at most {STATEMENT_BYTES} bytes, this has {bytes}");
        return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, &message));
    }
    Ok(())
}

fn denial(denied: &Denied) -> HttpResponse {
    let status = match denied {
        Denied::Host(_) => StatusCode::MISDIRECTED_REQUEST,
        Denied::NoToken | Denied::WrongToken => StatusCode::UNAUTHORIZED,
        Denied::Origin => StatusCode::FORBIDDEN,
        Denied::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
    };
    let mut response = error(status, &denied.to_string());
    if status == StatusCode::UNAUTHORIZED {
        let how = HeaderValue::from_static("Bearer realm=\"millpond\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, how);
    }
    response
}

/// A body that comes with the request is not read: the connection closes behind the response.
fn refuse(mut request: ServiceRequest, refusal: HttpResponse) -> ServiceResponse<BoxBody> {
    let headers = request.headers();
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    if !has_body {
        return request.into_response(refusal);
    }
    let unread = request.take_payload();
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

/// An error as JSON.
pub(super) fn error(status: StatusCode, message: &str) -> HttpResponse {
    HttpResponse::build(status)
        .json(json!({"error": {"status": status.as_u16(), "message": message}}))
}

fn refused(status: StatusCode, message: &str) -> Box<HttpResponse> {
    Box::new(error(status, message))
}

async fn not_found(request: HttpRequest) -> HttpResponse {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return method_not_allowed("GET, HEAD").await;
    }
    error(StatusCode::NOT_FOUND, "there is nothing at this path; / lists what there is")
}

async fn method_not_allowed(allowed: &'static str) -> HttpResponse {
    let message = format!("this path only answers {}", allowed.replace(", ", " and "));
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, &message);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// The page for a browser, the list of paths for a program.
async fn index(request: HttpRequest, state: State, access: web::Data<Access>) -> HttpResponse {
    if page::wants_page(&request)
        && let Some(page) = page::index(&request)
    {
        return page;
    }
    let routes: Vec<_> =
        ROUTES.iter().map(|(path, what)| json!({"path": path, "what": what})).collect();
    let mut index = json!({
        "name": "millpond",
        "version": env!("CARGO_PKG_VERSION"),
        "paths": routes,
    });
    // The names are out of the configuration: not for everyone.
    if access.authenticate(request.headers()).is_ok() {
        index["pipelines"] = state
            .pipelines
            .iter()
            .map(|pipeline| json!({"name": &**pipeline.name(), "state": pipeline.state().as_str()}))
            .collect();
    }
    HttpResponse::Ok().insert_header(("vary", "accept")).json(index)
}

async fn page_file(request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    page::file(&request, &name)
        .unwrap_or_else(|| error(StatusCode::NOT_FOUND, "the page has no file of this name"))
}
