//! Records that hold a row before and after a change: Debezium's.

use std::sync::Arc;

use super::input::Input;
use super::plan::{Misfit, Record, Resolver};
use super::schema::{AvroSchema, Kind, Node};
use crate::codec::RecordError;
use crate::codec::columns::Column;

/// How to find the parts of an envelope, and to read its rows into columns.
#[derive(Debug)]
pub(in crate::codec) struct Envelope {
    schema: Arc<AvroSchema>,
    row: Record,
}

/// A part of an envelope, with its name.
#[derive(Debug)]
pub(in crate::codec) enum EnvelopeField<'a> {
    Text(&'a str, &'a [u8]),
    /// `ts_ms` and `source.ts_ms`.
    Long(&'a str, i64),
    /// Where a row begins that is not null.
    Row(&'a str, usize),
}

impl Envelope {
    /// Plans how to read the rows of an envelope. None if the schema is not that of one: a record
    /// with a field `after` which is a record or null.
    pub fn new(
        schema: Arc<AvroSchema>,
        defaults: Option<&AvroSchema>,
        columns: &[Column],
    ) -> Option<Result<Self, Misfit>> {
        let fields = schema.fields(&schema.root)?;
        let after = &fields.iter().find(|field| field.name == "after")?.node;
        let row = schema.fields(not_null(after))?;
        // Defaults are of the row's schema, or of the envelope's.
        let reader = defaults.map(|defaults| {
            let envelope = defaults.fields(&defaults.root).unwrap_or_default();
            let after = envelope.iter().find(|field| field.name == "after");
            after.map_or(&defaults.root, |field| not_null(&field.node))
        });
        let resolver = Resolver { writer: &schema, reader: defaults };
        let row = match resolver.record(row, columns, reader) {
            Ok(row) => row,
            Err(misfit) => return Some(Err(misfit)),
        };
        Some(Ok(Self { schema, row }))
    }

    /// Shows `visit` the parts of the envelope that begins at `start` and is all of the rest.
    pub fn walk<'a>(
        &'a self,
        payload: &'a [u8],
        start: usize,
        mut visit: impl FnMut(EnvelopeField<'a>),
    ) -> Result<(), RecordError> {
        let mut input = Input::new(payload, start);
        // `new` has found the fields.
        for field in self.schema.fields(&self.schema.root).unwrap_or_default() {
            let name = field.name.as_str();
            let Some(node) = self.branch(&mut input, &field.node)? else { continue };
            match (name, &node.kind) {
                ("before" | "after", Kind::Named(_)) => {
                    visit(EnvelopeField::Row(name, input.at));
                    input.skip(&self.schema, node)?;
                }
                ("op", Kind::String) => visit(EnvelopeField::Text(name, input.bytes()?)),
                ("ts_ms", Kind::Long) => visit(EnvelopeField::Long(name, input.long()?)),
                ("source", Kind::Named(_)) => match self.schema.fields(node) {
                    Some(fields) => {
                        for field in fields {
                            match self.branch(&mut input, &field.node)? {
                                Some(Node { kind: Kind::Long, .. }) if field.name == "ts_ms" => {
                                    let millis = input.long()?;
                                    visit(EnvelopeField::Long("source.ts_ms", millis));
                                }
                                Some(node) => input.skip(&self.schema, node)?,
                                None => {}
                            }
                        }
                    }
                    None => input.skip(&self.schema, node)?,
                },
                _ => input.skip(&self.schema, node)?,
            }
        }
        input.end()
    }

    /// Reads the row that begins at `start` into columns. Returns what it added.
    pub fn read_row(
        &self,
        payload: &[u8],
        start: usize,
        columns: &mut [Column],
    ) -> Result<usize, RecordError> {
        let mut input = Input::new(payload, start);
        self.row.read(&self.schema, &mut input, columns)?;
        Ok(input.volume())
    }

    /// The type that stands here: of a union its branch, which is read. None if it is null.
    fn branch<'a>(
        &'a self,
        input: &mut Input<'_>,
        node: &'a Node,
    ) -> Result<Option<&'a Node>, RecordError> {
        let node = match &node.kind {
            Kind::Union(branches) => &branches[input.index(branches.len())?],
            _ => node,
        };
        Ok(Some(node).filter(|node| !matches!(node.kind, Kind::Null)))
    }
}

/// The first type in a union that is not null; the type itself if it is no union.
fn not_null(node: &Node) -> &Node {
    match &node.kind {
        Kind::Union(branches) => {
            branches.iter().find(|branch| !matches!(branch.kind, Kind::Null)).unwrap_or(node)
        }
        _ => node,
    }
}
