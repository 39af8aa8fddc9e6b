//! Names of tables and columns, as SQL has them.

/// A table's name, with or without its schema's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableName {
    schema: Option<String>,
    table: String,
}

impl TableName {
    /// Reads `name`, `schema.name`, `"Name"` and `"sch.ema"."na""me"` as PostgreSQL does.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text.trim();
        let bad = |why: &str| format!("`table` is \"{text}\": {why}");
        loop {
            let mut part = String::new();
            if let Some(quoted) = rest.strip_prefix('"') {
                let mut characters = quoted.char_indices().peekable();
                let end = loop {
                    match characters.next() {
                        None => return Err(bad("a quote is not closed")),
                        Some((at, '"')) => match characters.peek() {
                            Some((_, '"')) => {
                                characters.next();
                                part.push('"');
                            }
                            _ => break at,
                        },
                        Some((_, character)) => part.push(character),
                    }
                };
                rest = &quoted[end + 1..];
            } else {
                let end = rest.find('.').unwrap_or(rest.len());
                part = rest[..end].to_lowercase();
                let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
                if !part.chars().all(word) || part.starts_with(|c: char| c.is_ascii_digit()) {
                    return Err(bad("a name like that has to stand in double quotes"));
                }
                rest = &rest[end..];
            }
            if part.is_empty() {
                return Err(bad("a name is missing"));
            }
            parts.push(part);
            match rest.strip_prefix('.') {
                Some(after) => rest = after,
                None if rest.is_empty() => break,
                None => return Err(bad("a name like that has to stand in double quotes")),
            }
        }
        let Some(table) = parts.pop() else { return Err(bad("a name is missing")) };
        match parts.len() {
            0 => Ok(Self { schema: None, table }),
            1 => Ok(Self { schema: parts.pop(), table }),
            _ => Err(bad("it has more parts than a schema and a name")),
        }
    }

    /// As SQL has it.
    pub fn quoted(&self) -> String {
        self.sibling(&self.table)
    }

    /// Another table of the same schema.
    pub fn sibling(&self, table: &str) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", quote(schema), quote(table)),
            None => quote(table),
        }
    }
}

/// An identifier in quotes.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_postgresql_reads_them() {
        let quoted = |text: &str| TableName::parse(text).map(|name| name.quoted());
        assert_eq!(quoted("Readings").unwrap(), "\"readings\"");
        assert_eq!(quoted("public.t_1$").unwrap(), "\"public\".\"t_1$\"");
        assert_eq!(quoted("\"Sch.ema\".\"a \"\"b\"\"\"").unwrap(), "\"Sch.ema\".\"a \"\"b\"\"\"");
        for bad in ["", "a.", ".a", "a.b.c", "a b", "1a", "\"a", "\"a\"b", "\"\"", "a;drop", "a-b"]
        {
            let error = quoted(bad).unwrap_err();
            assert!(error.contains("`table` is"), "{bad}: {error}");
        }
    }
}
