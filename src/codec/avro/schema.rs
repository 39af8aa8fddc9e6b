//! Avro schemas: the JSON text to a tree (Avro 1.12 specification, "Schema Declaration").

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::codec::CodecError;

/// How deep types may nest in each other, named ones not followed.
const MAX_NESTING: usize = 64;

/// A parsed schema.
#[derive(Debug, Clone)]
pub struct AvroSchema {
    pub(super) root: Node,
    /// The named types, in the order of their definition.
    pub(super) types: Vec<Named>,
}

/// A type as it is used.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub kind: Kind,
    pub meaning: Meaning,
}

/// What is written.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Array(Box<Node>),
    Map(Box<Node>),
    Union(Vec<Node>),
    /// An index into [`AvroSchema::types`].
    Named(usize),
}

/// What it stands for: a logical type, or one of those that Kafka Connect and Debezium write beside
/// the type. A logical type that does not go with its type counts for nothing, as the
/// specification has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Plain,
    Decimal {
        scale: i32,
    },
    /// Days since the epoch.
    Date,
    /// Instants since the epoch, by how many of them make a second. (Local timestamps too: they
    /// are taken to be UTC.)
    Timestamp {
        per_second: i64,
    },
    /// Sixteen bytes.
    Uuid,
}

/// A record, an enumeration or a fixed.
#[derive(Debug, Clone)]
pub(super) struct Named {
    /// With its namespace.
    pub name: String,
    pub definition: Definition,
    pub meaning: Meaning,
}

#[derive(Debug, Clone)]
pub(super) enum Definition {
    Record(Vec<Field>),
    Enum(Vec<String>),
    Fixed(usize),
}

#[derive(Debug, Clone)]
pub(super) struct Field {
    pub name: String,
    pub aliases: Vec<String>,
    pub node: Node,
    pub default: Option<Value>,
}

impl AvroSchema {
    /// Parses a schema.
    ///
    /// # Errors
    /// [`CodecError::Schema`] if the text is not an Avro schema.
    pub fn parse(text: &str) -> Result<Self, CodecError> {
        Self::parse_with(text, &[])
    }

    /// Parses a schema whose named types may be defined by `references`, those that others need
    /// first (in a registry, references are the schemas that a schema names).
    ///
    /// # Errors
    /// [`CodecError::Schema`] if one of the texts is not an Avro schema.
    pub fn parse_with(text: &str, references: &[&str]) -> Result<Self, CodecError> {
        let mut parser = Parser::default();
        let mut parse = |text: &str| {
            // A primitive's name is sometimes registered without its quotes.
            let value = match serde_json::from_str(text) {
                Ok(value) => value,
                Err(_) if primitive(text.trim()).is_some() => Value::String(text.trim().to_owned()),
                Err(error) => return Err(format!("not JSON: {error}")),
            };
            parser.node(&value, "", 0)
        };
        let problem = |problem| CodecError::Schema { format: "Avro", problem };
        for reference in references {
            parse(reference).map_err(problem)?;
        }
        let root = parse(text).map_err(problem)?;
        let types = parser.types.into_iter().collect::<Option<Vec<_>>>();
        let types = types.ok_or_else(|| problem("a type is not defined".to_owned()))?;
        Ok(Self { root, types })
    }

    /// The fields, if `node` is a record.
    pub(super) fn fields(&self, node: &Node) -> Option<&[Field]> {
        match &node.kind {
            Kind::Named(index) => match &self.types.get(*index)?.definition {
                Definition::Record(fields) => Some(fields),
                _ => None,
            },
            _ => None,
        }
    }

    /// A type's name for error messages.
    pub(super) fn describe(&self, node: &Node) -> String {
        let name = match &node.kind {
            Kind::Null => "null",
            Kind::Boolean => "boolean",
            Kind::Int => "int",
            Kind::Long => "long",
            Kind::Float => "float",
            Kind::Double => "double",
            Kind::Bytes => "bytes",
            Kind::String => "string",
            Kind::Array(_) => "an array",
            Kind::Map(_) => "a map",
            Kind::Union(branches) => {
                let names: Vec<String> = branches.iter().map(|b| self.describe(b)).collect();
                return format!("a union of {}", names.join(", "));
            }
            Kind::Named(index) => match self.types.get(*index) {
                Some(named) => {
                    let kind = match named.definition {
                        Definition::Record(_) => "record",
                        Definition::Enum(_) => "enum",
                        Definition::Fixed(_) => "fixed",
                    };
                    return format!("{kind} {}", named.name);
                }
                None => "an unknown type",
            },
        };
        match self.meaning(node) {
            Meaning::Plain => name.to_owned(),
            Meaning::Decimal { scale } => format!("decimal of scale {scale} ({name})"),
            Meaning::Date => format!("date ({name})"),
            Meaning::Timestamp { .. } => format!("timestamp ({name})"),
            Meaning::Uuid => format!("uuid ({name})"),
        }
    }

    /// What a value stands for: at its use, or by the definition of its type.
    pub(super) fn meaning(&self, node: &Node) -> Meaning {
        match (&node.kind, node.meaning) {
            (Kind::Named(index), Meaning::Plain) => {
                self.types.get(*index).map_or(Meaning::Plain, |named| named.meaning)
            }
            (_, meaning) => meaning,
        }
    }
}

#[derive(Default)]
struct Parser {
    /// None while a type is being defined (a record may contain itself).
    types: Vec<Option<Named>>,
    by_name: HashMap<String, usize>,
}

impl Parser {
    fn node(&mut self, value: &Value, namespace: &str, depth: usize) -> Result<Node, String> {
        if depth > MAX_NESTING {
            return Err(format!("types are nested more than {MAX_NESTING} deep"));
        }
        match value {
            Value::String(name) => self.by_name(name, namespace),
            Value::Array(branches) => {
                let branches = branches
                    .iter()
                    .map(|branch| self.node(branch, namespace, depth + 1))
                    .collect::<Result<Vec<_>, _>>()?;
                if branches.iter().any(|branch| matches!(branch.kind, Kind::Union(_))) {
                    return Err("a union directly within a union".to_owned());
                }
                Ok(Kind::Union(branches).into())
            }
            Value::Object(object) => self.object(object, namespace, depth),
            _ => Err(format!("expected a type, found {value}")),
        }
    }

    fn by_name(&self, name: &str, namespace: &str) -> Result<Node, String> {
        if let Some(kind) = primitive(name) {
            return Ok(kind.into());
        }
        let full = full_name(name, namespace);
        // Some writers forget the namespace of a type in their own.
        match self.by_name.get(&full).or_else(|| self.by_name.get(name)) {
            Some(index) => Ok(Kind::Named(*index).into()),
            None => Err(format!("unknown type \"{full}\"")),
        }
    }

    fn object(
        &mut self,
        object: &Map<String, Value>,
        namespace: &str,
        depth: usize,
    ) -> Result<Node, String> {
        let Some(kind) = object.get("type") else {
            return Err("a type without \"type\"".to_owned());
        };
        let Value::String(kind) = kind else { return self.node(kind, namespace, depth + 1) };
        let child = |key: &str| object.get(key).ok_or(format!("{kind} without \"{key}\""));
        let mut node: Node = match kind.as_str() {
            "array" => {
                Kind::Array(Box::new(self.node(child("items")?, namespace, depth + 1)?)).into()
            }
            "map" => Kind::Map(Box::new(self.node(child("values")?, namespace, depth + 1)?)).into(),
            "record" | "error" | "enum" | "fixed" => {
                return self.define(kind, object, namespace, depth);
            }
            name => self.by_name(name, namespace)?,
        };
        node.meaning = meaning(&node.kind, None, object);
        Ok(node)
    }

    fn define(
        &mut self,
        kind: &str,
        object: &Map<String, Value>,
        namespace: &str,
        depth: usize,
    ) -> Result<Node, String> {
        let name = text(object, "name").ok_or(format!("{kind} without a name"))?;
        let namespace = text(object, "namespace").unwrap_or(namespace);
        let name = full_name(name, namespace);
        let namespace = name.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
        let index = self.types.len();
        if self.by_name.insert(name.clone(), index).is_some() {
            return Err(format!("type \"{name}\" is defined twice"));
        }
        for alias in texts(object, "aliases") {
            self.by_name.entry(full_name(&alias, &namespace)).or_insert(index);
        }
        self.types.push(None);
        let definition = match kind {
            "enum" => {
                let symbols = texts(object, "symbols");
                if symbols.is_empty() {
                    return Err(format!("enum \"{name}\" has no symbols"));
                }
                Definition::Enum(symbols)
            }
            "fixed" => {
                let size = object.get("size").and_then(Value::as_u64);
                let size = size.and_then(|size| usize::try_from(size).ok());
                match size.filter(|size| *size <= i32::MAX as usize) {
                    Some(size) => Definition::Fixed(size),
                    None => return Err(format!("fixed \"{name}\" has no valid size")),
                }
            }
            _ => {
                let Some(Value::Array(fields)) = object.get("fields") else {
                    return Err(format!("record \"{name}\" has no fields"));
                };
                let fields = fields.iter().map(|field| self.field(field, &namespace, depth));
                Definition::Record(fields.collect::<Result<_, _>>()?)
            }
        };
        let size = match definition {
            Definition::Fixed(size) => Some(size),
            _ => None,
        };
        let meaning = meaning(&Kind::Named(index), size, object);
        self.types[index] = Some(Named { name, definition, meaning });
        Ok(Kind::Named(index).into())
    }

    fn field(&mut self, field: &Value, namespace: &str, depth: usize) -> Result<Field, String> {
        let Value::Object(field) = field else { return Err("a field is not an object".into()) };
        let name = text(field, "name").ok_or("a field without a name")?.to_owned();
        let Some(node) = field.get("type") else {
            return Err(format!("field \"{name}\" has no type"));
        };
        let node = self.node(node, namespace, depth + 1)?;
        let default = field.get("default").cloned();
        Ok(Field { aliases: texts(field, "aliases"), node, default, name })
    }
}

impl From<Kind> for Node {
    fn from(kind: Kind) -> Self {
        Self { kind, meaning: Meaning::Plain }
    }
}

fn primitive(name: &str) -> Option<Kind> {
    Some(match name {
        "null" => Kind::Null,
        "boolean" => Kind::Boolean,
        "int" => Kind::Int,
        "long" => Kind::Long,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "bytes" => Kind::Bytes,
        "string" => Kind::String,
        _ => return None,
    })
}

/// The meaning of a type that is declared by `object`. `fixed` is the size of a fixed.
fn meaning(kind: &Kind, fixed: Option<usize>, object: &Map<String, Value>) -> Meaning {
    let per_second = |per_second| Meaning::Timestamp { per_second };
    let logical = text(object, "logicalType").unwrap_or_default();
    match (kind, logical) {
        (Kind::Bytes, "decimal") => decimal(object),
        (Kind::Named(_), "decimal") if fixed.is_some() => decimal(object),
        (Kind::Int, "date") => Meaning::Date,
        (Kind::Long, "timestamp-millis" | "local-timestamp-millis") => per_second(1_000),
        (Kind::Long, "timestamp-micros" | "local-timestamp-micros") => per_second(1_000_000),
        (Kind::Long, "timestamp-nanos" | "local-timestamp-nanos") => per_second(1_000_000_000),
        (Kind::Named(_), "uuid") if fixed == Some(16) => Meaning::Uuid,
        // What Debezium and Connect write where there is no logical type, or none that is wide enough.
        (Kind::Int | Kind::Long, _) => match text(object, "connect.name").unwrap_or_default() {
            "io.debezium.time.Date" | "org.apache.kafka.connect.data.Date" => Meaning::Date,
            "io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp" => {
                per_second(1_000)
            }
            "io.debezium.time.MicroTimestamp" => per_second(1_000_000),
            "io.debezium.time.NanoTimestamp" => per_second(1_000_000_000),
            _ => Meaning::Plain,
        },
        _ => Meaning::Plain,
    }
}

fn decimal(object: &Map<String, Value>) -> Meaning {
    let number = |key| object.get(key).and_then(Value::as_i64);
    let scale = number("scale").unwrap_or(0);
    match (number("precision"), i32::try_from(scale)) {
        (Some(precision), Ok(scale @ 0..=10_000)) if precision >= 1 => Meaning::Decimal { scale },
        _ => Meaning::Plain,
    }
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

fn texts(object: &Map<String, Value>, key: &str) -> Vec<String> {
    let texts = object.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    texts.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn full_name(name: &str, namespace: &str) -> String {
    match name.contains('.') || namespace.is_empty() {
        true => name.to_owned(),
        false => format!("{namespace}.{name}"),
    }
}
