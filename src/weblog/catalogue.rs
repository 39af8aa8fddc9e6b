//! The web shop whose logs are written: what is asked for, by whom, and how it goes.
//!
//! Plain data; [`tables`](super::tables) turns it into what the generator looks up.

/// Traffic of each hour of the day (UTC), relative to the day's mean. The mean of the list is 1.
pub(super) const HOURS: [f64; 24] = [
    0.56, 0.46, 0.40, 0.37, 0.39, 0.48, 0.64, 0.83, 1.02, 1.17, 1.26, 1.30, //
    1.31, 1.30, 1.27, 1.25, 1.24, 1.27, 1.35, 1.43, 1.44, 1.30, 1.09, 0.87,
];

/// How many distinct clients there are.
pub(super) const CLIENTS: usize = 20_000;

/// The rank offset q of the clients' Zipf-Mandelbrot law: the client of rank k (from 0) makes
/// requests in proportion to 1 / (k + 1 + q). With 10 the busiest makes 1.2 % of all traffic, as
/// an office behind one address does; a plain Zipf law would give it 10 %.
pub(super) const CLIENT_OFFSET: f64 = 10.0;

/// Response statuses and their weights, in 1/10,000.
pub(super) type Statuses = &'static [(u16, u32)];

const PAGE: Statuses =
    &[(200, 9300), (301, 150), (304, 350), (404, 140), (500, 35), (502, 10), (503, 15)];
const STATIC: Statuses = &[(200, 7400), (304, 2450), (404, 130), (503, 20)];
const READ: Statuses =
    &[(200, 9480), (304, 120), (400, 120), (401, 80), (404, 130), (500, 45), (503, 25)];
const CREATE: Statuses =
    &[(201, 9350), (400, 330), (401, 110), (409, 90), (422, 60), (500, 40), (503, 20)];
const UPDATE: Statuses =
    &[(200, 9360), (400, 320), (401, 110), (404, 80), (409, 70), (500, 40), (503, 20)];
const REMOVE: Statuses = &[(204, 9600), (401, 110), (403, 60), (404, 180), (500, 35), (503, 15)];
const SIGN_IN: Statuses =
    &[(200, 8600), (400, 200), (401, 950), (403, 120), (429, 80), (500, 30), (503, 20)];
const PAYMENT: Statuses =
    &[(201, 9400), (400, 150), (402, 280), (409, 50), (500, 50), (502, 40), (504, 30)];
const SEARCH: Statuses = &[(200, 9560), (400, 250), (500, 80), (503, 60), (504, 50)];
const HEALTH: Statuses = &[(200, 9985), (503, 15)];

/// What an error burst answers with, in 1/10,000.
pub(super) const ERROR_BURST: Statuses = &[(500, 5000), (502, 1500), (503, 2500), (504, 1000)];

/// How a status changes the response time, as a factor.
pub(super) fn latency_factor(status: u16) -> f64 {
    match status {
        301 | 304 => 0.4,
        429 => 0.1,
        400..=499 => 0.5,
        503 => 0.3,
        504 => 2.0,
        500..=599 => 1.3,
        _ => 1.0,
    }
}

/// Where the requests for an endpoint come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Typed, bookmarked, found by a search engine or linked to.
    Landing,
    /// A page of the shop asked for it.
    Within,
    /// A machine that sends no referer.
    Probe,
}

/// One path of the web server.
pub(super) struct Endpoint {
    pub path: &'static str,
    /// Share of the traffic, in 1/1,000.
    pub weight: u32,
    /// Methods, their weights within the endpoint, and how their requests end.
    pub methods: &'static [(&'static str, u32, Statuses)],
    /// Response time: median in milliseconds, and sigma of its logarithm.
    pub latency: (f64, f64),
    /// Response size: median in bytes, and sigma of its logarithm.
    pub size: (f64, f64),
    pub origin: Origin,
}

const fn endpoint(
    path: &'static str,
    weight: u32,
    methods: &'static [(&'static str, u32, Statuses)],
    latency: (f64, f64),
    size: (f64, f64),
    origin: Origin,
) -> Endpoint {
    Endpoint { path, weight, methods, latency, size, origin }
}

use Origin::{Landing, Probe, Within};

/// The endpoints; their weights add up to 1,000.
#[rustfmt::skip] // one line an endpoint reads as the table it is
pub(super) const ENDPOINTS: [Endpoint; 24] = [
    endpoint("/", 134, &[("GET", 97, PAGE), ("HEAD", 3, PAGE)], (18.0, 0.45), (18_400.0, 0.20), Landing),
    endpoint("/products", 75, &[("GET", 1, PAGE)], (35.0, 0.50), (32_000.0, 0.30), Landing),
    endpoint("/products/popular", 45, &[("GET", 1, PAGE)], (28.0, 0.45), (27_500.0, 0.25), Landing),
    endpoint("/categories", 40, &[("GET", 1, PAGE)], (22.0, 0.40), (21_000.0, 0.25), Within),
    endpoint("/about", 8, &[("GET", 1, PAGE)], (9.0, 0.35), (9_800.0, 0.05), Landing),
    endpoint("/contact", 6, &[("GET", 3, PAGE), ("POST", 1, CREATE)], (12.0, 0.40), (7_600.0, 0.10), Within),
    endpoint("/static/app.js", 85, &[("GET", 1, STATIC)], (2.4, 0.35), (148_000.0, 0.02), Within),
    endpoint("/static/style.css", 70, &[("GET", 1, STATIC)], (1.8, 0.35), (41_500.0, 0.02), Within),
    endpoint("/static/logo.png", 60, &[("GET", 1, STATIC)], (1.5, 0.35), (12_300.0, 0.02), Within),
    endpoint("/favicon.ico", 25, &[("GET", 1, STATIC)], (1.1, 0.30), (4_286.0, 0.01), Within),
    endpoint("/api/v1/products", 95, &[("GET", 94, READ), ("POST", 2, CREATE), ("PUT", 3, UPDATE), ("DELETE", 1, REMOVE)], (24.0, 0.55), (6_200.0, 0.60), Within),
    endpoint("/api/v1/search", 70, &[("GET", 1, SEARCH)], (85.0, 0.70), (8_900.0, 0.80), Within),
    endpoint("/api/v1/recommendations", 45, &[("GET", 1, READ)], (60.0, 0.60), (5_400.0, 0.50), Within),
    endpoint("/api/v1/cart", 50, &[("GET", 50, READ), ("POST", 28, CREATE), ("PUT", 14, UPDATE), ("DELETE", 8, REMOVE)], (20.0, 0.50), (1_450.0, 0.60), Within),
    endpoint("/api/v1/checkout", 14, &[("POST", 1, CREATE)], (180.0, 0.60), (920.0, 0.35), Within),
    endpoint("/api/v1/orders", 28, &[("GET", 70, READ), ("POST", 26, CREATE), ("DELETE", 4, REMOVE)], (48.0, 0.55), (3_700.0, 0.80), Within),
    endpoint("/api/v1/payments", 10, &[("POST", 1, PAYMENT)], (320.0, 0.55), (640.0, 0.30), Within),
    endpoint("/api/v1/users/me", 42, &[("GET", 86, READ), ("PATCH", 10, UPDATE), ("PUT", 4, UPDATE)], (15.0, 0.45), (1_120.0, 0.30), Within),
    endpoint("/api/v1/login", 22, &[("POST", 1, SIGN_IN)], (95.0, 0.40), (780.0, 0.20), Within),
    endpoint("/api/v1/logout", 9, &[("POST", 1, UPDATE)], (7.0, 0.40), (120.0, 0.10), Within),
    endpoint("/api/v1/reviews", 20, &[("GET", 85, READ), ("POST", 15, CREATE)], (30.0, 0.50), (4_800.0, 0.70), Within),
    endpoint("/api/v1/inventory", 16, &[("GET", 80, READ), ("PUT", 20, UPDATE)], (26.0, 0.50), (2_300.0, 0.50), Probe),
    endpoint("/api/v1/reports", 4, &[("GET", 1, SEARCH)], (1_200.0, 0.80), (96_000.0, 0.90), Probe),
    endpoint("/health", 27, &[("GET", 1, HEALTH)], (0.8, 0.30), (15.0, 0.01), Probe),
];

/// Referers of requests that come from outside, and of those from a page of the shop itself, with
/// weights in 1/64. `None` is a request without one.
pub(super) const LANDING_REFERERS: &[(Option<&str>, u32)] = &[
    (None, 28),
    (Some("https://www.google.com/"), 14),
    (Some("https://www.bing.com/"), 3),
    (Some("https://duckduckgo.com/"), 2),
    (Some("https://news.example.org/deals/today"), 3),
    (Some("https://blog.example.net/best-shops"), 2),
    (Some("https://shop.example.com/"), 7),
    (Some("https://shop.example.com/categories"), 5),
];
pub(super) const WITHIN_REFERERS: &[(Option<&str>, u32)] = &[
    (None, 8),
    (Some("https://shop.example.com/"), 18),
    (Some("https://shop.example.com/products"), 15),
    (Some("https://shop.example.com/products/popular"), 9),
    (Some("https://shop.example.com/categories"), 8),
    (Some("https://shop.example.com/account"), 6),
];
pub(super) const NO_REFERERS: &[(Option<&str>, u32)] = &[(None, 64)];

/// User agents and their weights in 1/256.
pub(super) const AGENTS: [(&str, u32); 20] = [
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
        52,
    ),
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
        21,
    ),
    (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
        20,
    ),
    (
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
        7,
    ),
    (
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36",
        38,
    ),
    (
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/27.0 Chrome/125.0.0.0 Mobile Safari/537.36",
        9,
    ),
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
        36,
    ),
    (
        "Mozilla/5.0 (iPad; CPU OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.7 Mobile/15E148 Safari/604.1",
        6,
    ),
    (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
        12,
    ),
    ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:133.0) Gecko/20100101 Firefox/133.0", 9),
    ("Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0", 4),
    ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:132.0) Gecko/20100101 Firefox/132.0", 3),
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0",
        13,
    ),
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36 OPR/115.0.0.0",
        3,
    ),
    ("ShopApp/5.12.0 (Android 14; Pixel 8) okhttp/4.12.0", 8),
    ("ShopApp/5.11.3 (iOS 18.1; iPhone15,3) CFNetwork/1568.200.51 Darwin/24.1.0", 6),
    ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", 4),
    ("Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)", 2),
    ("kube-probe/1.31", 2),
    ("curl/8.10.1", 1),
];

/// What an abusive client calls itself.
pub(super) const ABUSIVE_AGENT: &str = "python-requests/2.32.3";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_add_up() {
        assert_eq!(ENDPOINTS.iter().map(|e| e.weight).sum::<u32>(), 1000);
        assert_eq!(AGENTS.iter().map(|(_, weight)| weight).sum::<u32>(), 256);
        for referers in [LANDING_REFERERS, WITHIN_REFERERS, NO_REFERERS] {
            assert_eq!(referers.iter().map(|(_, weight)| weight).sum::<u32>(), 64);
        }
        let profiles = ENDPOINTS.iter().flat_map(|e| e.methods).map(|(_, _, statuses)| *statuses);
        for statuses in profiles.chain([ERROR_BURST]) {
            assert_eq!(statuses.iter().map(|(_, w)| w).sum::<u32>(), 10_000, "{statuses:?}");
        }
        assert!((HOURS.iter().sum::<f64>() / 24.0 - 1.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_needs_escaping_in_json() {
        let strings = ENDPOINTS
            .iter()
            .map(|e| e.path)
            .chain(AGENTS.iter().map(|(agent, _)| *agent))
            .chain(LANDING_REFERERS.iter().chain(WITHIN_REFERERS).filter_map(|(r, _)| *r))
            .chain([ABUSIVE_AGENT]);
        for text in strings {
            assert!(text.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'"' && b != b'\\'));
        }
    }
}
