//! FROM: tables, subqueries and joins come into view.

use arrow::datatypes::SchemaRef;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart,
    Spanned, TableAlias, TableFactor, TableWithJoins,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::scope::{Column, Relation, Scope};
use super::subqueries::Subqueries;
use super::{Resolver, flat_name, windows};
use crate::sql::error::{SqlError, location};
use crate::sql::window_clause::call;

impl Scope {
    /// The columns of one relation that needs no qualifier.
    pub(super) fn of_columns(schema: &SchemaRef) -> Self {
        let columns = schema
            .fields()
            .iter()
            .map(|field| Column {
                name: field.name().clone(),
                data_type: field.data_type().clone(),
                expr: Expr::Identifier(Ident::new(field.name())),
            })
            .collect();
        Self {
            relations: vec![Relation { name: super::FRESH.to_owned(), columns }],
            merged: vec![],
        }
    }
}

/// Which side's rows a join keeps when nothing matches, as far as names go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sides {
    Left,
    Right,
    Both,
    /// Only the left side's columns come out.
    LeftOnly,
}

impl Resolver<'_> {
    pub(super) fn from(&mut self, from: &mut [TableWithJoins]) -> Result<Scope, SqlError> {
        let mut scope = Scope::default();
        for (index, item) in from.iter_mut().enumerate() {
            let span = item.relation.span();
            let right = self.table_with_joins(item)?;
            if index > 0 {
                self.landmarks.joins.extend(location(span.start));
            }
            scope = joined(scope, right, span)?;
        }
        Ok(scope)
    }

    fn table_with_joins(&mut self, item: &mut TableWithJoins) -> Result<Scope, SqlError> {
        let mut scope = self.table(&mut item.relation)?;
        for join in &mut item.joins {
            let span = join.relation.span();
            let right = self.table(&mut join.relation)?;
            self.landmarks.joins.extend(location(span.start));
            scope = self.join(scope, right, join, span)?;
        }
        Ok(scope)
    }

    fn join(
        &mut self,
        left: Scope,
        right: Scope,
        join: &mut Join,
        span: Span,
    ) -> Result<Scope, SqlError> {
        // Spark's short forms.
        let operator = std::mem::replace(&mut join.join_operator, JoinOperator::ArrayJoin);
        join.join_operator = match operator {
            JoinOperator::Semi(constraint) => JoinOperator::LeftSemi(constraint),
            JoinOperator::Anti(constraint) => JoinOperator::LeftAnti(constraint),
            other => other,
        };
        let (sides, constraint) = match &mut join.join_operator {
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)
            | JoinOperator::CrossJoin(constraint) => (Sides::Left, constraint),
            JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => {
                (Sides::Right, constraint)
            }
            JoinOperator::FullOuter(constraint) => (Sides::Both, constraint),
            JoinOperator::LeftSemi(constraint) | JoinOperator::LeftAnti(constraint) => {
                (Sides::LeftOnly, constraint)
            }
            _ => {
                return Err(SqlError::new("this kind of join is not supported")
                    .hint("INNER, LEFT, RIGHT, FULL and LEFT SEMI joins are")
                    .at(span));
            }
        };
        let names: Option<Vec<Ident>> = match constraint {
            JoinConstraint::Using(names) => Some(names.iter().filter_map(plain_name).collect()),
            JoinConstraint::Natural => Some(common_names(&left, &right)),
            JoinConstraint::On(_) | JoinConstraint::None => None,
        };
        let mut condition = None;
        let mut merged = vec![];
        for name in names.into_iter().flatten() {
            let (first, second) = (side(&left, &name)?, side(&right, &name)?);
            let equal = Expr::BinaryOp {
                left: Box::new(first.expr.clone()),
                op: BinaryOperator::Eq,
                right: Box::new(second.expr.clone()),
            };
            condition = Some(match condition {
                None => equal,
                Some(rest) => Expr::BinaryOp {
                    left: Box::new(rest),
                    op: BinaryOperator::And,
                    right: Box::new(equal),
                },
            });
            let expr = match sides {
                Sides::Left | Sides::LeftOnly => first.expr.clone(),
                Sides::Right => second.expr.clone(),
                Sides::Both => {
                    call("coalesce", vec![first.expr.clone(), second.expr.clone()], name.span)
                }
            };
            let data_type = first.data_type.clone();
            merged.push(Column { name: first.name.clone(), data_type, expr });
        }
        if let Some(condition) = condition {
            *constraint = JoinConstraint::On(condition);
        }
        let left_columns = left.clone();
        let mut scope = joined(left, right, span)?;
        if let JoinConstraint::On(condition) = constraint
            && merged.is_empty()
        {
            let mut subqueries = Subqueries::default();
            subqueries.take_from(condition);
            windows::spell_windows(condition)?;
            self.expr(condition, &scope, &[])?;
            self.subqueries(&mut subqueries, &scope)?;
            subqueries.put_back(condition);
        }
        if sides == Sides::LeftOnly {
            return Ok(left_columns);
        }
        scope.merged.retain(|old| !merged.iter().any(|new| new.name == old.name));
        merged.append(&mut scope.merged);
        scope.merged = merged;
        Ok(scope)
    }

    fn table(&mut self, table: &mut TableFactor) -> Result<Scope, SqlError> {
        let span = table.span();
        match table {
            TableFactor::Table { name, alias, .. } => {
                let flat = flat_name(name);
                if let Some(cte) =
                    self.ctes.iter().rposition(|c| c.name.eq_ignore_ascii_case(&flat))
                {
                    return self.mention(table, cte);
                }
                self.count_relation(1, span)?;
                let found = self.found(&flat, span)?;
                let (declared, schema) = (found.name().to_owned(), found.schema());
                let mut ident = Ident::new(declared.clone());
                ident.span = span;
                *name = ObjectName(vec![ObjectNamePart::Identifier(ident)]);
                if !self.tables.iter().any(|(known, _)| *known == declared) {
                    self.tables.push((declared.clone(), schema.clone()));
                }
                let visible = match alias {
                    Some(alias) => alias.name.value.clone(),
                    None => declared,
                };
                relation(&visible, &schema, alias.as_ref(), span)
            }
            TableFactor::Derived { subquery, alias, .. } => {
                self.query(subquery)?;
                let schema = self.fields(subquery)?;
                let alias = match alias {
                    Some(alias) => alias,
                    None => alias.insert(table_alias(self.fresh("from"), vec![])),
                };
                let name = alias.name.value.clone();
                relation(&name, &schema, Some(alias), span)
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                self.table_with_joins(table_with_joins)
            }
            _ => Err(SqlError::new("this kind of table in FROM is not supported")
                .hint("name a source, a query or a table, or write a subquery")
                .at(span)),
        }
    }

    /// Puts the subquery of WITH where it is mentioned.
    fn mention(&mut self, table: &mut TableFactor, cte: usize) -> Result<Scope, SqlError> {
        let span = table.span();
        let (query, columns) = (self.ctes[cte].query.clone(), self.ctes[cte].columns.clone());
        let (joins, relations) = (self.ctes[cte].joins.clone(), self.ctes[cte].relations);
        self.count_relation(relations.max(1), span)?;
        self.landmarks.joins.extend(joins);
        let schema = self.fields(&query)?;
        let mut alias = match table {
            TableFactor::Table { alias: Some(alias), .. } => alias.clone(),
            _ => table_alias(self.ctes[cte].name.clone(), vec![]),
        };
        if alias.columns.is_empty() {
            alias.columns = table_alias(String::new(), columns).columns;
        }
        let name = alias.name.value.clone();
        let scope = relation(&name, &schema, Some(&alias), span)?;
        *table = TableFactor::Derived {
            lateral: false,
            subquery: Box::new(query),
            alias: Some(alias),
            sample: None,
        };
        Ok(scope)
    }
}

/// `AS name (columns)`.
pub(super) fn table_alias(name: String, columns: Vec<Ident>) -> TableAlias {
    use datafusion::sql::sqlparser::ast::TableAliasColumnDef;
    let columns = columns.into_iter().map(|name| TableAliasColumnDef { name, data_type: None });
    TableAlias { explicit: true, name: Ident::new(name), columns: columns.collect(), at: None }
}

/// A relation's columns, under its alias.
fn relation(
    name: &str,
    schema: &SchemaRef,
    alias: Option<&TableAlias>,
    span: Span,
) -> Result<Scope, SqlError> {
    let renamed = alias.map_or(&[][..], |alias| alias.columns.as_slice());
    if !renamed.is_empty() && renamed.len() != schema.fields().len() {
        return Err(SqlError::new(format!(
            "'{name}' has {} columns, and {} names are given for them",
            schema.fields().len(),
            renamed.len()
        ))
        .hint("give each column a name, or none")
        .at(span));
    }
    let columns = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| {
            let name_of = renamed.get(index).map_or(field.name(), |column| &column.name.value);
            Column {
                name: name_of.clone(),
                data_type: field.data_type().clone(),
                expr: Expr::CompoundIdentifier(vec![Ident::new(name), Ident::new(name_of)]),
            }
        })
        .collect();
    let relation = Relation { name: name.to_owned(), columns };
    Ok(Scope { relations: vec![relation], merged: vec![] })
}

fn joined(mut left: Scope, right: Scope, span: Span) -> Result<Scope, SqlError> {
    for relation in &right.relations {
        if left.relations.iter().any(|known| known.name.eq_ignore_ascii_case(&relation.name)) {
            return Err(SqlError::new(format!(
                "two tables in FROM are called '{}'",
                relation.name
            ))
            .hint("give each an alias: FROM clicks AS a JOIN clicks AS b ...")
            .at(span));
        }
    }
    left.relations.extend(right.relations);
    left.merged.extend(right.merged);
    Ok(left)
}

fn plain_name(name: &ObjectName) -> Option<Ident> {
    name.0.first().and_then(|part| part.as_ident()).cloned()
}

fn side<'a>(scope: &'a Scope, name: &Ident) -> Result<&'a Column, SqlError> {
    match scope.column(name)? {
        Some(column) => Ok(column),
        None => Err(scope.unknown_column(name, &[])),
    }
}

fn common_names(left: &Scope, right: &Scope) -> Vec<Ident> {
    let right = right.all();
    left.all()
        .into_iter()
        .filter(|column| right.iter().any(|other| other.name.eq_ignore_ascii_case(&column.name)))
        .map(|column| Ident::new(&column.name))
        .collect()
}
