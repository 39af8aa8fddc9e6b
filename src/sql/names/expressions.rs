//! The names in one expression.

use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, FunctionArguments, Ident, Subscript, VisitMut, VisitorMut,
};

use super::scope::{Column, Scope};
use super::{Landmarks, Over, Resolver, windows};
use crate::sql::error::{SqlError, location, nearest, suggestion};
use crate::sql::registry::Functions;
use crate::sql::window_clause::{call, string_literal};

impl Resolver<'_> {
    /// Replaces the names in `expr` by what they mean in `scope`. Names in `aliases` (of the SELECT
    /// list) that are no columns are left to the planner, in their declared spelling.
    pub(super) fn expr(
        &mut self,
        expr: &mut Expr,
        scope: &Scope,
        aliases: &[String],
    ) -> Result<(), SqlError> {
        self.names_in(expr, scope, aliases)
    }

    /// The same for all expressions of something.
    pub(super) fn names_in<T: VisitMut>(
        &mut self,
        node: &mut T,
        scope: &Scope,
        aliases: &[String],
    ) -> Result<(), SqlError> {
        let mut names = Names {
            scope,
            outer: &self.outer,
            aliases,
            functions: self.functions,
            over: self.over,
            landmarks: &mut self.landmarks,
            parameters: vec![],
        };
        match node.visit(&mut names) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        }
    }
}

struct Names<'a> {
    scope: &'a Scope,
    outer: &'a [Scope],
    aliases: &'a [String],
    functions: &'a Functions,
    over: Over,
    landmarks: &'a mut Landmarks,
    /// Of lambdas.
    parameters: Vec<String>,
}

impl Names<'_> {
    fn alias(&self, name: &str) -> Option<&String> {
        let all = || self.aliases.iter().chain(&self.parameters);
        all().find(|alias| *alias == name).or_else(|| all().find(|a| a.eq_ignore_ascii_case(name)))
    }

    fn identifier(&self, ident: &Ident) -> Result<Expr, SqlError> {
        if ident.value.starts_with(windows::MARK) {
            return Ok(Expr::Identifier(ident.clone()));
        }
        // A lambda's parameter hides everything; a column hides an alias.
        if self.parameters.contains(&ident.value) {
            return Ok(Expr::Identifier(ident.clone()));
        }
        if let Some(column) = self.scope.column(ident)? {
            return Ok(placed(&column.expr, ident));
        }
        if let Some(alias) = self.alias(&ident.value) {
            return Ok(Expr::Identifier(Ident { value: alias.clone(), ..ident.clone() }));
        }
        for scope in self.outer.iter().rev() {
            if let Some(column) = scope.column(ident)? {
                return Ok(placed(&column.expr, ident));
            }
        }
        if ident.value.eq_ignore_ascii_case("window")
            || ident.value.eq_ignore_ascii_case("session_window")
        {
            let name = ident.value.to_lowercase();
            return Err(SqlError::new(format!(
                "'{name}' is used, but nothing is grouped by {name}(...)"
            ))
            .hint(format!("add GROUP BY {name}(<event time column>, '1 minute')"))
            .at(ident.span));
        }
        Err(self.scope.unknown_column(ident, self.aliases))
    }

    /// `table.column.field...` or `column.field...`.
    fn compound(&self, idents: &[Ident]) -> Result<Expr, SqlError> {
        let [first, rest @ ..] = idents else { return Ok(Expr::CompoundIdentifier(vec![])) };
        // Resolved already: what generators put into the SELECT list passes by here again.
        if first.value.starts_with(super::FRESH) && self.scope.relation(&first.value).is_none() {
            return Ok(Expr::CompoundIdentifier(idents.to_vec()));
        }
        if let Some((second, path)) = rest.split_first()
            && let Some(column) = self.scope.qualified(&first.value, &second.value)
        {
            return path_of(placed(&column.expr, second), column, path);
        }
        if let Some(column) = self.scope.column(first)? {
            return path_of(placed(&column.expr, first), column, rest);
        }
        for scope in self.outer.iter().rev() {
            if let Some((second, path)) = rest.split_first()
                && let Some(column) = scope.qualified(&first.value, &second.value)
            {
                return path_of(placed(&column.expr, second), column, path);
            }
            if let Some(column) = scope.column(first)? {
                return path_of(placed(&column.expr, first), column, rest);
            }
        }
        // A field of an alias or a parameter: the planner knows its type.
        if let Some(alias) = self.alias(&first.value) {
            let root = Expr::Identifier(Ident { value: alias.clone(), ..first.clone() });
            return Ok(rest.iter().fold(root, field));
        }
        match (self.scope.relation(&first.value), rest.first()) {
            (Some(relation), Some(second)) => {
                let columns = relation.columns.iter().map(|column| column.name.as_str());
                Err(SqlError::new(format!(
                    "unknown column '{}' in '{}'",
                    second.value, relation.name
                ))
                .hint(suggestion(&second.value, columns, "columns"))
                .at(second.span))
            }
            _ if first.value.eq_ignore_ascii_case("window") => Err(match self.identifier(first) {
                Err(error) => error,
                Ok(_) => self.scope.unknown_qualifier(first),
            }),
            _ => Err(self.scope.unknown_qualifier(first)),
        }
    }

    fn function(&mut self, name: &Ident) -> Result<(), SqlError> {
        let lower = name.value.to_lowercase();
        if let Some(at) = location(name.span.start) {
            if self.functions.is_aggregate(&lower) {
                self.landmarks.aggregate.get_or_insert(at);
            }
            self.landmarks.functions.push((lower.clone(), at));
        }
        let window = self.over == Over::Tables && self.functions.is_window(&lower);
        if window || self.functions.knows(&lower) {
            return Ok(());
        }
        let error = match lower.as_str() {
            "row_number" | "rank" | "dense_rank" | "percent_rank" | "ntile" | "lag" | "lead"
            | "cume_dist" => SqlError::new(format!(
                "{lower} is not supported: it is a window function (OVER), which needs rows that a \
                 stream has not got yet"
            ))
            .hint("do it where the table is read"),
            _ => {
                let error = SqlError::new(format!("unknown function '{}'", name.value));
                match nearest(&lower, self.functions.names()) {
                    Some(candidate) => error.hint(format!("did you mean '{candidate}'?")),
                    None => error
                        .hint("functions are those of Spark SQL; docs/SQL.md lists what is there"),
                }
            }
        };
        Err(error.at(name.span))
    }
}

/// The expression that a name stands for, at the name's position.
fn placed(expr: &Expr, at: &Ident) -> Expr {
    let mut expr = expr.clone();
    match &mut expr {
        Expr::Identifier(ident) => ident.span = at.span,
        Expr::CompoundIdentifier(idents) => idents.iter_mut().for_each(|i| i.span = at.span),
        _ => {}
    }
    expr
}

fn field(root: Expr, name: &Ident) -> Expr {
    call("get_field", vec![root, string_literal(&name.value, name.span)], name.span)
}

/// The rest of a path into a struct, each step in its declared spelling.
fn path_of(root: Expr, column: &Column, path: &[Ident]) -> Result<Expr, SqlError> {
    let (mut expr, mut data_type) = (root, &column.data_type);
    for step in path {
        let DataType::Struct(fields) = data_type else {
            // A map's key, or an error that the planner knows better.
            expr = field(expr, step);
            data_type = &DataType::Null;
            continue;
        };
        let found = fields
            .iter()
            .find(|field| *field.name() == step.value)
            .or_else(|| fields.iter().find(|field| field.name().eq_ignore_ascii_case(&step.value)));
        let Some(found) = found else {
            let names = fields.iter().map(|field| field.name().as_str());
            return Err(SqlError::new(format!("unknown field '{}'", step.value))
                .hint(suggestion(&step.value, names, "fields"))
                .at(step.span));
        };
        expr = field(expr, &Ident { value: found.name().clone(), ..step.clone() });
        data_type = found.data_type();
    }
    Ok(expr)
}

impl VisitorMut for Names<'_> {
    type Break = SqlError;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        match expr {
            Expr::Lambda(lambda) => {
                let names = lambda.params.iter().map(|parameter| parameter.name.value.clone());
                self.parameters.extend(names);
            }
            // `a[0].b`: the field's name is not a column; as a subscript the planner knows it.
            Expr::CompoundFieldAccess { access_chain, .. } => {
                for access in access_chain {
                    if let AccessExpr::Dot(Expr::Identifier(ident)) = access {
                        let index = string_literal(&ident.value, ident.span);
                        *access = AccessExpr::Subscript(Subscript::Index { index });
                    }
                }
            }
            Expr::Function(function) => {
                let Some(name) = function.name.0.first().and_then(|part| part.as_ident()) else {
                    return ControlFlow::Continue(());
                };
                // A keyword such as `user` that is not followed by parentheses is a column, if
                // there is one of that name.
                if function.args == FunctionArguments::None
                    && let Ok(Some(column)) = self.scope.column(name)
                {
                    *expr = Expr::Identifier(Ident { value: column.name.clone(), ..name.clone() });
                    return ControlFlow::Continue(());
                }
                if let Err(error) = self.function(&name.clone()) {
                    return ControlFlow::Break(error);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        let replacement = match expr {
            Expr::Identifier(ident) => self.identifier(ident),
            Expr::CompoundIdentifier(idents) => self.compound(idents),
            _ => return ControlFlow::Continue(()),
        };
        match replacement {
            Ok(replacement) => *expr = replacement,
            Err(error) => return ControlFlow::Break(error),
        }
        ControlFlow::Continue(())
    }
}
