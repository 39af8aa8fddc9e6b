//! What the names in one SELECT can mean.

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{Expr, Ident};

use crate::sql::error::{SqlError, suggestion};

/// A column that can be named.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// Its declared spelling.
    pub(super) name: String,
    pub(super) data_type: DataType,
    /// What the planner is to read instead of the name.
    pub(super) expr: Expr,
}

/// One thing in FROM.
#[derive(Debug, Clone)]
pub(super) struct Relation {
    /// The name or alias that qualifies its columns.
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
}

/// Everything that FROM brings into view.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub(super) relations: Vec<Relation>,
    /// The columns of USING and NATURAL: one where each side has one. They come first in `*`.
    pub(super) merged: Vec<Column>,
}

impl Relation {
    fn column(&self, name: &str) -> Option<&Column> {
        pick(&self.columns, name)
    }
}

fn pick<'a>(columns: &'a [Column], name: &str) -> Option<&'a Column> {
    columns
        .iter()
        .find(|column| column.name == name)
        .or_else(|| columns.iter().find(|column| column.name.eq_ignore_ascii_case(name)))
}

impl Scope {
    pub(super) fn relation(&self, name: &str) -> Option<&Relation> {
        let relations = &self.relations;
        relations
            .iter()
            .find(|relation| relation.name == name)
            .or_else(|| relations.iter().find(|r| r.name.eq_ignore_ascii_case(name)))
    }

    /// The column that a bare name means. `Ok(None)`: there is none.
    ///
    /// # Errors
    /// Several relations have one of that name.
    pub(super) fn column(&self, ident: &Ident) -> Result<Option<&Column>, SqlError> {
        let name = ident.value.as_str();
        if let Some(column) = pick(&self.merged, name) {
            return Ok(Some(column));
        }
        let mut found: Option<(&Relation, &Column)> = None;
        for relation in &self.relations {
            let Some(column) = relation.column(name) else { continue };
            if let Some((first, _)) = found {
                return Err(SqlError::new(format!(
                    "column '{name}' is in both '{}' and '{}'",
                    first.name, relation.name
                ))
                .hint(format!("say which: {}.{name} or {}.{name}", first.name, relation.name))
                .at(ident.span));
            }
            found = Some((relation, column));
        }
        Ok(found.map(|(_, column)| column))
    }

    /// `relation.column`.
    pub(super) fn qualified(&self, relation: &str, column: &str) -> Option<&Column> {
        self.relation(relation)?.column(column)
    }

    /// What `*` stands for.
    pub(super) fn all(&self) -> Vec<&Column> {
        let hidden = |column: &&Column| {
            !self.merged.iter().any(|merged| merged.name.eq_ignore_ascii_case(&column.name))
        };
        let rest = self.relations.iter().flat_map(|relation| relation.columns.iter());
        self.merged.iter().chain(rest.filter(hidden)).collect()
    }

    pub(super) fn unknown_column(&self, ident: &Ident, aliases: &[String]) -> SqlError {
        let name = ident.value.as_str();
        let columns =
            self.relations.iter().flat_map(|r| r.columns.iter()).map(|column| column.name.as_str());
        let candidates: Vec<&str> = columns.chain(aliases.iter().map(String::as_str)).collect();
        let place = match self.relations.as_slice() {
            [one] if !one.name.starts_with(super::FRESH) => format!(" in '{}'", one.name),
            _ => String::new(),
        };
        SqlError::new(format!("unknown column '{name}'{place}"))
            .hint(suggestion(name, candidates, "columns"))
            .at(ident.span)
    }

    pub(super) fn unknown_qualifier(&self, ident: &Ident) -> SqlError {
        let name = ident.value.as_str();
        let relations = self.relations.iter().map(|relation| relation.name.as_str());
        let columns = self.relations.iter().flat_map(|r| r.columns.iter());
        let candidates: Vec<&str> = relations
            .filter(|name| !name.starts_with(super::FRESH))
            .chain(columns.map(|column| column.name.as_str()))
            .collect();
        SqlError::new(format!("'{name}' is neither a table of FROM nor a column"))
            .hint(suggestion(name, candidates, "names"))
            .at(ident.span)
    }
}
