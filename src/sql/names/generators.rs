//! Functions that make several rows of one: `explode` and its like, in the SELECT list or as
//! LATERAL VIEW, and sliding windows outside GROUP BY.
//!
//! Each becomes a subquery: `FROM t LATERAL VIEW explode(a) v AS x` is read as
//! `FROM (SELECT t.b AS c0, ..., unnest(a) AS g FROM t)`, and the names of `t` and `v` mean its
//! columns from then on.

use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, Ident, LateralView, Select, SelectItem, SetExpr, Spanned, TableFactor,
    TableWithJoins, Visit, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::from::table_alias;
use super::scope::{Column, Relation, Scope};
use super::select::{bare, named, query_of};
use super::windows::{MARK, Window};
use super::{Resolver, flat_name};
use crate::sql::error::SqlError;
use crate::sql::window_clause::{arguments, call, string_literal};

/// A generator by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Generator {
    kind: Kind,
    /// A row without elements still comes out once.
    outer: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Explode,
    Positions,
    Inline,
}

/// The names that `names::generators` understands; they are no functions of the planner.
pub(in crate::sql) const GENERATORS: &[&str] =
    &["explode", "explode_outer", "inline", "inline_outer", "posexplode", "posexplode_outer"];

impl Generator {
    fn of(function: &Function) -> Option<Self> {
        let name = function.name.0.first()?.as_ident()?.value.to_lowercase();
        let (kind, outer) = match name.as_str() {
            "explode" => (Kind::Explode, false),
            "explode_outer" => (Kind::Explode, true),
            "posexplode" => (Kind::Positions, false),
            "posexplode_outer" => (Kind::Positions, true),
            "inline" => (Kind::Inline, false),
            "inline_outer" => (Kind::Inline, true),
            _ => return None,
        };
        Some(Self { kind, outer })
    }
}

/// Whether the function makes several rows of one.
pub(super) fn is_generator(function: &Function) -> bool {
    Generator::of(function).is_some()
}

/// Column of a generator: its default name, type, and the path to it in an element.
type Output = (String, DataType, Vec<String>);

impl Resolver<'_> {
    pub(super) fn lateral_view(
        &mut self,
        select: &mut Select,
        scope: &mut Scope,
        view: LateralView,
    ) -> Result<(), SqlError> {
        let span = view.lateral_view.span();
        let Expr::Function(function) = view.lateral_view else {
            return Err(SqlError::new("LATERAL VIEW takes a function that makes rows")
                .hint("write LATERAL VIEW explode(<array>) v AS <column>")
                .at(span));
        };
        let Some(generator) = Generator::of(&function) else {
            return Err(SqlError::new(format!("'{}' does not make rows", function.name))
                .hint(format!("the functions that do are {}", GENERATORS.join(", ")))
                .at(span));
        };
        let outer = generator.outer || view.outer;
        let generator = Generator { outer, ..generator };
        let columns = self.generate(select, scope, generator, &function, span)?;
        let columns = renamed(columns, &view.lateral_col_alias, span)?;
        let name = flat_name(&view.lateral_view_name);
        scope.relations.push(Relation { name, columns });
        Ok(())
    }

    /// The one generator that a SELECT list may have.
    pub(super) fn select_list_generator(
        &mut self,
        select: &mut Select,
        scope: &mut Scope,
    ) -> Result<(), SqlError> {
        let mut found: Option<(usize, Generator, Function, Vec<Ident>)> = None;
        for (index, item) in select.projection.iter().enumerate() {
            let (expr, names) = match item {
                SelectItem::UnnamedExpr(expr) => (expr, vec![]),
                SelectItem::ExprWithAlias { expr, alias } => (expr, vec![alias.clone()]),
                SelectItem::ExprWithAliases { expr, aliases } => (expr, aliases.clone()),
                _ => continue,
            };
            if let Expr::Function(function) = expr
                && let Some(generator) = Generator::of(function)
            {
                if found.is_some() {
                    return Err(SqlError::new("a SELECT list has one function that makes rows")
                        .hint("put the second one into a query around this one")
                        .at(expr.span()));
                }
                found = Some((index, generator, function.clone(), names));
            }
        }
        let Some((index, generator, function, names)) = found else {
            return misplaced_generator(select);
        };
        let span = function.name.span();
        // What WHERE leaves out need not be taken apart.
        let mut filter = None;
        if let Some(mut condition) = select.selection.take() {
            if mentions_window(&condition) {
                select.selection = Some(condition);
            } else {
                self.expr(&mut condition, scope, &[])?;
                filter = Some(condition);
            }
        }
        let before = select.clone();
        let inner = Select { selection: filter, ..bare(&before) };
        let columns = self.generate_from(select, inner, scope, generator, &function, span)?;
        let columns = renamed(columns, &names, span)?;
        let items = columns.iter().map(|column| named(&column.expr, &column.name));
        select.projection.splice(index..=index, items.collect::<Vec<_>>());
        misplaced_generator(select)
    }

    /// A window for each row and window that holds it.
    pub(super) fn sliding_windows(
        &mut self,
        select: &mut Select,
        scope: &mut Scope,
        window: &Window,
    ) -> Result<Expr, SqlError> {
        let Expr::Function(function) = window.call.canonical(window.span) else {
            return Err(SqlError::new("window takes a column and a duration").at(window.span));
        };
        let args = arguments(&function).unwrap_or_default().into_iter().cloned().collect();
        let list = call("sliding_windows", args, window.span);
        let inner = bare(select);
        let element = self.unnest(select, inner, scope, list, false, window.span)?;
        Ok(element)
    }

    fn generate(
        &mut self,
        select: &mut Select,
        scope: &mut Scope,
        generator: Generator,
        function: &Function,
        span: Span,
    ) -> Result<Vec<Column>, SqlError> {
        let inner = bare(select);
        self.generate_from(select, inner, scope, generator, function, span)
    }

    fn generate_from(
        &mut self,
        select: &mut Select,
        inner: Select,
        scope: &mut Scope,
        generator: Generator,
        function: &Function,
        span: Span,
    ) -> Result<Vec<Column>, SqlError> {
        let Some([arg]) = arguments(function).and_then(|args| <[&Expr; 1]>::try_from(args).ok())
        else {
            return Err(SqlError::new(format!("{} takes one ARRAY or MAP", function.name))
                .hint(format!("write {}(<array>)", function.name))
                .at(span));
        };
        let mut arg = arg.clone();
        self.expr(&mut arg, scope, &[])?;
        let data_type = self.type_of(&inner, &arg)?;
        let (list, outputs) = shape(generator.kind, arg, &data_type, span).ok_or_else(|| {
            let wanted = match generator.kind {
                Kind::Inline => "an ARRAY of STRUCTs",
                Kind::Explode | Kind::Positions => "an ARRAY or a MAP",
            };
            SqlError::new(format!("{} takes {wanted}, not {data_type}", function.name))
                .hint("split(text, ' ') makes an ARRAY of text")
                .at(span)
        })?;
        let element = self.unnest(select, inner, scope, list, generator.outer, span)?;
        Ok(outputs
            .into_iter()
            .map(|(name, data_type, path)| Column {
                expr: path.iter().fold(element.clone(), |expr, step| {
                    call("get_field", vec![expr, string_literal(step, span)], span)
                }),
                name,
                data_type,
            })
            .collect())
    }

    /// Makes `inner` the FROM of `select`, with a row for each element of `list`. Gives the element.
    fn unnest(
        &mut self,
        select: &mut Select,
        mut inner: Select,
        scope: &mut Scope,
        list: Expr,
        outer: bool,
        span: Span,
    ) -> Result<Expr, SqlError> {
        let relation = self.fresh("rows");
        let column_of = |name: &str| {
            Expr::CompoundIdentifier(vec![Ident::new(relation.clone()), Ident::new(name)])
        };
        let mut count = 0;
        let mut moved = |column: &mut Column| {
            let name = format!("{}c{count}", super::FRESH);
            count += 1;
            inner.projection.push(named(&column.expr, &name));
            column.expr = column_of(&name);
        };
        scope.merged.iter_mut().for_each(&mut moved);
        scope.relations.iter_mut().flat_map(|r| &mut r.columns).for_each(&mut moved);
        let element = format!("{}element", super::FRESH);
        let unnest = if outer { "unnest_outer" } else { "unnest" };
        inner.projection.push(named(&call(unnest, vec![list], span), &element));
        select.from = vec![TableWithJoins {
            relation: TableFactor::Derived {
                lateral: false,
                subquery: Box::new(query_of(SetExpr::Select(Box::new(inner)))),
                alias: Some(table_alias(relation.clone(), vec![])),
                sample: None,
            },
            joins: vec![],
        }];
        Ok(column_of(&element))
    }
}

/// The list to take apart and the columns of its elements.
fn shape(kind: Kind, arg: Expr, data_type: &DataType, span: Span) -> Option<(Expr, Vec<Output>)> {
    let element = match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            item.data_type()
        }
        DataType::Map(entries, _) => entries.data_type(),
        _ => return None,
    };
    let is_map = matches!(data_type, DataType::Map(_, _));
    let fields: Vec<(String, DataType)> = match element {
        DataType::Struct(fields) => {
            fields.iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
        }
        _ => vec![],
    };
    // The entries of a map are called so, whatever its fields are called.
    let entry = |path: &[&str]| -> Vec<Output> {
        let steps = |last: &str| path.iter().chain([&last]).map(|s| (*s).to_owned()).collect();
        ["key", "value"]
            .into_iter()
            .zip(&fields)
            .map(|(name, (_, data_type))| (name.to_owned(), data_type.clone(), steps(name)))
            .collect()
    };
    let list = if is_map { call("map_entries", vec![arg], span) } else { arg };
    Some(match kind {
        Kind::Inline if is_map || fields.is_empty() => return None,
        Kind::Inline => {
            let outputs = fields.into_iter().map(|(name, data_type)| {
                let path = vec![name.clone()];
                (name, data_type, path)
            });
            (list, outputs.collect())
        }
        Kind::Explode if is_map => (list, entry(&[])),
        Kind::Explode => (list, vec![("col".to_owned(), element.clone(), vec![])]),
        Kind::Positions => {
            let mut outputs = vec![("pos".to_owned(), DataType::Int32, vec!["pos".to_owned()])];
            if is_map {
                outputs.extend(entry(&["col"]));
            } else {
                outputs.push(("col".to_owned(), element.clone(), vec!["col".to_owned()]));
            }
            (call("with_positions", vec![list], span), outputs)
        }
    })
}

/// The columns under the names that the query gives them.
fn renamed(columns: Vec<Column>, names: &[Ident], span: Span) -> Result<Vec<Column>, SqlError> {
    if names.is_empty() {
        return Ok(columns);
    }
    if names.len() != columns.len() {
        let defaults: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        return Err(SqlError::new(format!(
            "the function makes {} columns ({}), and {} names are given for them",
            columns.len(),
            defaults.join(", "),
            names.len()
        ))
        .hint("name each of them, as in AS (a, b), or none")
        .at(span));
    }
    let renamed = columns
        .into_iter()
        .zip(names)
        .map(|(column, name)| Column { name: name.value.clone(), ..column });
    Ok(renamed.collect())
}

fn mentions_window(expr: &Expr) -> bool {
    struct Find;
    impl Visitor for Find {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(ident) if ident.value == MARK => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    expr.visit(&mut Find).is_break()
}

/// Refuses a generator inside an expression, or anywhere but in the SELECT list.
fn misplaced_generator(select: &Select) -> Result<(), SqlError> {
    struct Find;
    impl Visitor for Find {
        type Break = SqlError;

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<SqlError> {
            if let Expr::Function(function) = expr
                && Generator::of(function).is_some()
            {
                return ControlFlow::Break(
                    SqlError::new(format!(
                        "{} makes rows, so it stands alone in the SELECT list or in LATERAL VIEW",
                        function.name
                    ))
                    .hint("use it in a subquery and its column here")
                    .at(function.name.span()),
                );
            }
            ControlFlow::Continue(())
        }
    }
    let visit = |find: &mut Find| {
        select.projection.visit(find)?;
        select.selection.visit(find)?;
        select.group_by.visit(find)?;
        select.having.visit(find)
    };
    match visit(&mut Find) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}
