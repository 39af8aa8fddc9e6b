//! Names: Spark resolves them without regard to case; DataFusion, once asked not to fold them, by
//! exact text. So every name in the parsed query is replaced by its declared spelling, and a name
//! that nothing declares is an error here, where its position is known.

use std::ops::ControlFlow;

use arrow::datatypes::{DataType, Fields};
use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, FunctionArguments, Ident, ObjectName, ObjectNamePart, Query, Select,
    SelectItem, Spanned, Subscript, TableFactor, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::SourceTable;
use super::error::{SqlError, location, suggestion};
use super::registry::Functions;
use super::window_clause::{Landmarks, string_literal};

/// The source that the query reads: the one table in it that is not defined by the query itself.
///
/// # Errors
/// A table that is not a source; more than one source.
pub(super) fn source_of<'a>(
    query: &Query,
    sources: &'a [SourceTable],
) -> Result<&'a SourceTable, SqlError> {
    let mut tables = Tables { ctes: vec![], relations: vec![] };
    let _ = query.visit(&mut tables);
    let mut found: Option<&SourceTable> = None;
    for (name, span) in &tables.relations {
        if tables.ctes.iter().any(|cte| cte.eq_ignore_ascii_case(name)) {
            continue;
        }
        let Some(source) = find_source(name, sources) else {
            let names = sources.iter().map(|source| source.name.as_str());
            return Err(SqlError::new(format!("unknown source '{name}'"))
                .hint(suggestion(name, names, "sources"))
                .at(*span));
        };
        if found.is_some_and(|found| found.name != source.name) {
            return Err(SqlError::new("a query reads one source; this one names two")
                .hint("make each part a query of its own")
                .at(*span));
        }
        found = Some(source);
    }
    found.ok_or_else(|| SqlError::new("the query reads no source").hint("add FROM a source"))
}

fn find_source<'a>(name: &str, sources: &'a [SourceTable]) -> Option<&'a SourceTable> {
    sources
        .iter()
        .find(|source| source.name == name)
        .or_else(|| sources.iter().find(|source| source.name.eq_ignore_ascii_case(name)))
}

struct Tables {
    ctes: Vec<String>,
    relations: Vec<(String, Span)>,
}

impl Visitor for Tables {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
        self.ctes.extend(ctes.map(|cte| cte.alias.name.value.clone()));
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        self.relations.push((flat_name(relation), relation.span()));
        ControlFlow::Continue(())
    }
}

/// A table's name as configuration writes it: `a.b` for a qualified one.
fn flat_name(name: &ObjectName) -> String {
    let parts: Vec<&str> =
        name.0.iter().filter_map(|part| part.as_ident().map(|id| id.value.as_str())).collect();
    parts.join(".")
}

/// Replaces every name in `query` by its declared spelling, and notes where functions stand.
///
/// # Errors
/// A column or function that does not exist, with the nearest that does.
pub(super) fn resolve(
    query: &mut Query,
    source: &SourceTable,
    functions: &Functions,
    landmarks: &mut Landmarks,
) -> Result<(), SqlError> {
    let mut declared = Declared { aliases: vec![], tables: vec![source.name.clone()] };
    let _ = Visit::visit(&*query, &mut declared);
    let mut resolver = Resolver {
        fields: source.schema.fields(),
        source: source.name.as_str(),
        declared,
        functions,
        lambda_parameters: vec![],
        landmarks,
    };
    match query.visit(&mut resolver) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// What the query itself gives a name to.
struct Declared {
    aliases: Vec<String>,
    tables: Vec<String>,
}

impl Visitor for Declared {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
        for cte in ctes {
            self.tables.push(cte.alias.name.value.clone());
            self.aliases.extend(cte.alias.columns.iter().map(|c| c.name.value.clone()));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        for item in &select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                self.aliases.push(alias.value.clone());
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        let (TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. }) = table else {
            return ControlFlow::Continue(());
        };
        if let Some(alias) = alias {
            self.tables.push(alias.name.value.clone());
            self.aliases.extend(alias.columns.iter().map(|c| c.name.value.clone()));
        }
        ControlFlow::Continue(())
    }
}

struct Resolver<'a> {
    fields: &'a Fields,
    source: &'a str,
    declared: Declared,
    functions: &'a Functions,
    lambda_parameters: Vec<String>,
    landmarks: &'a mut Landmarks,
}

impl Resolver<'_> {
    /// The declared spelling of a plain column name.
    fn column(&self, name: &str) -> Option<String> {
        let fields = || self.fields.iter().map(|field| field.name().as_str());
        let aliases = || {
            let lambda = self.lambda_parameters.iter();
            self.declared.aliases.iter().chain(lambda).map(String::as_str)
        };
        let exact = |candidate: &&str| *candidate == name;
        let folded = |candidate: &&str| candidate.eq_ignore_ascii_case(name);
        fields()
            .find(exact)
            .or_else(|| aliases().find(exact))
            .or_else(|| fields().find(folded))
            .or_else(|| aliases().find(folded))
            .map(str::to_owned)
    }

    fn table(&self, name: &str) -> Option<&String> {
        let tables = &self.declared.tables;
        tables
            .iter()
            .find(|table| *table == name)
            .or_else(|| tables.iter().find(|table| table.eq_ignore_ascii_case(name)))
    }

    fn unknown_column(&self, ident: &Ident) -> SqlError {
        let name = ident.value.as_str();
        if name.eq_ignore_ascii_case("window") {
            return SqlError::new("'window' is used, but nothing is grouped by window(...)")
                .hint("add GROUP BY window(<event time column>, '1 minute')")
                .at(ident.span);
        }
        let fields = self.fields.iter().map(|field| field.name().as_str());
        let candidates = fields.chain(self.declared.aliases.iter().map(String::as_str));
        SqlError::new(format!("unknown column '{name}' in source '{}'", self.source))
            .hint(suggestion(name, candidates, "columns"))
            .at(ident.span)
    }

    fn identifier(&self, ident: &mut Ident) -> ControlFlow<SqlError> {
        match self.column(&ident.value) {
            Some(name) => ident.value = name,
            None => return ControlFlow::Break(self.unknown_column(ident)),
        }
        ControlFlow::Continue(())
    }

    /// `table.column.field...` or `column.field...`.
    fn compound(&self, idents: &mut [Ident]) -> ControlFlow<SqlError> {
        let Some(first) = idents.first() else { return ControlFlow::Continue(()) };
        let from_column = if self.column(&first.value).is_some() {
            0
        } else if let Some(table) = self.table(&first.value) {
            idents[0].value = table.clone();
            1
        } else {
            return ControlFlow::Break(self.unknown_column(first));
        };
        if let Some(ident) = idents.get_mut(from_column) {
            self.identifier(ident)?;
        }
        let field = idents
            .get(from_column)
            .and_then(|ident| self.fields.iter().find(|field| *field.name() == ident.value));
        if let Some(field) = field {
            return nested(field.data_type(), &mut idents[from_column + 1..]);
        }
        ControlFlow::Continue(())
    }

    fn function_exists(&self, name: &Ident) -> ControlFlow<SqlError> {
        let lower = name.value.to_lowercase();
        if self.functions.knows(&lower) {
            return ControlFlow::Continue(());
        }
        let what = match lower.as_str() {
            "explode" | "explode_outer" | "posexplode" | "posexplode_outer" | "inline"
            | "inline_outer" | "stack" | "flatten_rows" | "unnest" => {
                Some("makes several rows of one, and one row must stay one row for now")
            }
            "row_number" | "rank" | "dense_rank" | "percent_rank" | "ntile" | "lag" | "lead"
            | "cume_dist" => {
                Some("is a window function (OVER): it needs rows that a stream has not got yet")
            }
            _ => None,
        };
        let error = match what {
            Some(why) => SqlError::new(format!("{lower} is not supported: it {why}"))
                .hint("do it where the table is read"),
            None => {
                let error = SqlError::new(format!("unknown function '{}'", name.value));
                match super::error::nearest(&lower, self.functions.names()) {
                    Some(candidate) => error.hint(format!("did you mean '{candidate}'?")),
                    None => error
                        .hint("functions are those of Spark SQL; docs/SQL.md lists what is there"),
                }
            }
        };
        ControlFlow::Break(error.at(name.span))
    }
}

/// The rest of a path into a struct.
fn nested(data_type: &DataType, path: &mut [Ident]) -> ControlFlow<SqlError> {
    let Some((first, rest)) = path.split_first_mut() else { return ControlFlow::Continue(()) };
    let DataType::Struct(fields) = data_type else {
        // A map's key, or an error that the planner knows better.
        return ControlFlow::Continue(());
    };
    let found = fields
        .iter()
        .find(|field| *field.name() == first.value)
        .or_else(|| fields.iter().find(|field| field.name().eq_ignore_ascii_case(&first.value)));
    match found {
        Some(field) => {
            first.value = field.name().clone();
            nested(field.data_type(), rest)
        }
        None => {
            let names = fields.iter().map(|field| field.name().as_str());
            ControlFlow::Break(
                SqlError::new(format!("unknown field '{}'", first.value))
                    .hint(suggestion(&first.value, names, "fields"))
                    .at(first.span),
            )
        }
    }
}

impl VisitorMut for Resolver<'_> {
    type Break = SqlError;

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<SqlError> {
        let name = flat_name(relation);
        if let Some(table) = self.table(&name) {
            let mut ident = Ident::new(table.clone());
            ident.span = relation.span();
            *relation = ObjectName(vec![ObjectNamePart::Identifier(ident)]);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        for item in &mut select.projection {
            if let SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) = item
                && let Some(except) = &mut options.opt_except
            {
                self.identifier(&mut except.first_element)?;
                for ident in &mut except.additional_elements {
                    self.identifier(ident)?;
                }
            }
            // Spark names an output column as the query spells it, and after the last step if it
            // is reached by a path.
            let SelectItem::UnnamedExpr(expr) = item else { continue };
            let alias = match expr {
                Expr::Identifier(ident) => {
                    let declared = self.column(&ident.value);
                    declared.is_some_and(|name| name != ident.value).then(|| ident.clone())
                }
                Expr::CompoundIdentifier(idents) => idents.last().cloned(),
                Expr::CompoundFieldAccess { access_chain, .. } => match access_chain.last() {
                    Some(AccessExpr::Dot(Expr::Identifier(ident))) => Some(ident.clone()),
                    _ => None,
                },
                _ => None,
            };
            if let Some(alias) = alias {
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        match expr {
            Expr::Lambda(lambda) => {
                let names = lambda.params.iter().map(|parameter| parameter.name.value.clone());
                self.lambda_parameters.extend(names);
                ControlFlow::Continue(())
            }
            Expr::Identifier(ident) => self.identifier(ident),
            // `a[0].b`: the field's name is not a column; as a subscript the planner knows it.
            Expr::CompoundFieldAccess { access_chain, .. } => {
                for access in access_chain {
                    if let AccessExpr::Dot(Expr::Identifier(ident)) = access {
                        let index = string_literal(&ident.value, ident.span);
                        *access = AccessExpr::Subscript(Subscript::Index { index });
                    }
                }
                ControlFlow::Continue(())
            }
            Expr::CompoundIdentifier(idents) => self.compound(idents),
            Expr::Function(function) => {
                let Some(name) = function.name.0.first().and_then(|part| part.as_ident()) else {
                    return ControlFlow::Continue(());
                };
                // A keyword such as `user` that is not followed by parentheses is a column, if
                // there is one of that name.
                if function.args == FunctionArguments::None
                    && let Some(column) = self.column(&name.value)
                {
                    let mut ident = Ident::new(column);
                    ident.span = name.span;
                    *expr = Expr::Identifier(ident);
                    return ControlFlow::Continue(());
                }
                if let Some(at) = location(name.span.start) {
                    let lower = name.value.to_lowercase();
                    if self.functions.is_aggregate(&lower) {
                        self.landmarks.aggregate.get_or_insert(at);
                    }
                    self.landmarks.functions.push((lower, at));
                }
                self.function_exists(name)
            }
            _ => ControlFlow::Continue(()),
        }
    }
}
