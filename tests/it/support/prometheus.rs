//! Prometheus and Alertmanager as processes, on free ports; and what is around them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use super::{die_with_us, http, secs, wait_for};

/// A file or directory of the repository.
pub fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A program of Debian's packages `prometheus` and `prometheus-alertmanager`, ready for arguments.
pub fn program(name: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.exists());
    Command::new(found.unwrap_or_else(|| {
        panic!(
            "there is no {name} on the PATH; it is in Debian's packages prometheus and \
             prometheus-alertmanager, which .ci/run installs"
        )
    }))
}

/// Runs a program to its end, which has to be a good one.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    output
}

/// A server that says in its log where it listens. Killed when dropped.
pub struct Server {
    child: Child,
    log: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    fn start(mut command: Command, name: &str, dir: &Path) -> Self {
        let log = dir.join(format!("{name}.log"));
        let file = File::create(&log).expect("a log");
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a log")).stderr(file);
        let child = die_with_us(&mut command).spawn().expect("the server starts");
        // From here on it is killed whatever happens.
        let mut server = Self { child, log, address: ([0, 0, 0, 0], 0).into() };
        server.address = wait_for(&format!("{name} to listen"), secs(20), || {
            let log = fs::read_to_string(&server.log).expect("a log");
            let line = log.lines().find(|line| line.contains("Listening on"))?;
            line.split("address=").nth(1)?.split_whitespace().next()?.trim_matches('"').parse().ok()
        });
        server
    }

    /// Prometheus with a configuration.
    pub fn prometheus(config: &Path, dir: &Path) -> Self {
        let mut command = program("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("prometheus").display()))
            .arg(format!("--web.console.templates={}", dir.display()))
            .arg(format!("--web.console.libraries={}", dir.display()))
            .args(["--web.listen-address=127.0.0.1:0", "--log.level=info"]);
        Self::start(command, "prometheus", dir)
    }

    /// Alertmanager with a configuration.
    pub fn alertmanager(config: &Path, dir: &Path) -> Self {
        let mut command = program("prometheus-alertmanager");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", dir.join("alertmanager").display()))
            .args(["--web.listen-address=127.0.0.1:0", "--cluster.listen-address="]);
        Self::start(command, "alertmanager", dir)
    }

    /// The answer to a GET, as JSON.
    pub fn json(&self, path: &str) -> Value {
        let (status, body) = http::get(self.address, path).expect("it answers");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// Prometheus' answer to a query of its API, as `data`.
    pub fn ask(&self, what: &str, parameters: &[(&str, &str)]) -> Value {
        let parameters =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let mut answer = self.json(&format!("/api/v1/{what}?{parameters}"));
        assert_eq!(answer["status"], "success", "{what} {parameters}: {answer}");
        answer["data"].take()
    }

    /// The value of the first series of an instant query.
    pub fn value(&self, query: &str) -> Option<f64> {
        let data = self.ask("query", &[("query", query)]);
        data["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(15)..].join("\n");
            eprintln!("--- {}\n{tail}\n---", self.log.display());
        }
    }
}

/// Takes what Alertmanager posts, and gives the bodies in order.
pub struct Receiver {
    /// Where it listens.
    pub address: SocketAddr,
    bodies: mpsc::Receiver<Value>,
}

impl Receiver {
    /// Listens on a free port, for as long as the process lives.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (tell, bodies) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                if let Some(body) = take(stream)
                    && tell.send(body).is_err()
                {
                    return;
                }
            }
        });
        Self { address, bodies }
    }

    /// All that has come since the last call.
    pub fn taken(&self) -> Vec<Value> {
        self.bodies.try_iter().collect()
    }
}

fn take(stream: TcpStream) -> Option<Value> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    reader.get_mut().write_all(answer.as_bytes()).ok()?;
    serde_json::from_slice(&body).ok()
}

/// `text` with the durations of the keys `keys` divided by `factor`: what is to last minutes in
/// service lasts seconds in a test.
pub fn hurried(text: &str, keys: &[&str], factor: f64) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let key = line.trim_start().split(':').next().unwrap_or_default();
        let value = line.split_once(": ").map(|(_, value)| value.trim());
        let seconds = value.filter(|_| keys.contains(&key)).and_then(|value| {
            let (number, unit) = value.split_at(value.len().checked_sub(1)?);
            let unit = match unit {
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
            Some(number.parse::<f64>().ok()? * unit)
        });
        match (seconds, line.split_once(':')) {
            (Some(seconds), Some((key, _))) => {
                let millis = (seconds * 1000.0 / factor).ceil() as u64;
                out.push_str(&format!("{key}: {millis}ms"));
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}
