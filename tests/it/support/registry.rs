//! A schema registry that speaks Confluent's HTTP API, as far as serialisers and deserialisers need
//! it: registering (with the compatibility check BACKWARD for Avro records), ids, subjects and
//! versions, references, its error codes, and basic authentication.
//!
//! It stands on the standard library and `serde_json` alone, so that unit tests can include this
//! file too.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};

/// A running registry. Ends when it is dropped.
pub struct SchemaRegistry {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    store: Mutex<Store>,
    /// `user:password` in base64, if one is wanted.
    credentials: Option<String>,
    requests: Mutex<Vec<String>>,
    /// How many of the next requests are answered 503.
    failing: AtomicU32,
    stopped: AtomicBool,
}

#[derive(Default)]
struct Store {
    /// In the order of their ids, which begin at 1.
    schemas: Vec<Registered>,
    /// For each subject its versions, as ids; versions begin at 1.
    subjects: HashMap<String, Vec<usize>>,
}

#[derive(Clone, PartialEq)]
struct Registered {
    kind: String,
    text: String,
    references: Value,
}

type Answer = (u16, Value);

impl SchemaRegistry {
    /// Starts one on a free port of this machine.
    pub fn start() -> Self {
        Self::start_with(Shared::default())
    }

    /// As [`Self::start`], with basic authentication. `credentials` are `user:password` in base64.
    pub fn start_with_auth(credentials: &str) -> Self {
        Self::start_with(Shared { credentials: Some(credentials.to_owned()), ..Shared::default() })
    }

    fn start_with(shared: Shared) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(shared);
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stopped.load(Ordering::SeqCst) {
                    break;
                }
                let serving = Arc::clone(&serving);
                if let Ok(stream) = stream {
                    std::thread::spawn(move || {
                        let _ = serving.serve(stream);
                    });
                }
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Registers a schema without HTTP, whatever it is, and returns its id. `kind` is `AVRO`,
    /// `PROTOBUF` or `JSON`; references are name, subject and version.
    pub fn add(
        &self,
        subject: &str,
        kind: &str,
        text: &str,
        references: &[(&str, &str, u32)],
    ) -> u32 {
        let references = references.iter().map(
            |(name, subject, version)| json!({"name": name, "subject": subject, "version": version}),
        );
        let schema = Registered {
            kind: kind.to_owned(),
            text: text.to_owned(),
            references: Value::Array(references.collect()),
        };
        let mut store = self.shared.store.lock().expect("no test panics while it holds it");
        u32::try_from(store.register(subject, schema)).expect("few schemas")
    }

    /// The requests so far: method and path.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().expect("no test panics while it holds it").clone()
    }

    /// Answers the next `count` requests with 503.
    pub fn fail_next(&self, count: u32) {
        self.shared.failing.store(count, Ordering::SeqCst);
    }
}

impl Drop for SchemaRegistry {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Answers the requests of one connection until it is closed.
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut out = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || self.stopped.load(Ordering::SeqCst) {
                return Ok(());
            }
            let mut words = line.split_whitespace();
            let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let (mut length, mut authorization) = (0, None);
            loop {
                let mut header = String::new();
                if reader.read_line(&mut header)? == 0 {
                    return Ok(());
                }
                let header = header.trim_end();
                let Some((name, value)) = header.split_once(':') else { break };
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => length = value.trim().parse().unwrap_or(0),
                    "authorization" => authorization = Some(value.trim().to_owned()),
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            let (status, answer) = self.answer(method, path, &body, authorization.as_deref());
            let text = answer.to_string();
            let challenge = match status {
                401 => "WWW-Authenticate: Basic realm=\"SchemaRegistry\"\r\n",
                _ => "",
            };
            write!(
                out,
                "HTTP/1.1 {status} .\r\nContent-Type: application/vnd.schemaregistry.v1+json\r\n\
                 {challenge}Content-Length: {}\r\n\r\n{text}",
                text.len()
            )?;
            out.flush()?;
        }
    }

    fn answer(&self, method: &str, path: &str, body: &[u8], authorization: Option<&str>) -> Answer {
        let request = format!("{method} {path}");
        self.requests.lock().expect("no test panics while it holds it").push(request);
        let take = |left: u32| left.checked_sub(1);
        if self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok() {
            return error(503, 50302, "The registry is starting");
        }
        if let Some(wanted) = &self.credentials
            && authorization != Some(&format!("Basic {wanted}"))
        {
            return error(401, 401, "Unauthorized");
        }
        let path = path.split('?').next().unwrap_or("");
        let segments: Vec<String> = path.split('/').skip(1).map(decode).collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let mut store = self.store.lock().expect("no test panics while it holds it");
        match (method, segments.as_slice()) {
            ("GET", ["schemas", "ids", id]) => store.by_id(id),
            ("GET", ["subjects"]) => {
                let mut names: Vec<&String> = store.subjects.keys().collect();
                names.sort();
                (200, json!(names))
            }
            ("GET", ["subjects", subject, "versions"]) => match store.subjects.get(*subject) {
                Some(versions) => (200, json!((1..=versions.len()).collect::<Vec<_>>())),
                None => no_subject(subject),
            },
            ("GET", ["subjects", subject, "versions", version]) => store.version(subject, version),
            ("POST", ["subjects", subject, "versions"]) => store.post(subject, body),
            _ => error(404, 404, "HTTP 404 Not Found"),
        }
    }
}

impl Store {
    fn register(&mut self, subject: &str, schema: Registered) -> usize {
        let id = match self.schemas.iter().position(|known| *known == schema) {
            Some(index) => index + 1,
            None => {
                self.schemas.push(schema);
                self.schemas.len()
            }
        };
        let versions = self.subjects.entry(subject.to_owned()).or_default();
        if !versions.contains(&id) {
            versions.push(id);
        }
        id
    }

    fn by_id(&self, id: &str) -> Answer {
        let index = id.parse::<usize>().ok().and_then(|id| id.checked_sub(1));
        match index.and_then(|index| self.schemas.get(index)) {
            Some(schema) => (200, schema.show(json!({}))),
            None => error(404, 40403, &format!("Schema {id} not found")),
        }
    }

    fn version(&self, subject: &str, version: &str) -> Answer {
        let Some(versions) = self.subjects.get(subject) else { return no_subject(subject) };
        let number = match version {
            "latest" => versions.len(),
            number => match number.parse::<usize>() {
                Ok(number) if number >= 1 => number,
                _ => {
                    let message = "The specified version is not a valid version id. Allowed values are between \
                         [1, 2^31-1] and the string \"latest\"";
                    return error(422, 42202, message);
                }
            },
        };
        match versions.get(number - 1) {
            Some(id) => {
                let head = json!({"subject": subject, "version": number, "id": id});
                (200, self.schemas[id - 1].show(head))
            }
            None => error(404, 40402, &format!("Version {version} not found.")),
        }
    }

    fn post(&mut self, subject: &str, body: &[u8]) -> Answer {
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return error(400, 400, "Unable to process JSON");
        };
        let text = body["schema"].as_str().unwrap_or("").to_owned();
        let kind = body["schemaType"].as_str().unwrap_or("AVRO").to_owned();
        let references = match &body["references"] {
            Value::Array(references) => Value::Array(references.clone()),
            _ => json!([]),
        };
        for reference in references.as_array().into_iter().flatten() {
            let subject = reference["subject"].as_str().unwrap_or("");
            let version = reference["version"].to_string();
            if self.version(subject, &version).0 != 200 {
                let message = format!("Invalid schema: reference to {subject}, version {version}");
                return error(422, 42201, &message);
            }
        }
        let valid = match kind.as_str() {
            "PROTOBUF" => !text.is_empty(),
            _ => serde_json::from_str::<Value>(&text).is_ok(),
        };
        if !valid {
            return error(422, 42201, &format!("Invalid schema {text}"));
        }
        if let Some(latest) = self.subjects.get(subject).and_then(|versions| versions.last()) {
            let latest = &self.schemas[latest - 1];
            if kind == "AVRO" && latest.text != text && !can_read(&text, &latest.text) {
                let message = format!(
                    "Schema being registered is incompatible with an earlier schema for subject \
                     \"{subject}\""
                );
                return error(409, 409, &message);
            }
        }
        (200, json!({"id": self.register(subject, Registered { kind, text, references })}))
    }
}

impl Registered {
    fn show(&self, mut answer: Value) -> Value {
        answer["schema"] = json!(self.text);
        if self.kind != "AVRO" {
            answer["schemaType"] = json!(self.kind);
        }
        if self.references.as_array().is_some_and(|references| !references.is_empty()) {
            answer["references"] = self.references.clone();
        }
        answer
    }
}

/// BACKWARD, as far as fields go: what the new schema of a record adds must have a default.
fn can_read(new: &str, old: &str) -> bool {
    let fields = |text: &str| -> Vec<Value> {
        let schema: Value = serde_json::from_str(text).unwrap_or_default();
        schema["fields"].as_array().cloned().unwrap_or_default()
    };
    let old = fields(old);
    fields(new).iter().all(|field| {
        let known = old.iter().find(|known| known["name"] == field["name"]);
        known.is_some() || field.get("default").is_some()
    })
}

fn no_subject(subject: &str) -> Answer {
    error(404, 40401, &format!("Subject '{subject}' not found."))
}

fn error(status: u16, code: u32, message: &str) -> Answer {
    (status, json!({"error_code": code, "message": message}))
}

/// A segment of a path, `%2F` and the like decoded.
fn decode(segment: &str) -> String {
    let bytes = segment.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if bytes[at] == b'%' => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
