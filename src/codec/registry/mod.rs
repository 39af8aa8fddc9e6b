//! A client of schema registries that speak Confluent's HTTP API (Confluent's own, Karapace,
//! Apicurio and Redpanda in their compatible modes).
//!
//! A schema never changes under its id, so what has been fetched is kept for ever; that an id is not
//! known is kept for half a minute. Partitions that need the same schema at the same time ask once.
//! All calls block, for no longer than [`RegistryOptions::patience`].

mod client;
mod error;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::client::Client;
pub(super) use self::client::base64;
pub(crate) use self::client::tls;
pub use self::error::RegistryError;
use super::{Reason, RecordError};

/// How long it is remembered that an id is not known: a registry may lag behind its producers, but a
/// topic full of strangers must not mean a request a record.
const UNKNOWN_FOR: Duration = Duration::from_secs(30);

/// How deep schemas may refer to each other, and how many may be behind one.
const MAX_REFERENCES: usize = 256;

/// How many bytes stand before the datum in Confluent's framing.
pub(super) const FRAME: usize = 5;

/// Where a registry is and how to talk to it.
#[derive(Clone)]
pub struct RegistryOptions {
    /// Its addresses, `http://` or `https://`; the next is tried when one does not answer.
    pub urls: Vec<String>,
    /// How to prove who we are.
    pub auth: RegistryAuth,
    /// Certificate authorities to trust instead of the system's, as PEM.
    pub ca: Option<String>,
    /// How long one request may take. Default: 5 s.
    pub timeout: Duration,
    /// How often a request is made before it counts as failed. Default: 3.
    pub attempts: u32,
}

/// How to prove to a registry who we are.
#[derive(Clone, Default)]
pub enum RegistryAuth {
    /// Not at all.
    #[default]
    None,
    /// HTTP basic authentication.
    Basic {
        /// The user, or the key of an API key.
        user: String,
        /// The password, or the secret of an API key.
        password: String,
    },
    /// A bearer token.
    Bearer(String),
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            auth: RegistryAuth::None,
            ca: None,
            timeout: Duration::from_secs(5),
            attempts: 3,
        }
    }
}

impl RegistryOptions {
    /// How long a call may take at the most.
    pub fn patience(&self) -> Duration {
        let tries = self.attempts.saturating_mul(u32::try_from(self.urls.len()).unwrap_or(1));
        self.timeout.saturating_mul(tries) + Client::pauses(self.attempts)
    }
}

// Neither shows secrets.
impl fmt::Debug for RegistryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryOptions")
            .field("urls", &self.urls)
            .field("auth", &self.auth)
            .field("timeout", &self.timeout)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Basic { .. } => "Basic(..)",
            Self::Bearer(_) => "Bearer(..)",
        })
    }
}

/// The language of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaKind {
    Avro,
    Protobuf,
    Json,
}

impl SchemaKind {
    /// As the API calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avro => "AVRO",
            Self::Protobuf => "PROTOBUF",
            Self::Json => "JSON",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Avro, Self::Protobuf, Self::Json].into_iter().find(|kind| kind.name() == name)
    }
}

/// A schema as the registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredSchema {
    /// Its id, where that was part of the question or of the answer.
    pub id: Option<u32>,
    /// Its language.
    pub kind: SchemaKind,
    /// Its text.
    pub text: Arc<str>,
    /// The schemas it refers to.
    pub references: Vec<Reference>,
}

/// That a schema refers to another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// What the schema calls it: a type's name (Avro), a file (Protobuf), a URI (JSON Schema).
    pub name: String,
    /// The subject it is registered under.
    pub subject: String,
    /// And its version there.
    pub version: u32,
}

/// A schema registry. Shared by all that ask it.
pub struct Registry {
    client: Client,
    by_id: Mutex<HashMap<u32, Slot>>,
    by_version: Mutex<HashMap<(String, u32), Arc<RegisteredSchema>>>,
    registered: Mutex<HashMap<(String, Arc<str>), u32>>,
}

/// What is known of an id. Locked while it is being asked for, so that nobody else asks.
type Slot = Arc<Mutex<Option<Known>>>;

#[derive(Clone)]
enum Known {
    Schema(Arc<RegisteredSchema>),
    Failed(RegistryError, Instant),
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.client.urls()).finish()
    }
}

impl Registry {
    /// A client. Nothing is asked yet.
    ///
    /// # Errors
    /// [`RegistryError::Options`] if an address, a certificate or a header cannot be used.
    pub fn new(options: RegistryOptions) -> Result<Self, RegistryError> {
        Ok(Self {
            client: Client::new(options)?,
            by_id: Mutex::default(),
            by_version: Mutex::default(),
            registered: Mutex::default(),
        })
    }

    /// The schema with that id.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] if there is none, others if that could not be found out.
    pub fn schema(&self, id: u32) -> Result<Arc<RegisteredSchema>, RegistryError> {
        let asked = Instant::now();
        let slot = Arc::clone(lock(&self.by_id).entry(id).or_default());
        let mut known = lock(&slot);
        match &*known {
            Some(Known::Schema(schema)) => return Ok(Arc::clone(schema)),
            Some(Known::Failed(error @ RegistryError::NotFound { .. }, at))
                if at.elapsed() < UNKNOWN_FOR =>
            {
                return Err(error.clone());
            }
            // Someone else has tried while we waited for him.
            Some(Known::Failed(error, at)) if *at >= asked => return Err(error.clone()),
            _ => {}
        }
        let what = format!("schema {id}");
        let answer = self.client.get(&format!("/schemas/ids/{id}"), &what);
        match answer.and_then(|answer| self.registered_schema(&answer, Some(id))) {
            Ok(schema) => {
                let schema = Arc::new(schema);
                *known = Some(Known::Schema(Arc::clone(&schema)));
                Ok(schema)
            }
            Err(error) => {
                *known = Some(Known::Failed(error.clone(), Instant::now()));
                Err(error)
            }
        }
    }

    /// The schema that a record names, which has to be of that language. The inner error is a
    /// verdict on the record.
    pub(super) fn schema_of_record(
        &self,
        id: u32,
        kind: SchemaKind,
    ) -> Result<Result<Arc<RegisteredSchema>, RecordError>, RegistryError> {
        match self.schema(id) {
            Ok(schema) if schema.kind == kind => Ok(Ok(schema)),
            Ok(schema) => {
                let detail = format!(
                    "schema {id} is of type {}, expected {}",
                    schema.kind.name(),
                    kind.name()
                );
                Ok(Err(RecordError::new(Reason::IncompatibleSchema, 1).with_detail(detail)))
            }
            Err(RegistryError::NotFound { .. }) => {
                let error = RecordError::new(Reason::UnknownSchema, 1);
                Ok(Err(error.with_detail(format!("id {id}"))))
            }
            Err(error) => Err(error),
        }
    }

    /// A version of a subject.
    ///
    /// # Errors
    /// As [`Registry::schema`].
    pub fn version(
        &self,
        subject: &str,
        version: u32,
    ) -> Result<Arc<RegisteredSchema>, RegistryError> {
        let key = (subject.to_owned(), version);
        if let Some(schema) = lock(&self.by_version).get(&key) {
            return Ok(Arc::clone(schema));
        }
        let schema = Arc::new(self.subject(subject, &version.to_string())?);
        lock(&self.by_version).insert(key, Arc::clone(&schema));
        Ok(schema)
    }

    /// The latest version of a subject, asked for anew at each call.
    ///
    /// # Errors
    /// As [`Registry::schema`].
    pub fn latest(&self, subject: &str) -> Result<RegisteredSchema, RegistryError> {
        self.subject(subject, "latest")
    }

    fn subject(&self, subject: &str, version: &str) -> Result<RegisteredSchema, RegistryError> {
        let what = format!("subject \"{subject}\", version {version}");
        let path = format!("/subjects/{}/versions/{version}", segment(subject));
        let answer = self.client.get(&path, &what)?;
        let id = answer.get("id").and_then(Value::as_u64);
        self.registered_schema(&answer, id.and_then(|id| u32::try_from(id).ok()))
    }

    /// All schemas that `schema` refers to, directly or not, with the names that they are referred to
    /// by. Those that others refer to come before them.
    ///
    /// # Errors
    /// As [`Registry::schema`]; also if there are cycles, or far too many.
    pub fn references(
        &self,
        schema: &RegisteredSchema,
    ) -> Result<Vec<(String, Arc<str>)>, RegistryError> {
        let mut found = Vec::new();
        let mut left = MAX_REFERENCES;
        self.collect(schema, &mut found, &mut left, 0)?;
        Ok(found)
    }

    fn collect(
        &self,
        schema: &RegisteredSchema,
        found: &mut Vec<(String, Arc<str>)>,
        left: &mut usize,
        depth: usize,
    ) -> Result<(), RegistryError> {
        for reference in &schema.references {
            if found.iter().any(|(name, _)| *name == reference.name) {
                continue;
            }
            if depth > MAX_REFERENCES / 4 || *left == 0 {
                return Err(self.client.nonsense("schemas refer to each other without end"));
            }
            *left -= 1;
            let referred = self.version(&reference.subject, reference.version)?;
            self.collect(&referred, found, left, depth + 1)?;
            found.push((reference.name.clone(), Arc::clone(&referred.text)));
        }
        Ok(())
    }

    /// Registers a schema under a subject and returns its id; if it is there already, that has no
    /// effect.
    ///
    /// # Errors
    /// [`RegistryError::Refused`] if the schema is not one, or not compatible with the subject's
    /// others; others if the registry could not be asked.
    pub fn register(
        &self,
        subject: &str,
        kind: SchemaKind,
        text: &str,
    ) -> Result<u32, RegistryError> {
        let key = (subject.to_owned(), Arc::from(text));
        if let Some(id) = lock(&self.registered).get(&key) {
            return Ok(*id);
        }
        let mut body = json!({ "schema": text });
        if kind != SchemaKind::Avro {
            body["schemaType"] = kind.name().into();
        }
        let what = format!("the schema for subject \"{subject}\"");
        let path = format!("/subjects/{}/versions", segment(subject));
        let answer = self.client.post(&path, &body, &what)?;
        let id = answer.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
        let id = id.ok_or_else(|| self.client.nonsense("no \"id\""))?;
        lock(&self.registered).insert(key, id);
        Ok(id)
    }

    fn registered_schema(
        &self,
        answer: &Value,
        id: Option<u32>,
    ) -> Result<RegisteredSchema, RegistryError> {
        let Some(text) = answer.get("schema").and_then(Value::as_str) else {
            return Err(self.client.nonsense("no \"schema\""));
        };
        let kind = match answer.get("schemaType").and_then(Value::as_str) {
            None => SchemaKind::Avro,
            Some(name) => SchemaKind::parse(name)
                .ok_or_else(|| self.client.nonsense(&format!("unknown schema type {name}")))?,
        };
        let references = answer.get("references").and_then(Value::as_array);
        let references = references.map_or(&[][..], Vec::as_slice).iter().map(|reference| {
            let version = reference.get("version").and_then(Value::as_u64);
            Some(Reference {
                name: reference.get("name")?.as_str()?.to_owned(),
                subject: reference.get("subject")?.as_str()?.to_owned(),
                version: u32::try_from(version?).ok()?,
            })
        });
        let references = references
            .collect::<Option<_>>()
            .ok_or_else(|| self.client.nonsense("a reference without name, subject or version"))?;
        Ok(RegisteredSchema { id, kind, text: text.into(), references })
    }
}

/// A thread that panicked has left at worst an entry that is not there.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A name as one segment of a path.
fn segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The schema's id in a payload that is framed as Confluent's serialisers do it: a zero byte and the
/// id, four bytes big-endian.
pub(super) fn framed(payload: &[u8]) -> Result<u32, RecordError> {
    match payload {
        [0, a, b, c, d, ..] => Ok(u32::from_be_bytes([*a, *b, *c, *d])),
        [] => Err(RecordError::new(Reason::Empty, 0)),
        [0, ..] => Err(RecordError::new(Reason::Truncated, payload.len())),
        _ => {
            let problem = "the record does not begin with a zero byte and a schema id";
            Err(RecordError::new(Reason::Framing(problem), 0))
        }
    }
}
