//! A real browser: Chromium, told what to do by WebDriver (Debian: chromium, chromium-driver).

use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{die_with_us, python, secs};

/// Noted in every page before its own scripts run: what went wrong in it.
const WATCH: &str = "
    window.troubles = [];
    addEventListener('securitypolicyviolation', (e) => troubles.push(`policy: ${e.violatedDirective} ${e.blockedURI}`));
    addEventListener('error', (e) => troubles.push(`error: ${e.message}`));
    addEventListener('unhandledrejection', (e) => troubles.push(`rejection: ${e.reason}`));
    let shift = 0;
    window.shifted = () => shift;
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) if (!entry.hadRecentInput) shift += entry.value;
    }).observe({ type: 'layout-shift', buffered: true });
";

/// A browser without a window. Ends when dropped; if the test has failed then, leaves a picture.
pub struct Browser {
    driver: Child,
    base: String,
    session: String,
    agent: ureq::Agent,
    /// Where pictures go.
    pub pictures: PathBuf,
    ended: Cell<bool>,
}

impl Browser {
    /// Starts one.
    pub fn start(pictures: &str) -> Self {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = die_with_us(&mut command).spawn().unwrap_or_else(|error| {
            panic!("chromedriver does not start (Debian: chromium, chromium-driver): {error}")
        });
        let mut lines =
            BufReader::new(driver.stdout.take().expect("standard output is piped")).lines();
        let port: u16 = loop {
            let line = lines.next().expect("chromedriver says its port").expect("text");
            if let Some(rest) = line.split("successfully on port ").nth(1) {
                break rest.trim().trim_end_matches('.').parse().expect("a port");
            }
        };
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(secs(60)))
            .build()
            .new_agent();
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page").join(pictures);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).expect("a directory for pictures");
        let mut browser = Self {
            driver,
            base: format!("http://127.0.0.1:{port}"),
            session: String::new(),
            agent,
            pictures: directory,
            ended: Cell::new(false),
        };
        let arguments = [
            "--headless=new",
            // Root, as in a container, has no other way.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            // The browser ends when the driver does, however that comes about.
            "--remote-debugging-pipe",
        ];
        let answer = browser.send(
            "POST",
            "/session",
            &json!({"capabilities": {"alwaysMatch": {
                "goog:chromeOptions": {"args": arguments},
                "goog:loggingPrefs": {"browser": "ALL"},
            }}}),
        );
        let session = answer["sessionId"].as_str().expect("a session");
        browser.session = format!("/session/{session}");
        browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({"source": WATCH}));
        browser.window(1280, 900);
        browser
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        match self.try_send(method, path, body) {
            Ok(value) => value,
            Err(problem) => panic!("WebDriver {method} {path}: {problem}"),
        }
    }

    fn try_send(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let url = format!("{}{}{path}", self.base, self.session);
        let answer = match method {
            "GET" => self.agent.get(&url).call(),
            "DELETE" => self.agent.delete(&url).call(),
            _ => self.agent.post(&url).send_json(body),
        };
        let mut answer = answer.map_err(|error| error.to_string())?;
        let status = answer.status();
        let mut json: Value = answer
            .body_mut()
            .with_config()
            .limit(64 << 20)
            .read_json()
            .map_err(|e| e.to_string())?;
        let value = json["value"].take();
        if status.is_success() {
            return Ok(value);
        }
        Err(format!("{}: {}", value["error"], value["message"]))
    }

    /// Opens a page.
    pub fn open(&self, url: &str) {
        self.send("POST", "/url", &json!({"url": url}));
    }

    /// Runs the body of a function in the page, and gives what it returns.
    pub fn run(&self, script: &str, arguments: &[Value]) -> Value {
        self.send("POST", "/execute/sync", &json!({"script": script, "args": arguments}))
    }

    /// The value of an expression in the page.
    pub fn eval(&self, expression: &str) -> Value {
        self.run(&format!("return ({expression});"), &[])
    }

    /// The text of the first element that fits; empty if there is none.
    pub fn text(&self, selector: &str) -> String {
        let found = self.run(
            "return document.querySelector(arguments[0])?.textContent ?? ''",
            &[selector.into()],
        );
        found.as_str().unwrap_or_default().to_owned()
    }

    /// How many elements fit.
    pub fn count(&self, selector: &str) -> u64 {
        let found =
            self.run("return document.querySelectorAll(arguments[0]).length", &[selector.into()]);
        found.as_u64().unwrap_or_default()
    }

    /// Waits until an expression is true.
    pub fn wait(&self, what: &str, limit: Duration, expression: &str) {
        let began = Instant::now();
        while self.eval(&format!("Boolean({expression})")) != true {
            assert!(
                began.elapsed() < limit,
                "waited {limit:?} in vain for {what}; the page says:\n{}",
                self.eval("document.body.innerText").as_str().unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Presses keys, one after the other: a character, or a name of WebDriver's list below.
    pub fn press(&self, keys: &[&str]) {
        let mut actions = Vec::new();
        for key in keys {
            let (held, key) = match key.split_once('+') {
                Some((held, key)) if !held.is_empty() && !key.is_empty() => (Some(code(held)), key),
                _ => (None, *key),
            };
            actions.extend(held.as_ref().map(|held| json!({"type": "keyDown", "value": held})));
            actions.push(json!({"type": "keyDown", "value": code(key)}));
            actions.push(json!({"type": "keyUp", "value": code(key)}));
            actions.extend(held.map(|held| json!({"type": "keyUp", "value": held})));
        }
        let body = json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]});
        self.send("POST", "/actions", &body);
    }

    /// Types a text into what has the focus.
    pub fn type_text(&self, text: &str) {
        let keys: Vec<String> = text.chars().map(String::from).collect();
        self.press(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// A command of Chromium's own protocol.
    pub fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.send("POST", "/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    /// Makes the page so large.
    pub fn window(&self, width: u32, height: u32) {
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}),
        );
    }

    /// Says that the person likes it dark, or not, and still, or not.
    pub fn prefers(&self, dark: bool, still: bool) {
        let features = json!([
            {"name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" }},
            {"name": "prefers-reduced-motion", "value": if still { "reduce" } else { "no-preference" }},
        ]);
        self.devtools("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// Keeps a picture of what is seen, in the target directory.
    pub fn picture(&self, name: &str) {
        let picture = self.devtools("Page.captureScreenshot", json!({"format": "png"}));
        let data = picture["data"].as_str().expect("a picture");
        fs::write(self.pictures.join(format!("{name}.png")), base64(data)).expect("it is kept");
    }

    /// What axe finds that keeps people out: rules with the places where they are broken.
    pub fn barriers(&self) -> Vec<String> {
        let lib = python::environment().join("lib");
        let axe = fs::read_dir(lib)
            .expect("the environment's libraries")
            .map(|entry| entry.expect("an entry").path())
            .map(|path| path.join("site-packages/axe_playwright_python/axe.min.js"))
            .find(|path| path.exists())
            .expect("axe is in the environment");
        let axe = fs::read_to_string(axe).expect("axe");
        self.run(&format!("{axe}; window.axe = axe;"), &[]);
        let script = "
            const done = arguments[arguments.length - 1];
            axe.run(document, { resultTypes: ['violations'] }).then(
                (found) => done(found.violations.flatMap((rule) => rule.nodes.map((node) =>
                    `${rule.id}: ${node.target.join(' ')}: ${node.failureSummary}`))),
                (error) => done([String(error)]));
        ";
        let found = self.send("POST", "/execute/async", &json!({"script": script, "args": []}));
        let found = found.as_array().expect("a list");
        found.iter().map(|one| one.as_str().unwrap_or_default().to_owned()).collect()
    }

    /// What went wrong in the page since it was opened, and what the console says of errors, but
    /// for what is expected.
    pub fn troubles(&self, expected: &[&str]) -> Vec<String> {
        let own = self.eval("window.troubles");
        let own = own.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        let log = self.send("POST", "/se/log", &json!({"type": "browser"}));
        let console = log.as_array().into_iter().flatten().filter_map(|entry| {
            let bad = matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING"));
            bad.then(|| entry["message"].as_str().unwrap_or_default().to_owned())
        });
        own.chain(console)
            .filter(|trouble| !expected.iter().any(|expected| trouble.contains(expected)))
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.ended.replace(true) && !self.session.is_empty() {
            if std::thread::panicking() {
                let picture = json!({"cmd": "Page.captureScreenshot", "params": {"format": "png"}});
                if let Ok(found) = self.try_send("POST", "/goog/cdp/execute", &picture)
                    && let Some(data) = found["data"].as_str()
                {
                    let _ = fs::write(self.pictures.join("failed.png"), base64(data));
                    eprintln!("what was seen last is in {}", self.pictures.display());
                }
            }
            let _ = self.try_send("DELETE", "", &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// WebDriver's code of a key.
fn code(key: &str) -> String {
    let named = match key {
        "Enter" => '\u{e007}',
        "Tab" => '\u{e004}',
        "Shift" => '\u{e008}',
        "Control" => '\u{e009}',
        "Escape" => '\u{e00c}',
        "Space" => ' ',
        "Left" => '\u{e012}',
        "Up" => '\u{e013}',
        "Right" => '\u{e014}',
        "Down" => '\u{e015}',
        "Home" => '\u{e011}',
        "End" => '\u{e010}',
        _ => return key.to_owned(),
    };
    named.to_string()
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut bytes, mut bits, mut held) = (Vec::with_capacity(text.len() * 3 / 4), 0_u32, 0);
    for value in text.bytes().filter_map(digit) {
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}
