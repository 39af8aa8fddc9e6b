//! What to do with each value of a writer's schema: schema resolution, done once a schema.
//!
//! The reader's schema are the declared columns. The rules are those of the specification
//! ("Schema Resolution"), with the declared type in the reader's place: int widens to long, float
//! and double, long to float and double, float to double; string and bytes are each other's. Beyond
//! it, integers may be declared narrower (each value is checked), decimals with another scale or
//! precision (rounded half up, as JSON's), and text may be declared TIMESTAMP or DATE.

use std::sync::Arc;

use super::default::DefaultValue;
use super::schema::{AvroSchema, Definition, Field, Kind, Meaning, Node};
use crate::codec::columns::{Column, Values};
use crate::codec::ddl::type_name;

/// Why a type cannot be read into a column: the column's path, and the two types.
#[derive(Debug, Clone)]
pub(in crate::codec) struct Misfit {
    pub path: Arc<str>,
    pub problem: String,
}

/// How to read one value into a column.
#[derive(Debug)]
pub(super) enum Op {
    Null,
    Boolean,
    /// Any integer to any integer column, checked.
    Integer,
    IntegerToFloat,
    IntegerToDouble,
    /// To a DECIMAL.
    IntegerToDecimal,
    /// An int, to a DATE.
    Days,
    /// A long, to a TIMESTAMP: microseconds are `value * multiply / divide`, rounded down.
    Instant {
        multiply: i64,
        divide: i64,
    },
    Float,
    FloatToDouble,
    Double,
    /// Bytes or string, to a BINARY.
    Bytes,
    /// The same to a STRING.
    Text,
    /// A string to a TIMESTAMP or a DATE.
    TextToTime,
    /// Big-endian two's complement of `scale`, with its length before it or of `size` bytes.
    Decimal {
        scale: i32,
        size: Option<usize>,
    },
    /// A fixed to a BINARY.
    Fixed(usize),
    /// Sixteen bytes to a STRING.
    Uuid,
    Enum(Vec<String>),
    Record(Record),
    Array(Box<Op>),
    Map(Box<Op>),
    /// By branch; a value of one that does not fit makes the record a bad one.
    Union(Vec<Result<Op, Misfit>>),
    /// A union of several types to a STRUCT of `member0`, `member1` ..., as Spark reads it. By
    /// branch: which member, and how; None for null.
    Members(Vec<Option<(usize, Op)>>),
}

/// How to read the fields of a record into columns.
#[derive(Debug)]
pub(super) struct Record {
    /// In the order in which they are written.
    pub steps: Vec<Step>,
    /// Columns that the writer's schema does not have, and what they get.
    pub missing: Vec<(usize, Option<DefaultValue>)>,
}

#[derive(Debug)]
pub(super) enum Step {
    Skip(Node),
    Read(usize, Op),
}

/// Resolves a writer's schema against columns. `reader` is the schema that gives defaults and
/// aliases, if there is one.
pub(super) struct Resolver<'a> {
    pub writer: &'a AvroSchema,
    pub reader: Option<&'a AvroSchema>,
}

impl Resolver<'_> {
    /// Resolves the fields of a record against the columns that they go into.
    pub fn record(
        &self,
        fields: &[Field],
        columns: &[Column],
        reader: Option<&Node>,
    ) -> Result<Record, Misfit> {
        let declared = self.reader.zip(reader).and_then(|(schema, node)| schema.fields(node));
        // The reader's field of a column, for its default, its aliases and what is within it.
        let known = |column: &Column| {
            declared
                .and_then(|fields| fields.iter().find(|field| field.name == *column.field.name()))
        };
        let mut taken = vec![false; columns.len()];
        let mut steps = Vec::with_capacity(fields.len());
        for field in fields {
            let found = find(columns, field, &known).filter(|index| !taken[*index]);
            steps.push(match found {
                Some(index) => {
                    taken[index] = true;
                    let column = &columns[index];
                    let reader = known(column).map(|field| &field.node);
                    Step::Read(index, self.op(&field.node, column, reader)?)
                }
                None => Step::Skip(field.node.clone()),
            });
        }
        let missing = columns.iter().enumerate().filter(|(index, _)| !taken[*index]);
        let missing = missing
            .map(|(index, column)| {
                let default = self.reader.zip(known(column)).and_then(|(schema, field)| {
                    DefaultValue::new(field.default.as_ref()?, schema, &field.node, column)
                });
                (index, default)
            })
            .collect();
        Ok(Record { steps, missing })
    }

    /// Resolves one type against the column that it goes into.
    pub fn op(&self, node: &Node, column: &Column, reader: Option<&Node>) -> Result<Op, Misfit> {
        let misfit = || Misfit {
            path: Arc::clone(&column.path),
            problem: format!(
                "{} cannot be read as {}",
                self.writer.describe(node),
                type_name(column.field.data_type())
            ),
        };
        // A nullable type in the reader's schema is a union with null.
        let reader = reader.and_then(without_null);
        let meaning = self.writer.meaning(node);
        match (&node.kind, &column.values) {
            (Kind::Union(branches), values) => {
                let several = branches.iter().filter(|b| !matches!(b.kind, Kind::Null)).count() > 1;
                if several
                    && let Values::Struct(members) = values
                    && members.iter().all(|member| member.field.name().starts_with("member"))
                {
                    return self.members(branches, members).ok_or_else(misfit);
                }
                let ops: Vec<_> =
                    branches.iter().map(|branch| self.op(branch, column, reader)).collect();
                // Null alone goes into any column.
                match ops.iter().any(|op| !matches!(op, Err(_) | Ok(Op::Null))) || !several {
                    true => match ops.iter().find_map(|op| op.as_ref().err()) {
                        Some(misfit) if !several => Err(misfit.clone()),
                        _ => Ok(Op::Union(ops)),
                    },
                    false => Err(misfit()),
                }
            }
            (Kind::Null, _) => Ok(Op::Null),
            (Kind::Boolean, Values::Boolean(_)) => Ok(Op::Boolean),
            (
                Kind::Int | Kind::Long,
                Values::Int8(_) | Values::Int16(_) | Values::Int32(_) | Values::Int64(_),
            ) => Ok(Op::Integer),
            (Kind::Int | Kind::Long, Values::Float32(_)) => Ok(Op::IntegerToFloat),
            (Kind::Int | Kind::Long, Values::Float64(_)) => Ok(Op::IntegerToDouble),
            (Kind::Int | Kind::Long, Values::Decimal(..)) => Ok(Op::IntegerToDecimal),
            (Kind::Int | Kind::Long, Values::Date(_)) if meaning == Meaning::Date => Ok(Op::Days),
            (Kind::Int | Kind::Long, Values::Timestamp(_)) => match meaning {
                Meaning::Timestamp { per_second } if per_second > 1_000_000 => {
                    Ok(Op::Instant { multiply: 1, divide: per_second / 1_000_000 })
                }
                Meaning::Timestamp { per_second } => {
                    Ok(Op::Instant { multiply: 1_000_000 / per_second.max(1), divide: 1 })
                }
                _ => Err(misfit()),
            },
            (Kind::Float, Values::Float32(_)) => Ok(Op::Float),
            (Kind::Float, Values::Float64(_)) => Ok(Op::FloatToDouble),
            (Kind::Double, Values::Float64(_)) => Ok(Op::Double),
            (Kind::Bytes, Values::Decimal(..)) => match meaning {
                Meaning::Decimal { scale } => Ok(Op::Decimal { scale, size: None }),
                _ => Err(misfit()),
            },
            (Kind::Bytes | Kind::String, Values::Binary(_)) => Ok(Op::Bytes),
            (Kind::Bytes | Kind::String, Values::Utf8(_)) => Ok(Op::Text),
            (Kind::String, Values::Timestamp(_) | Values::Date(_)) => Ok(Op::TextToTime),
            (Kind::Array(items), Values::List(_, element)) => {
                let reader = reader.and_then(|node| match &node.kind {
                    Kind::Array(items) => Some(&**items),
                    _ => None,
                });
                Ok(Op::Array(Box::new(self.op(items, element, reader)?)))
            }
            (Kind::Map(values), Values::Map(map)) => {
                let reader = reader.and_then(|node| match &node.kind {
                    Kind::Map(values) => Some(&**values),
                    _ => None,
                });
                Ok(Op::Map(Box::new(self.op(values, &map.values, reader)?)))
            }
            (Kind::Named(index), values) => {
                let definition = self.writer.types.get(*index).map(|named| &named.definition);
                match (definition, values) {
                    (Some(Definition::Record(fields)), Values::Struct(columns)) => {
                        Ok(Op::Record(self.record(fields, columns, reader)?))
                    }
                    (Some(Definition::Enum(symbols)), Values::Utf8(_)) => {
                        Ok(Op::Enum(symbols.clone()))
                    }
                    (Some(Definition::Fixed(size)), Values::Decimal(..)) => match meaning {
                        Meaning::Decimal { scale } => Ok(Op::Decimal { scale, size: Some(*size) }),
                        _ => Err(misfit()),
                    },
                    (Some(Definition::Fixed(16)), Values::Utf8(_)) if meaning == Meaning::Uuid => {
                        Ok(Op::Uuid)
                    }
                    (Some(Definition::Fixed(size)), Values::Binary(_)) => Ok(Op::Fixed(*size)),
                    _ => Err(misfit()),
                }
            }
            _ => Err(misfit()),
        }
    }

    /// A union as a STRUCT of its members, if each of the columns fits.
    fn members(&self, branches: &[Node], members: &[Column]) -> Option<Op> {
        let mut next = 0;
        let mut ops = Vec::with_capacity(branches.len());
        for branch in branches {
            if matches!(branch.kind, Kind::Null) {
                ops.push(None);
                continue;
            }
            let name = format!("member{next}");
            let index = members.iter().position(|member| *member.field.name() == name)?;
            ops.push(Some((index, self.op(branch, &members[index], None).ok()?)));
            next += 1;
        }
        // A member that no branch fills would stay without a value.
        (next == members.len()).then_some(Op::Members(ops))
    }
}

/// The column that a writer's field goes into: by name, by an alias that the reader's schema gives,
/// or by name without regard to case if that is clear.
fn find<'a>(
    columns: &[Column],
    field: &Field,
    known: &impl Fn(&Column) -> Option<&'a Field>,
) -> Option<usize> {
    let exactly = columns.iter().position(|column| *column.field.name() == field.name);
    let by_alias = || {
        columns
            .iter()
            .position(|column| known(column).is_some_and(|f| f.aliases.contains(&field.name)))
    };
    let by_case = || {
        let mut alike = (columns.iter().enumerate())
            .filter(|(_, column)| column.field.name().eq_ignore_ascii_case(&field.name));
        match (alike.next(), alike.next()) {
            (Some((index, _)), None) => Some(index),
            _ => None,
        }
    };
    exactly.or_else(by_alias).or_else(by_case)
}

/// The one type in a union with null; the type itself if it is no union.
fn without_null(node: &Node) -> Option<&Node> {
    match &node.kind {
        Kind::Union(branches) => {
            let mut others = branches.iter().filter(|b| !matches!(b.kind, Kind::Null));
            others.next().filter(|_| others.next().is_none())
        }
        _ => Some(node),
    }
}
