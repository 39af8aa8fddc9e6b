//! The page, in a real browser, while the demo runs.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::daemon::{Daemon, millpond};
use crate::support::{Dir, python, secs, wait_for};

/// Every node of the demo's graph.
const NODES: [&str; 16] = [
    "source/logs",
    "query/bronze",
    "query/endpoint_windows",
    "query/traffic_windows",
    "query/client_windows",
    "detector/traffic_spike",
    "detector/ratio_to_mean",
    "detector/error_rate",
    "detector/response_time",
    "detector/client_share",
    "sink/bronze",
    "sink/endpoint_windows",
    "sink/traffic_windows",
    "sink/client_windows",
    "sink/dead-letters",
    "sink/",
];

/// Contrast of two colours of the style sheet, as WCAG 2 computes it.
const CONTRAST: &str = "
    const style = getComputedStyle(document.documentElement);
    const light = (name) => {
        const hex = style.getPropertyValue(name).trim();
        const part = (at) => {
            const value = parseInt(hex.slice(at, at + 2), 16) / 255;
            return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
        };
        return 0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5);
    };
    return arguments[0].map(([a, b]) => {
        const [high, low] = [light(a), light(b)].sort((x, y) => y - x);
        return (high + 0.05) / (low + 0.05);
    });
";

/// Texts need 4.5 to 1, lines and bars 3 to 1.
fn contrasts() -> Vec<(String, String, f64)> {
    let mut pairs = Vec::new();
    for text in ["ink", "soft", "accent", "good", "warn", "bad", "info"] {
        for ground in ["card", "ground"] {
            pairs.push((format!("--{text}"), format!("--{ground}"), 4.5));
        }
    }
    for tag in ["good", "warn", "bad", "info"] {
        pairs.push((format!("--{tag}"), format!("--{tag}-ground"), 4.5));
    }
    pairs.push(("--on-accent".to_owned(), "--accent".to_owned(), 4.5));
    for line in
        ["edge", "focus", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "p0", "p1", "p2", "p3"]
    {
        pairs.push((format!("--{line}"), "--card".to_owned(), 3.0));
    }
    pairs
}

fn check_contrast(browser: &Browser, theme: &str) {
    let pairs = contrasts();
    let names: Vec<Value> = pairs.iter().map(|(a, b, _)| json!([a, b])).collect();
    let found = browser.run(CONTRAST, &[Value::Array(names)]);
    for ((a, b, least), ratio) in pairs.iter().zip(found.as_array().expect("a list")) {
        let ratio = ratio.as_f64().expect("a number");
        assert!(ratio >= *least, "{theme}: {a} on {b} has {ratio:.2} to 1, less than {least}");
    }
}

/// Nothing sticks out at the right.
fn check_width(browser: &Browser, width: u32) {
    browser.window(width, 800);
    let fits = "document.documentElement.scrollWidth <= innerWidth && !document.querySelector('#graph-box svg[width=\"0\"]')";
    browser.wait(&format!("a page that fits into {width} px"), secs(10), fits);
}

#[test]
fn heavy_page_shows_the_demo() {
    // Made now if it has to be: the demo does not wait for it.
    python::environment();
    let browser = Browser::start("demo");
    let dir = Dir::new();
    let mut command = millpond();
    // Half an hour of events goes by in a minute; the first anomaly comes after 24 s.
    command
        .args(["demo", "--duration", "60s", "--rate", "2000", "--plain", "--listen", "127.0.0.1:0"])
        .arg("--data-dir")
        .arg(dir.path().join("demo"));
    let mut demo = Daemon::spawn(command, dir.path());
    let url = wait_for("the demo's address", secs(30), || {
        let log = demo.log();
        log.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned)
    });
    browser.prefers(false, true);
    browser.open(&url);

    // The graph: every node, with its figures.
    browser.wait("the graph", secs(30), "document.querySelectorAll('#graph .node').length >= 16");
    for node in NODES {
        let found = browser.count(&format!("#graph .node[data-node^='{node}']"));
        assert!(found >= 1, "no node {node}");
    }
    browser.wait(
        "the source's rate and lag",
        secs(30),
        "/\\d.*\\/s · lag \\d/.test(document.querySelector(`[data-node='source/logs'] .main`)?.textContent)",
    );
    browser.wait(
        "watermarks",
        secs(30),
        "/watermark \\d\\d:\\d\\d:\\d\\d/.test(document.querySelector(`[data-node='query/endpoint_windows'] .more`)?.textContent)",
    );
    browser.wait(
        "a rate on an edge",
        secs(30),
        "[...document.querySelectorAll('.edge-rate')].some((label) => /\\d.*\\/s/.test(label.textContent))",
    );
    assert!(browser.text("#state").contains("demo: running"), "{}", browser.text("#state"));

    // Windows over time, with a reading for every one.
    browser.wait(
        "points in the chart",
        secs(30),
        "document.querySelectorAll('#windows-chart .point').length > 16 && document.querySelectorAll('#windows-chart .line[data-series]').length >= 8",
    );
    browser.wait(
        "series named",
        secs(5),
        "document.querySelectorAll('#windows-chart .legend .value').length === 8",
    );
    browser.run("const s = document.querySelector('#windows-query'); s.value = 'traffic_windows'; s.dispatchEvent(new Event('change'));", &[]);
    browser.wait(
        "another query's windows",
        secs(10),
        "document.querySelectorAll('#windows-chart .line[data-series]').length === 1",
    );

    // Checkpoints, dead letters, restarts.
    browser.wait("epochs", secs(20), "document.querySelectorAll('#epochs tbody tr').length >= 3 && document.querySelectorAll('#epochs-chart rect').length > 8");
    browser.wait(
        "no restart",
        secs(10),
        "/has not been restarted/.test(document.querySelector('#restarts').textContent)",
    );
    browser.wait(
        "dead letters",
        secs(20),
        "document.querySelectorAll('#letters .letter').length >= 4",
    );
    browser.run("document.querySelector('#letters .letter').open = true", &[]);
    assert!(browser.text("#letters .letter pre, #letters .letter .hint").len() > 3);

    // Nothing has jumped while all this came in (0.1 is where web.dev begins to complain).
    let shift = browser.eval("window.shifted()").as_f64().expect("a number");
    assert!(shift < 0.1, "the page jumped about: {shift}");

    walk_by_keyboard(&browser);
    ask_the_tables(&browser);

    // Small and dark.
    for width in [320, 360, 768] {
        check_width(&browser, width);
    }
    check_width(&browser, 360);
    browser.wait(
        "the graph one below the other",
        secs(10),
        "document.querySelector('#graph-box svg').viewBox.baseVal.width <= 360",
    );
    browser.run("scrollTo(0, 0)", &[]);
    browser.picture("phone");
    browser.window(1280, 900);
    check_contrast(&browser, "light");
    let light = browser.eval("getComputedStyle(document.body).backgroundColor");
    browser.prefers(true, true);
    check_contrast(&browser, "dark");
    let dark = browser.eval("getComputedStyle(document.body).backgroundColor");
    assert_ne!(light, dark);

    // The scripted anomaly, in words.
    browser.wait(
        "an anomaly in words",
        secs(60),
        "/expected/.test(document.querySelector('#anomalies .incidents .words')?.textContent)",
    );
    browser.wait(
        "it on the timeline",
        secs(10),
        "document.querySelectorAll('#timeline .incident').length >= 1",
    );
    let words = browser.text("#anomalies .incidents .words");
    assert!(words.contains('/'), "it names an endpoint: {words}");
    browser.run("document.querySelector('#timeline .incident').dispatchEvent(new MouseEvent('click', { bubbles: true }))", &[]);
    assert_eq!(
        browser.count("#anomalies .incidents .marked"),
        1,
        "the timeline leads to the words"
    );
    browser.run("scrollTo(0, 0)", &[]);
    browser.picture("dark");
    let barriers = browser.barriers();
    assert!(barriers.is_empty(), "dark:\n{}", barriers.join("\n"));
    browser.prefers(false, true);
    browser.window(1280, 1900);
    browser.picture("light");
    browser.window(1280, 900);
    let barriers = browser.barriers();
    assert!(barriers.is_empty(), "light:\n{}", barriers.join("\n"));

    // One statement was wrong on purpose.
    let troubles = browser.troubles(&[
        "api/v1/sql - Failed to load resource: the server responded with a status of 400",
    ]);
    assert!(troubles.is_empty(), "{troubles:#?}");

    // The daemon goes, and the page says so and keeps what it had.
    demo.kill();
    browser.wait("that it is gone", secs(30), "!document.querySelector('#gone').hidden && /has not answered since/.test(document.querySelector('#gone').textContent)");
    assert!(browser.count("#graph .node") >= 16);
}

/// From the address line to the SQL box without a mouse.
fn walk_by_keyboard(browser: &Browser) {
    let focus = "`${document.activeElement.tagName} ${document.activeElement.id || document.activeElement.getAttribute('class')}`";
    let at = || browser.eval(focus).as_str().unwrap_or_default().to_owned();
    browser.run("document.activeElement.blur(); scrollTo(0, 0)", &[]);
    browser.press(&["Tab"]);
    assert_eq!(at(), "A skip");
    let visible = "document.activeElement.getBoundingClientRect().top >= 0 && getComputedStyle(document.activeElement).outlineStyle === 'solid'";
    assert_eq!(browser.eval(visible), true, "what has the focus is seen");
    browser.press(&["Enter"]);
    assert_eq!(at(), "MAIN main");
    // Tab by tab: everything that can be used is reached, in the order in which it is seen.
    let mut seen: Vec<String> = Vec::new();
    for _ in 0..120 {
        browser.press(&["Tab"]);
        let now = at();
        if now.starts_with("BODY") || now == "A skip" {
            break;
        }
        assert_eq!(
            browser.eval("document.activeElement.matches(':focus-visible') && document.activeElement.getClientRects().length > 0"),
            true,
            "{now} is seen to have the focus"
        );
        seen.push(now);
    }
    let mut last = 0;
    for part in [
        "DIV graph-box",
        "g node source",
        "g node sink",
        "SELECT windows-query",
        "svg chart",
        "TEXTAREA statement",
        "BUTTON sql-run",
        "A api-link",
    ] {
        let place = seen.iter().position(|one| one.starts_with(part));
        let place = place.unwrap_or_else(|| panic!("{part} is not reached: {seen:#?}"));
        assert!(place >= last || part.starts_with("g node"), "{part} comes too early: {seen:#?}");
        last = last.max(place);
    }

    // Shortcuts, listed by one of them.
    browser.run("document.activeElement.blur()", &[]);
    browser.press(&["?"]);
    browser.wait("the list of shortcuts", secs(5), "document.querySelector('#help').open");
    assert!(browser.count("#help-keys tr") >= 9);
    browser.press(&["Escape"]);
    browser.wait("the end of the list", secs(5), "!document.querySelector('#help').open");
    browser.press(&["g"]);
    assert_eq!(at(), "SECTION graph");

    // Along the graph, and into what is known of a node.
    browser.run("document.querySelector(`[data-node='source/logs']`).focus()", &[]);
    browser.press(&["Right", "Enter"]);
    browser.wait(
        "the query's details",
        secs(5),
        "/Watermark|Rows put out/.test(document.querySelector('#graph-detail').textContent)",
    );
    browser.press(&["Escape"]);

    // From window to window.
    browser.run("document.querySelector('#windows-chart svg.chart').focus()", &[]);
    browser.press(&["Home"]);
    let read = || {
        browser.eval(
            "document.querySelector('#windows-chart svg.chart').getAttribute('aria-valuetext')",
        )
    };
    let first = read();
    assert!(first.as_str().is_some_and(|text| text.starts_with("window from 20")), "{first}");
    browser.press(&["Right"]);
    assert_ne!(read(), first);
    browser.press(&["Escape"]);
}

/// A statement, its rows, the history; and one that is wrong.
fn ask_the_tables(browser: &Browser) {
    browser.wait("the list of tables", secs(30), "[...document.querySelectorAll('#tables summary')].some((s) => s.textContent === 'demo.bronze')");
    browser.wait(
        "their columns",
        secs(40),
        "/status_code INT/.test(document.querySelector('#tables').textContent)",
    );
    browser.press(&["s"]);
    assert_eq!(browser.eval("document.activeElement.id"), "statement");
    browser.run("document.querySelector('#statement').value = ''", &[]);
    browser.type_text(
        "SELECT status_class, count(*) AS n FROM bronze GROUP BY status_class ORDER BY n DESC",
    );
    browser.press(&["Control+Enter"]);
    browser.wait("rows", secs(30), "document.querySelectorAll('#sql-result tbody tr').length >= 3");
    assert_eq!(browser.text("#sql-result tbody td"), "2xx");
    assert_eq!(browser.text("#sql-result thead th:nth-child(2) small"), "BIGINT");
    browser.wait(
        "it in the history",
        secs(5),
        "document.querySelectorAll('#sql-history option').length >= 3",
    );
    assert_eq!(browser.eval("document.querySelector('#sql-csv').disabled"), false);
    browser.run("document.querySelector('#statement').value = 'SELECT nope FROM bronze'", &[]);
    browser.press(&["Control+Enter"]);
    browser.wait(
        "what is wrong",
        secs(30),
        "/nope/.test(document.querySelector('#sql-status.error')?.textContent)",
    );
    browser.run("document.activeElement.blur()", &[]);
}
