//! Who may ask what: the token, the names that this server answers to, and where a request that
//! does something may come from.
//!
//! - **Token.** With one, everything that shows data wants `Authorization: Bearer TOKEN`. It is
//!   compared in constant time. There are no cookies, so no other site's page can borrow it.
//! - **Host.** Without a token, whatever runs in a browser on this machine could read the API by
//!   letting its own name resolve to 127.0.0.1 (DNS rebinding). Such a request calls the server by
//!   that name, so names other than an address, `localhost` and those in `server.hosts` are refused.
//! - **Origin.** A statement is only taken as JSON (which another site's form cannot send, and
//!   another site's script only after a question that is answered with no) and only from a page of
//!   this server, or from a program that is no browser.

use std::net::{Ipv4Addr, Ipv6Addr};

use actix_web::http::header::{
    AUTHORIZATION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use subtle::ConstantTimeEq;

use crate::config::{Secret, ServerSettings};

/// Who may ask.
#[derive(Clone, Debug)]
pub struct Access {
    token: Option<Secret>,
    public_metrics: bool,
    hosts: Vec<String>,
    loopback: bool,
}

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    #[error(
        "this server does not answer to the name '{0}'; call it by its address or by localhost, or \
         add the name to server.hosts"
    )]
    Host(String),
    #[error("this needs the token of server.token, as the header `Authorization: Bearer TOKEN`")]
    NoToken,
    #[error("this is not the token of server.token")]
    WrongToken,
    #[error("statements are taken from this server's own page only, and from what is no browser")]
    Origin,
    #[error("a statement comes as JSON: the header `Content-Type: application/json` is missing")]
    ContentType,
}

impl Access {
    /// As the settings say.
    pub fn new(settings: &ServerSettings) -> Self {
        Self {
            token: settings.token.clone(),
            public_metrics: settings.public_metrics,
            hosts: settings.hosts.clone(),
            loopback: settings.listen.ip().is_loopback(),
        }
    }

    /// Everybody on this machine, by an address or `localhost`.
    pub fn local() -> Self {
        Self { token: None, public_metrics: false, hosts: Vec::new(), loopback: true }
    }

    /// Whether a token is wanted.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether the server answers to the name in the request.
    pub(super) fn check_host(&self, authority: Option<&str>) -> Result<(), Denied> {
        // Who brings the token may call it what they like, unless they are told not to.
        if self.has_token() && self.hosts.is_empty() {
            return Ok(());
        }
        // No browser leaves it out; HTTP/1.0 does.
        let Some(authority) = authority else { return Ok(()) };
        let name = host_of(authority);
        if self.answers_to(&name) {
            Ok(())
        } else {
            // It is shown back, so not all of it.
            Err(Denied::Host(name.chars().take(100).collect()))
        }
    }

    fn answers_to(&self, name: &str) -> bool {
        let is_address = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
            None => name.parse::<Ipv4Addr>().is_ok(),
        };
        is_address
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.hosts.iter().any(|host| host == name)
            // Nobody can register a name without a dot. On a network of its own, such as that of
            // containers, a service is called by one.
            || (!self.loopback && !name.contains('.') && !name.is_empty())
    }

    /// Whether a request may see `route`, a pattern of this server's routes.
    pub(super) fn check_token(&self, route: &str, headers: &HeaderMap) -> Result<(), Denied> {
        if is_open(route) || (self.public_metrics && route == "/metrics") {
            return Ok(());
        }
        self.authenticate(headers)
    }

    /// Whether the headers bring the token, if there is one.
    pub(super) fn authenticate(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let Some(token) = &self.token else { return Ok(()) };
        let mut given = headers.get_all(AUTHORIZATION);
        let (Some(value), None) = (given.next(), given.next()) else {
            return Err(Denied::NoToken);
        };
        let bearer = value.as_bytes().split_first_chunk::<7>().and_then(|(scheme, rest)| {
            scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
        });
        let Some(given) = bearer else { return Err(Denied::NoToken) };
        // Tells how long the token is at most, by the time it takes; nothing of what is in it.
        if token.expose().as_bytes().ct_eq(given).into() { Ok(()) } else { Err(Denied::WrongToken) }
    }
}

/// The static files of the page hold no data, and whether the process is alive is no secret.
/// `/readyz` sees to it by itself that it says no more than yes or no.
fn is_open(route: &str) -> bool {
    matches!(route, "/" | "/page/{file}" | "/healthz" | "/readyz" | "/favicon.ico")
}

/// The host of `host:port`, in lower case.
fn host_of(authority: &str) -> String {
    let host = match authority.rfind(']') {
        // [::1]:9898; whatever else is behind the bracket stays, and makes it no address.
        Some(end) if authority[end + 1..].starts_with(':') => &authority[..=end],
        Some(_) => authority,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// By what name a request calls the server: of its target if that is a whole address, else of its
/// header. What a proxy adds is not believed.
pub(super) fn authority<'a>(
    uri: &'a actix_web::http::Uri,
    headers: &'a HeaderMap,
) -> Option<&'a str> {
    match uri.authority() {
        Some(authority) => Some(authority.as_str()),
        // A name that is no text is none that the server answers to.
        None => headers.get(HOST).map(|host| host.to_str().unwrap_or("?")),
    }
}

/// Whether a request that does something comes from where it may.
pub(super) fn check_origin(headers: &HeaderMap, authority: Option<&str>) -> Result<(), Denied> {
    let json =
        headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|text| {
            text.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("application/json")
        });
    if !json {
        return Err(Denied::ContentType);
    }
    if let Some(site) = headers.get("sec-fetch-site")
        && !matches!(site.as_bytes(), b"same-origin" | b"none")
    {
        return Err(Denied::Origin);
    }
    if let Some(origin) = headers.get(ORIGIN) {
        let from = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        let same = from.is_some_and(|(_, from)| {
            authority.is_some_and(|authority| from.eq_ignore_ascii_case(authority))
        });
        if !same {
            return Err(Denied::Origin);
        }
    }
    Ok(())
}

/// What the page may load: its own files, and nothing else. Not even scripts and styles within it.
pub(super) const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
/// What anything else may load, should a browser show it.
const OTHER_POLICY: &str = "default-src 'none'; frame-ancestors 'none'; sandbox";

/// Adds the headers that every response has.
pub(super) fn secure(headers: &mut HeaderMap) {
    if !headers.contains_key(CONTENT_SECURITY_POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(OTHER_POLICY));
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    for name in ["cross-origin-resource-policy", "cross-origin-opener-policy"] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static("same-origin"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(token: Option<&str>, hosts: &[&str], loopback: bool) -> Access {
        Access {
            token: token.map(Secret::new),
            public_metrics: false,
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            loopback,
        }
    }

    #[test]
    fn a_name_that_somebody_else_can_register_is_refused() {
        let local = access(None, &["pond.example.com"], true);
        for good in [
            "127.0.0.1:9898",
            "127.0.0.1",
            "localhost:9898",
            "LOCALHOST",
            "localhost.:80",
            "[::1]:9898",
            "[::1]",
            "millpond.localhost",
            "192.0.2.7:80",
            "pond.example.com",
            "Pond.Example.com:443",
        ] {
            assert_eq!(local.check_host(Some(good)), Ok(()), "{good}");
        }
        for bad in [
            "evil.example:9898",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "evil",
            "notlocalhost",
            "pond.example.com.evil.example",
            "",
            ":9898",
            "2130706433",
            "0x7f.1",
            "[::1].evil.example",
            "[evil]",
        ] {
            assert!(local.check_host(Some(bad)).is_err(), "{bad}");
        }
        assert_eq!(local.check_host(None), Ok(()));

        let container = access(None, &[], false);
        assert_eq!(container.check_host(Some("millpond:9898")), Ok(()));
        assert!(container.check_host(Some("evil.example")).is_err());

        let guarded = access(Some("0123456789abcdef"), &[], false);
        assert_eq!(guarded.check_host(Some("any.example")), Ok(()));
        let strict = access(Some("0123456789abcdef"), &["pond.example.com"], false);
        assert!(strict.check_host(Some("any.example")).is_err());
    }

    fn bearing(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).expect("a header"));
        }
        headers
    }

    #[test]
    fn only_the_whole_token_opens() {
        let access = access(Some("0123456789abcdef"), &[], true);
        for good in
            ["Bearer 0123456789abcdef", "bearer 0123456789abcdef", "Bearer   0123456789abcdef "]
        {
            assert_eq!(access.authenticate(&bearing(&[good])), Ok(()), "{good}");
        }
        for bad in [
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef0",
            "Bearer 0123456789abcdeF",
            "Bearer ",
        ] {
            assert_eq!(access.authenticate(&bearing(&[bad])), Err(Denied::WrongToken), "{bad}");
        }
        for none in ["", "0123456789abcdef", "Basic 0123456789abcdef", "Bearer"] {
            assert_eq!(access.authenticate(&bearing(&[none])), Err(Denied::NoToken), "{none}");
        }
        // Two of them: whoever is in between may have looked at the other one.
        let two = bearing(&["Bearer x", "Bearer 0123456789abcdef"]);
        assert_eq!(access.authenticate(&two), Err(Denied::NoToken));

        assert!(access.check_token("/metrics", &bearing(&[])).is_err());
        for open in ["/", "/page/{file}", "/healthz", "/readyz"] {
            assert_eq!(access.check_token(open, &bearing(&[])), Ok(()));
        }
        for closed in ["other", "/api/v1/pipelines", "/api/v1/sql"] {
            assert!(access.check_token(closed, &bearing(&[])).is_err());
        }
        let open_metrics = Access { public_metrics: true, ..access };
        assert_eq!(open_metrics.check_token("/metrics", &bearing(&[])), Ok(()));
    }

    #[test]
    fn another_sites_page_cannot_send_a_statement() {
        let with = |pairs: &[(&str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                let name = HeaderName::try_from(*name).expect("a name");
                headers.insert(name, HeaderValue::from_str(value).expect("a value"));
            }
            check_origin(&headers, Some("127.0.0.1:9898"))
        };
        let json = ("content-type", "application/json; charset=utf-8");
        assert_eq!(with(&[json]), Ok(()), "a program");
        let own = ("origin", "http://127.0.0.1:9898");
        assert_eq!(with(&[json, own, ("sec-fetch-site", "same-origin")]), Ok(()));
        assert_eq!(with(&[json, ("sec-fetch-site", "cross-site")]), Err(Denied::Origin));
        assert_eq!(with(&[json, ("sec-fetch-site", "same-site")]), Err(Denied::Origin));
        for origin in
            ["null", "http://evil.example", "http://127.0.0.1:80", "http://127.0.0.1:98980"]
        {
            assert_eq!(with(&[json, ("origin", origin)]), Err(Denied::Origin), "{origin}");
        }
        // What a form can send.
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "application/jsonx",
        ] {
            assert_eq!(with(&[("content-type", kind)]), Err(Denied::ContentType), "{kind}");
        }
        assert_eq!(with(&[]), Err(Denied::ContentType));
    }
}
