//! Spark DDL schema strings to Arrow schemas.
//!
//! The grammar is the one that Spark's `StructType.fromDDL` reads:
//!
//! ```text
//! schema  := column (',' column)*
//! column  := name [':'] type ['NOT' 'NULL'] ['COMMENT' 'text']
//! name    := letters, digits and '_', or anything within `back quotes` (`` is one back quote)
//! type    := BOOLEAN | TINYINT | SMALLINT | INT | BIGINT | FLOAT | DOUBLE | DECIMAL[(p[, s])]
//!          | STRING | VARCHAR(n) | CHAR(n) | BINARY | DATE | TIMESTAMP
//!          | STRUCT<column, ...> | ARRAY<type> | MAP<STRING, type>
//! ```
//!
//! Keywords may be written in any case. `DECIMAL` alone is `DECIMAL(10, 0)`. The length of a
//! `VARCHAR` or `CHAR` is checked for syntax and then ignored, as Spark does when it reads JSON.
//! Column names are compared without regard to case when duplicates are looked for, because
//! neither Spark SQL nor Delta could tell them apart later.
//!
//! Array elements and map values are nullable; they and the entries of a map have the names
//! (`element`, `key_value`, `key`, `value`) that Delta Lake gives them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};

/// How deep types may nest in each other. Far above any real schema; it bounds the recursion
/// here and in everything that walks a schema afterwards.
const MAX_NESTING: usize = 32;

/// The type names that are offered when one is misspelt.
const TYPE_NAMES: [&str; 24] = [
    "BOOLEAN",
    "TINYINT",
    "BYTE",
    "SMALLINT",
    "SHORT",
    "INT",
    "INTEGER",
    "BIGINT",
    "LONG",
    "FLOAT",
    "REAL",
    "DOUBLE",
    "DECIMAL",
    "DEC",
    "NUMERIC",
    "STRING",
    "VARCHAR",
    "CHAR",
    "BINARY",
    "DATE",
    "TIMESTAMP",
    "STRUCT",
    "ARRAY",
    "MAP",
];

/// Why a DDL string is not a schema, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at byte {offset} of the schema)")]
pub struct DdlError {
    /// What is wrong, and where it helps what was probably meant.
    pub message: String,
    /// Where, in bytes from the start of the text.
    pub offset: usize,
}

/// Parses a Spark DDL schema string; see the module's text for the grammar.
///
/// # Errors
/// [`DdlError`] with the byte offset of the first thing that cannot be read: a syntax error, an
/// unknown type (the nearest known name is offered), a type that cannot come from JSON, a
/// duplicate name, or a schema without columns.
///
/// ```
/// let schema = millpond::codec::parse_schema("ts TIMESTAMP NOT NULL, tags ARRAY<STRING>").unwrap();
/// assert!(!schema.field(0).is_nullable());
/// ```
pub fn parse_schema(text: &str) -> Result<SchemaRef, DdlError> {
    let mut parser = Parser { text, at: 0 };
    parser.space();
    if parser.rest().is_empty() {
        return parser.fail("the schema is empty: declare at least one column");
    }
    let fields = parser.columns(None, 0)?;
    Ok(Arc::new(Schema::new(fields)))
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, DdlError> {
        self.fail_at(self.at, message)
    }

    fn fail_at<T>(&self, offset: usize, message: impl Into<String>) -> Result<T, DdlError> {
        Err(DdlError { message: message.into(), offset })
    }

    /// What stands here, for an error message.
    fn found(&self) -> String {
        match self.peek() {
            None => "the end of the schema".to_owned(),
            Some(c) if is_word(c) => format!("'{}'", self.word_here()),
            Some(c) => format!("'{}'", c.escape_debug()),
        }
    }

    fn word_here(&self) -> &'a str {
        let rest = self.rest();
        &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())]
    }

    fn take(&mut self, c: char) -> bool {
        self.space();
        let there = self.peek() == Some(c);
        if there {
            self.at += c.len_utf8();
        }
        there
    }

    fn keyword(&mut self, word: &str) -> bool {
        self.space();
        let there = self.word_here().eq_ignore_ascii_case(word);
        if there {
            self.at += word.len();
        }
        there
    }

    fn expect(&mut self, c: char, after: &str) -> Result<(), DdlError> {
        if self.take(c) {
            return Ok(());
        }
        self.fail(format!("expected '{c}' {after}, found {}", self.found()))
    }

    /// Columns up to `close` (of a STRUCT) or to the end of the text.
    fn columns(&mut self, close: Option<char>, depth: usize) -> Result<Fields, DdlError> {
        let mut fields: Vec<FieldRef> = Vec::new();
        let mut names: HashMap<String, usize> = HashMap::new();
        loop {
            self.space();
            let start = self.at;
            let name = self.name(close)?;
            if let Some(first) = names.insert(name.to_lowercase(), start) {
                return self.fail_at(
                    start,
                    format!(
                        "column \"{name}\" is declared twice (first at byte {first}; names that \
                         differ only in case count as the same)"
                    ),
                );
            }
            self.take(':');
            fields.push(Arc::new(self.column(name, depth)?));
            if self.take(',') {
                continue;
            }
            match close {
                Some(c) if self.take(c) => return Ok(fields.into()),
                None if self.rest().is_empty() => return Ok(fields.into()),
                _ => {}
            }
            let wanted = close.unwrap_or(')');
            let ends = if close.is_some() { format!(" or '{wanted}'") } else { String::new() };
            return self.fail(format!(
                "expected ','{ends} or NOT NULL after a type, found {}",
                self.found()
            ));
        }
    }

    fn name(&mut self, close: Option<char>) -> Result<String, DdlError> {
        let start = self.at;
        match self.peek() {
            Some('`') => self.quoted('`', "a quoted column name"),
            Some(c) if is_word(c) => {
                let word = self.word_here();
                self.at += word.len();
                if let Some(c @ ('-' | '.' | '$' | '@' | '/' | '#')) = self.peek() {
                    return self.fail_at(
                        start,
                        format!("a column name with '{c}' in it must be written in `back quotes`"),
                    );
                }
                Ok(word.to_owned())
            }
            Some(c) if Some(c) == close => {
                self.fail("a STRUCT needs at least one field: neither Parquet nor Delta can hold an empty one")
            }
            Some('"' | '\'') => self.fail("quote a column name with `back quotes`"),
            _ => self.fail(format!("expected a column name, found {}", self.found())),
        }
    }

    /// Text between two `quote`s; a doubled one stands for itself.
    fn quoted(&mut self, quote: char, what: &str) -> Result<String, DdlError> {
        let start = self.at;
        let body = start + quote.len_utf8();
        let mut text = String::new();
        let mut rest = self.text[body..].char_indices().peekable();
        while let Some((i, c)) = rest.next() {
            if c != quote {
                text.push(c);
            } else if rest.next_if(|&(_, next)| next == quote).is_some() {
                text.push(quote);
            } else {
                self.at = body + i + quote.len_utf8();
                if text.is_empty() && quote == '`' {
                    return self.fail_at(start, "a column name cannot be empty");
                }
                return Ok(text);
            }
        }
        self.fail_at(start, format!("{what} is not closed: {quote} is missing"))
    }

    /// The type of a column and what may follow it.
    fn column(&mut self, name: String, depth: usize) -> Result<Field, DdlError> {
        self.space();
        if !self.peek().is_some_and(is_word) {
            return self.fail(format!("column \"{name}\" has no type: found {}", self.found()));
        }
        let data_type = self.data_type(depth)?;
        let mut nullable = true;
        if self.keyword("NOT") {
            if !self.keyword("NULL") {
                return self.fail(format!("expected NULL after NOT, found {}", self.found()));
            }
            nullable = false;
        }
        let mut field = Field::new(name, data_type, nullable);
        if self.keyword("COMMENT") {
            self.space();
            let comment = match self.peek() {
                Some(quote @ ('\'' | '"')) => self.quoted(quote, "a comment")?,
                _ => {
                    return self.fail(format!("expected a quoted comment, found {}", self.found()));
                }
            };
            field.set_metadata(HashMap::from([("comment".to_owned(), comment)]));
        }
        Ok(field)
    }

    fn data_type(&mut self, depth: usize) -> Result<DataType, DdlError> {
        self.space();
        let start = self.at;
        if depth > MAX_NESTING {
            return self.fail(format!("types are nested more than {MAX_NESTING} deep"));
        }
        let word = self.word_here();
        if word.is_empty() {
            return self.fail(format!("expected a type, found {}", self.found()));
        }
        self.at += word.len();
        let upper = word.to_ascii_uppercase();
        Ok(match upper.as_str() {
            "BOOLEAN" => DataType::Boolean,
            "TINYINT" | "BYTE" => DataType::Int8,
            "SMALLINT" | "SHORT" => DataType::Int16,
            "INT" | "INTEGER" => DataType::Int32,
            "BIGINT" | "LONG" => DataType::Int64,
            "FLOAT" | "REAL" => DataType::Float32,
            "DOUBLE" => DataType::Float64,
            "DECIMAL" | "DEC" | "NUMERIC" => self.decimal()?,
            "STRING" => DataType::Utf8,
            "VARCHAR" | "CHAR" | "CHARACTER" => {
                self.expect('(', &format!("after {upper} (its length)"))?;
                self.number(1, i32::MAX as u32, "the length")?;
                self.expect(')', "after the length")?;
                DataType::Utf8
            }
            "BINARY" => DataType::Binary,
            "DATE" => DataType::Date32,
            "TIMESTAMP" | "TIMESTAMP_LTZ" => {
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
            }
            "STRUCT" => {
                self.expect('<', "after STRUCT")?;
                DataType::Struct(self.columns(Some('>'), depth + 1)?)
            }
            "ARRAY" => {
                self.expect('<', "after ARRAY")?;
                let element = self.data_type(depth + 1)?;
                self.expect('>', "after the element type of an ARRAY")?;
                DataType::List(Arc::new(Field::new("element", element, true)))
            }
            "MAP" => self.map(depth)?,
            _ => return self.unknown_type(start, word, &upper),
        })
    }

    fn decimal(&mut self) -> Result<DataType, DdlError> {
        if !self.take('(') {
            return Ok(DataType::Decimal128(10, 0));
        }
        let precision = self.number(1, 38, "the precision of a DECIMAL")?;
        let scale = match self.take(',') {
            true => self.number(0, precision, "the scale of a DECIMAL")?,
            false => 0,
        };
        self.expect(')', "after the precision and scale of a DECIMAL")?;
        // Both are at most 38.
        Ok(DataType::Decimal128(precision as u8, scale as i8))
    }

    fn map(&mut self, depth: usize) -> Result<DataType, DdlError> {
        self.expect('<', "after MAP")?;
        self.space();
        let start = self.at;
        let key = self.data_type(depth + 1)?;
        if key != DataType::Utf8 {
            return self.fail_at(start, "the key type of a MAP must be STRING: keys in JSON are");
        }
        self.expect(',', "after the key type of a MAP")?;
        let value = self.data_type(depth + 1)?;
        self.expect('>', "after the value type of a MAP")?;
        let entry = Fields::from(vec![
            Field::new("key", DataType::Utf8, false),
            Field::new("value", value, true),
        ]);
        let entries = Field::new("key_value", DataType::Struct(entry), false);
        Ok(DataType::Map(Arc::new(entries), false))
    }

    fn number(&mut self, least: u32, most: u32, what: &str) -> Result<u32, DdlError> {
        self.space();
        let start = self.at;
        let word = self.word_here();
        match word.parse::<u32>() {
            Ok(n) if (least..=most).contains(&n) => {
                self.at += word.len();
                Ok(n)
            }
            Ok(_) => self.fail_at(start, format!("{what} must be from {least} to {most}")),
            Err(_) => self.fail(format!("expected {what}, a number, found {}", self.found())),
        }
    }

    fn unknown_type<T>(&self, offset: usize, word: &str, upper: &str) -> Result<T, DdlError> {
        let message = match upper {
            "TIMESTAMP_NTZ" => "TIMESTAMP_NTZ is not supported: event time needs an instant. \
                 Declare TIMESTAMP and say in the source's options which zone its local times are in"
                .to_owned(),
            "NULL" => "NULL is not needed: a column is nullable unless it says NOT NULL".to_owned(),
            "NOT" => "expected a type before NOT NULL".to_owned(),
            "INTERVAL" | "VOID" | "VARIANT" => format!("type {upper} is not supported"),
            _ => match nearest(upper) {
                Some(name) => format!("unknown type '{word}': did you mean {name}?"),
                None => format!("unknown type '{word}': the types are {}", TYPE_NAMES.join(", ")),
            },
        };
        self.fail_at(offset, message)
    }
}

/// A type as a declaration spells it, without what is in it.
pub fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision},{scale})"),
        DataType::Utf8 => "STRING".into(),
        DataType::Binary => "BINARY".into(),
        DataType::Date32 => "DATE".into(),
        DataType::Timestamp(..) => "TIMESTAMP".into(),
        DataType::Struct(_) => "STRUCT".into(),
        DataType::List(_) => "ARRAY".into(),
        DataType::Map(..) => "MAP".into(),
        other => other.to_string(),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The type name most like `word`, if one is like it at all. Names from other SQL dialects that
/// no measure of spelling would find come first.
fn nearest(word: &str) -> Option<&'static str> {
    match word {
        "TEXT" | "STR" | "NVARCHAR" | "UTF8" | "CLOB" => return Some("STRING"),
        "INT8" => return Some("TINYINT"),
        "INT16" => return Some("SMALLINT"),
        "INT32" => return Some("INT"),
        "INT64" | "UINT32" => return Some("BIGINT"),
        "FLOAT32" => return Some("FLOAT"),
        "FLOAT64" | "NUMBER" => return Some("DOUBLE"),
        "BYTES" | "BLOB" | "BYTEA" | "VARBINARY" => return Some("BINARY"),
        "DATETIME" | "TIMESTAMPTZ" | "DATETIME2" => return Some("TIMESTAMP"),
        "LIST" => return Some("ARRAY"),
        "JSON" | "OBJECT" | "RECORD" | "ROW" => return Some("STRUCT"),
        _ => {}
    }
    TYPE_NAMES
        .iter()
        .map(|name| (strsim::damerau_levenshtein(word, name), *name))
        .min()
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn types(text: &str) -> Vec<DataType> {
        parse_schema(text).unwrap().fields().iter().map(|f| f.data_type().clone()).collect()
    }

    fn error(text: &str) -> (usize, String) {
        let error = parse_schema(text).unwrap_err();
        (error.offset, error.message)
    }

    #[test]
    fn reads_every_scalar_type_and_its_aliases() {
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        for (names, wanted) in [
            ("BOOLEAN,boolean", DataType::Boolean),
            ("TINYINT,byte", DataType::Int8),
            ("SMALLINT,Short", DataType::Int16),
            ("INT,INTEGER", DataType::Int32),
            ("BIGINT,long", DataType::Int64),
            ("FLOAT,REAL", DataType::Float32),
            ("DOUBLE", DataType::Float64),
            ("DECIMAL,DEC,NUMERIC", DataType::Decimal128(10, 0)),
            ("STRING", DataType::Utf8),
            ("BINARY", DataType::Binary),
            ("DATE", DataType::Date32),
            ("TIMESTAMP,TIMESTAMP_LTZ", timestamp),
        ] {
            for name in names.split(',') {
                assert_eq!(types(&format!("c {name}"))[0], wanted, "{name}");
            }
        }
        assert_eq!(types("a VARCHAR(20), b CHAR( 3 )"), [DataType::Utf8, DataType::Utf8]);
        assert_eq!(
            types("a DECIMAL(38, 38), b decimal(5)"),
            [DataType::Decimal128(38, 38), DataType::Decimal128(5, 0)]
        );
    }

    #[test]
    fn reads_nested_types_nullability_quotes_and_comments() {
        let schema = parse_schema(
            "timestamp TIMESTAMP NOT NULL, user STRUCT<id: BIGINT NOT NULL, `a``b` ARRAY<STRUCT<x:INT>>>,\n \
             m: MAP<STRING, MAP<STRING,DOUBLE>> COMMENT 'it''s nested' , größe INT",
        )
        .unwrap();
        assert!(!schema.field(0).is_nullable() && schema.field(1).is_nullable());
        let DataType::Struct(user) = schema.field(1).data_type() else { panic!() };
        assert!(!user[0].is_nullable());
        assert_eq!(user[1].name(), "a`b");
        let DataType::List(element) = user[1].data_type() else { panic!() };
        assert_eq!((element.name().as_str(), element.is_nullable()), ("element", true));
        let DataType::Map(entries, false) = schema.field(2).data_type() else { panic!() };
        let DataType::Struct(entry) = entries.data_type() else { panic!() };
        assert_eq!((entry[0].name().as_str(), entry[0].is_nullable()), ("key", false));
        assert_eq!((entry[1].name().as_str(), entry[1].is_nullable()), ("value", true));
        assert_eq!(schema.field(2).metadata()["comment"], "it's nested");
        assert_eq!(schema.field(3).name(), "größe");
    }

    #[test]
    fn errors_say_where_and_what_was_meant() {
        for (text, offset, part) in [
            ("", 0, "empty"),
            ("  ", 2, "empty"),
            ("a STRNG", 2, "did you mean STRING?"),
            ("a INT, b TIMESTMAP NOT NULL", 9, "did you mean TIMESTAMP?"),
            ("a text", 2, "did you mean STRING?"),
            ("a XYZZY", 2, "the types are BOOLEAN"),
            ("a", 1, "\"a\" has no type"),
            ("a, b INT", 1, "\"a\" has no type: found ','"),
            ("a INT,", 6, "expected a column name, found the end"),
            ("a INT b INT", 6, "expected ','"),
            ("a INT NOT NUL", 10, "expected NULL after NOT, found 'NUL'"),
            ("a INT, A STRING", 7, "declared twice (first at byte 0"),
            ("a ARRAY<INT", 11, "expected '>'"),
            ("a ARRAY", 7, "expected '<' after ARRAY"),
            ("a STRUCT<>", 9, "at least one field"),
            ("a STRUCT<x INT", 14, "or '>'"),
            ("a MAP<INT, INT>", 6, "must be STRING"),
            ("a DECIMAL(39, 2)", 10, "from 1 to 38"),
            ("a DECIMAL(5, 6)", 13, "from 0 to 5"),
            ("a DECIMAL(x)", 10, "a number, found 'x'"),
            ("a VARCHAR", 9, "expected '(' after VARCHAR"),
            ("a TIMESTAMP_NTZ", 2, "which zone"),
            ("user-agent STRING", 0, "back quotes"),
            ("\"a\" STRING", 0, "back quotes"),
            ("`a STRING", 0, "not closed"),
            ("`` STRING", 0, "cannot be empty"),
            ("a INT NULL", 6, "expected ','"),
            ("a INT COMMENT x", 14, "quoted comment"),
            ("ä INT, b", 9, "has no type"),
        ] {
            let (at, message) = error(text);
            assert!(message.contains(part), "{text}: {message}");
            assert_eq!(at, offset, "{text}: {message}");
        }
        let deep = format!("a {}INT{}", "ARRAY<".repeat(100_000), ">".repeat(100_000));
        assert!(error(&deep).1.contains("nested more than 32"));
    }

    proptest! {
        #[test]
        fn never_panics_and_points_into_the_text(text in ".{0,60}") {
            if let Err(error) = parse_schema(&text) {
                prop_assert!(text.is_char_boundary(error.offset));
            }
        }

        #[test]
        fn survives_cut_and_mangled_schemas(at in 0usize..90, byte in "[ -~]") {
            let text = "a STRUCT<b: DECIMAL(5,2), `c` ARRAY<MAP<STRING, DATE>>> NOT NULL COMMENT 'x', d VARCHAR(9)";
            let at = at.min(text.len());
            let _ = parse_schema(&text[..at]);
            let _ = parse_schema(&format!("{}{byte}{}", &text[..at], &text[at..]));
        }
    }
}
