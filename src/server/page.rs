//! The page: static files that are part of the executable.

use actix_web::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, HeaderValue, IF_NONE_MATCH, VARY,
};
use actix_web::{HttpRequest, HttpResponse};

use super::access::PAGE_POLICY;

/// One file of the page.
struct File {
    name: &'static str,
    kind: &'static str,
    content: &'static [u8],
}

macro_rules! files {
    ($($name:literal as $kind:expr),* $(,)?) => {
        &[$(File { name: $name, kind: $kind, content: include_bytes!(concat!("page/", $name)) }),*]
    };
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// All of them.
static FILES: &[File] = files! {
    "index.html" as "text/html; charset=utf-8",
    "style.css" as "text/css; charset=utf-8",
    "icon.svg" as "image/svg+xml",
    "app.js" as SCRIPT,
    "api.js" as SCRIPT,
    "chart.js" as SCRIPT,
    "checkpoints.js" as SCRIPT,
    "dom.js" as SCRIPT,
    "format.js" as SCRIPT,
    "graph.js" as SCRIPT,
    "layout.js" as SCRIPT,
    "letters.js" as SCRIPT,
    "sql.js" as SCRIPT,
    "theme.js" as SCRIPT,
    "timeline.js" as SCRIPT,
    "windows.js" as SCRIPT,
};

/// Whether a request would rather have a page than JSON: a browser's address line says so first.
pub(super) fn wants_page(request: &HttpRequest) -> bool {
    let accepts = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    accepts.is_some_and(|accepts| {
        accepts.split(',').any(|kind| {
            let mut parts = kind.split(';');
            let is_html = parts.next().is_some_and(|kind| kind.trim() == "text/html");
            is_html && !parts.any(|part| matches!(part.trim(), "q=0" | "q=0.0" | "q=0.00"))
        })
    })
}

/// The page itself.
pub(super) fn index(request: &HttpRequest) -> Option<HttpResponse> {
    let mut response = file(request, "index.html")?;
    // The same address has another answer for programs.
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    Some(response)
}

/// A file of the page, by its name.
pub(super) fn file(request: &HttpRequest, name: &str) -> Option<HttpResponse> {
    let file = FILES.iter().find(|file| file.name == name)?;
    // The content decides, so that a new version of the program is seen at once.
    let tag = format!("\"{:08x}-{:x}\"", crc32fast::hash(file.content), file.content.len());
    let known = request
        .headers()
        .get(IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|tags| tags.split(',').any(|known| known.trim() == tag));
    let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((ETAG, tag))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((CONTENT_SECURITY_POLICY, PAGE_POLICY));
    Some(if known {
        response.finish()
    } else {
        response.content_type(file.kind).body(file.content)
    })
}
