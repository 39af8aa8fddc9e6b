//! What a table is called: `schema.table`.

use std::fmt;
use std::str::FromStr;

use super::CatalogError;

/// A table's name. Compared without regard to case, as in Spark.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    schema: String,
    table: String,
}

/// What a part of a name may be.
pub(crate) const PART: &str = "letters, digits and `_`, not beginning with a digit, at most 128";

impl TableName {
    /// The table `table` of the schema `schema`. Characters that SQL would need quotes for become
    /// `_`: names of pipelines may have a `-`.
    pub fn of(schema: &str, table: &str) -> Self {
        Self { schema: plain(schema), table: plain(table) }
    }

    /// A name that a configuration gives: `schema.table`, or `table` in `default_schema`.
    ///
    /// # Errors
    /// [`CatalogError::Name`] if it is anything else.
    pub fn parse(text: &str, default_schema: &str) -> Result<Self, CatalogError> {
        let mut parts = text.split('.');
        let parsed = match (parts.next(), parts.next(), parts.next()) {
            (Some(table), None, None) if is_part(table) => Some(Self::of(default_schema, table)),
            (Some(schema), Some(table), None) if is_part(schema) && is_part(table) => {
                Some(Self::of(schema, table))
            }
            _ => None,
        };
        parsed.ok_or_else(|| CatalogError::Name { name: text.to_owned() })
    }

    /// The part before the dot.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The part behind the dot.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Whether both are one name in SQL.
    pub fn is(&self, other: &Self) -> bool {
        self.schema.eq_ignore_ascii_case(&other.schema)
            && self.table.eq_ignore_ascii_case(&other.table)
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

impl FromStr for TableName {
    type Err = CatalogError;

    /// `schema.table`.
    fn from_str(text: &str) -> Result<Self, CatalogError> {
        if text.contains('.') {
            Self::parse(text, "")
        } else {
            Err(CatalogError::Name { name: text.to_owned() })
        }
    }
}

impl serde::Serialize for TableName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn is_part(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && text.len() <= 128
}

fn plain(text: &str) -> String {
    let mut plain: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if plain.is_empty() || plain.starts_with(|c: char| c.is_ascii_digit()) {
        plain.insert(0, '_');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_dot_or_none() {
        let name = |text| TableName::parse(text, "web-logs").map(|name| name.to_string());
        assert_eq!(name("bronze.logs").as_deref(), Ok("bronze.logs"));
        assert_eq!(name("logs").as_deref(), Ok("web_logs.logs"));
        for bad in ["", ".", "a.", ".a", "a.b.c", "a-b.c", "1a", "a b", "`a`.b"] {
            assert_eq!(name(bad), Err(CatalogError::Name { name: bad.to_owned() }), "{bad}");
        }
        assert!("logs".parse::<TableName>().is_err());
    }

    #[test]
    fn what_sql_would_quote_is_replaced() {
        assert_eq!(TableName::of("2-fast", "logs").to_string(), "_2_fast.logs");
    }
}
