//! The page of a daemon that wants a token, full of what a hostile client has sent.

use std::fs;

use serde_json::json;

use crate::support::browser::Browser;
use crate::support::daemon::Daemon;
use crate::support::{Dir, http, python, secs};

const TOKEN: &str = "correct-horse-battery-staple";
/// Would set `window.hacked` wherever it is taken for HTML.
const HOSTILE: &str =
    "</pre><img src=x onerror=\"window.hacked=1\"><script>window.hacked=1</script>";

#[test]
fn heavy_page_wants_the_token_and_shows_hostile_data_as_text() {
    python::environment();
    let browser = Browser::start("access");
    let dir = Dir::new();
    let input = dir.path().join("in");
    fs::create_dir(&input).expect("a directory");
    let mut lines = String::new();
    for minute in 0..5 {
        for key in [HOSTILE, "plain"] {
            let event = json!({"ts": format!("2026-01-01T00:0{minute}:30Z"), "key": key});
            lines.push_str(&format!("{event}\n"));
        }
    }
    lines.push_str(&format!("{HOSTILE}\n"));
    fs::write(input.join("events.ndjson"), lines).expect("events");
    let data = dir.path().join("data");
    let config = format!(
        r#"
name = "hostile"
data_dir = {data:?}
[checkpoint]
interval = "200ms"
[server]
listen = "127.0.0.1:0"
token = "${{PAGE_TEST_TOKEN}}"
[sources.events]
type = "files"
path = {input:?}
schema = ["ts TIMESTAMP NOT NULL", "key STRING NOT NULL"]
[sources.events.format]
type = "json"
[sources.events.watermark]
column = "ts"
delay = "0 seconds"
[queries.raw]
sql = "SELECT ts, key FROM events"
[queries.raw.sink]
type = "delta"
path = {raw:?}
[queries.minutes]
sql = "SELECT window.start AS window_start, key, count(*) AS n FROM events GROUP BY window(ts, '1 minute'), key"
[queries.minutes.sink]
type = "delta"
path = {minutes:?}
"#,
        raw = data.join("raw"),
        minutes = data.join("minutes"),
    );
    let path = dir.path().join("millpond.toml");
    fs::write(&path, config).expect("a configuration");
    let mut daemon = Daemon::with(&path, &[], &[("PAGE_TEST_TOKEN", TOKEN)]);
    daemon.wait("it to be ready", secs(40), |daemon| {
        daemon.get("/readyz").is_ok_and(|(status, _)| status == 200)
    });
    let address = daemon.address().expect("it listens");
    assert_eq!(http::get(address, "/api/v1/pipelines").expect("an answer").0, 401);
    assert!(!daemon.log().contains(TOKEN), "the token is not logged");

    browser.open(&format!("http://{address}/"));
    browser.wait(
        "the question for the token",
        secs(20),
        "!document.querySelector('#login').hidden && document.querySelector('#parts').hidden",
    );
    assert_eq!(browser.eval("document.activeElement.id"), "token");
    let barriers = browser.barriers();
    assert!(barriers.is_empty(), "{}", barriers.join("\n"));
    browser.type_text("not-the-token-at-all");
    browser.press(&["Enter"]);
    browser.wait(
        "that it is wrong",
        secs(10),
        "/not the token/.test(document.querySelector('#login-error').textContent)",
    );
    browser.type_text(TOKEN);
    browser.press(&["Enter"]);
    browser.wait("the page", secs(20), "!document.querySelector('#parts').hidden && document.querySelectorAll('#graph .node').length >= 5");
    // The token is in this tab only: neither in a cookie, nor in what outlives the tab.
    assert_eq!(browser.eval("document.cookie"), "");
    assert_eq!(browser.eval("JSON.stringify(localStorage).includes('horse')"), false);
    assert_eq!(browser.eval("sessionStorage.getItem('millpond.token')"), TOKEN);

    // What was sent stands there as it was sent.
    let keys = "[...document.querySelectorAll('#windows-chart .legend .key')].map((key) => key.textContent)";
    browser.wait("windows by key", secs(30), &format!("{keys}.length === 2"));
    let found = browser.eval(keys);
    assert!(found.as_array().is_some_and(|keys| keys.iter().any(|key| key == HOSTILE)), "{found}");
    browser.wait(
        "the dead letter",
        secs(20),
        "document.querySelectorAll('#letters .letter').length === 1",
    );
    assert_eq!(browser.text("#letters .letter pre"), HOSTILE);
    browser.wait(
        "the tables",
        secs(30),
        "/hostile\\.raw/.test(document.querySelector('#tables').textContent)",
    );
    browser.press(&["s"]);
    browser.run("document.querySelector('#statement').value = arguments[0]", &[
        "SELECT key, '<script>window.hacked=1</script>' AS `<b>bold</b>`, CAST(9007199254740993 AS BIGINT) AS large FROM hostile.raw WHERE key <> 'plain' LIMIT 1".into(),
    ]);
    browser.press(&["Control+Enter"]);
    browser.wait(
        "a row",
        secs(30),
        "document.querySelectorAll('#sql-result tbody tr').length === 1",
    );
    assert_eq!(browser.text("#sql-result tbody td"), HOSTILE);
    assert_eq!(browser.text("#sql-result tbody td:nth-child(3)"), "9007199254740993");
    assert!(browser.text("#sql-result thead").contains("<b>bold</b>"));
    assert!(browser.eval("window.hacked").is_null(), "a script that was sent has run");
    assert_eq!(browser.count("main img, main script, main b"), 0);

    // The token is forgotten when somebody says so.
    browser.run("document.querySelector('#forget').click()", &[]);
    browser.wait("the question again", secs(10), "!document.querySelector('#login').hidden");
    assert!(browser.eval("sessionStorage.getItem('millpond.token')").is_null());
    let troubles = browser.troubles(&["401 (Unauthorized)"]);
    assert!(troubles.is_empty(), "{troubles:#?}");
}
