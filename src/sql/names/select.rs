//! One SELECT: its names in the order in which they come into view.

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, Distinct, Expr, FunctionArguments, GroupByExpr, Ident, OrderBy, OrderByKind, Query,
    Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Spanned,
    WildcardAdditionalOptions,
};

use super::scope::{Column, Scope};
use super::subqueries::Subqueries;
use super::windows::{self, Window};
use super::{Over, Resolver, flat_name, titles};
use crate::sql::error::{SqlError, location};
use crate::sql::window_clause::{Shape, call, string_literal};

impl Resolver<'_> {
    pub(super) fn select(
        &mut self,
        select: &mut Select,
        mut order_by: Option<&mut OrderBy>,
    ) -> Result<(), SqlError> {
        let mut scope = self.from(&mut select.from)?;
        self.landmarks(select, order_by.as_deref());
        let mut subqueries = Subqueries::default();
        subqueries.take_from_select(select);
        if self.over == Over::Tables {
            self.group_by_the_rest(select);
            titles::give_titles(select);
        }
        if let Some(order_by) = order_by.as_deref_mut() {
            subqueries.take_from(order_by);
        }
        for view in std::mem::take(&mut select.lateral_views) {
            self.lateral_view(select, &mut scope, view)?;
        }
        let grouped = windows::is_grouped(select);
        let hides = |name: &str| grouped || matches!(scope.column(&Ident::new(name)), Ok(None));
        let mut window = windows::take_window(select, hides)?;
        if let Some(window) = &window {
            self.landmarks.window = self.landmarks.window.or(location(window.span.start));
        }
        self.expand_wildcards(select, &scope)?;
        self.select_list_generator(select, &mut scope)?;
        let replacement = match &mut window {
            Some(window) => Some(self.window(select, &mut scope, window, grouped)?),
            None => None,
        };

        let mut earlier: Vec<(String, Expr)> = vec![];
        for item in &mut select.projection {
            name_as_spelled(item);
            match item {
                SelectItem::UnnamedExpr(expr) => self.item(expr, &scope, &earlier)?,
                SelectItem::ExprWithAlias { expr, alias } => {
                    self.item(expr, &scope, &earlier)?;
                    earlier.push((alias.value.clone(), expr.clone()));
                }
                SelectItem::ExprWithAliases { expr, .. } => {
                    return Err(SqlError::new("an expression has one name here, not several")
                        .hint("write each column with its own AS")
                        .at(expr.span()));
                }
                // Expanded above.
                SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(_, _) => {}
            }
        }
        let aliases: Vec<String> = earlier.into_iter().map(|(alias, _)| alias).collect();
        if let Some(condition) = &mut select.selection {
            self.expr(condition, &scope, &[])?;
        }
        if let GroupByExpr::Expressions(exprs, _) = &mut select.group_by {
            for expr in exprs {
                self.expr(expr, &scope, &aliases)?;
            }
        }
        if let Some(condition) = &mut select.having {
            self.expr(condition, &scope, &aliases)?;
        }
        for window in &mut select.named_window {
            self.names_in(window, &scope, &[])?;
        }
        if let Some(condition) = &mut select.qualify {
            self.expr(condition, &scope, &aliases)?;
        }
        if let Some(order_by) = order_by.as_deref_mut()
            && let OrderByKind::Expressions(exprs) = &mut order_by.kind
        {
            for order in exprs {
                self.order(&mut order.expr, &scope, &aliases, window.as_ref())?;
                if let Some(replacement) = &replacement {
                    windows::put_window_in(&mut order.expr, replacement);
                }
            }
        }
        if let Some(replacement) = &replacement {
            windows::put_window(select, replacement);
        }
        if !subqueries.is_empty() {
            self.subqueries(&mut subqueries, &scope)?;
            subqueries.put_back_into_select(select);
            if let Some(order_by) = order_by {
                subqueries.put_back(order_by);
            }
        }
        if self.over == Over::Tables {
            titles::make_unique(select);
        }
        Ok(())
    }

    /// What seeds and notebooks leave out: an aggregate beside plain columns, without GROUP BY.
    /// Spark refuses that; here rows are grouped by the columns, and a notice says so.
    fn group_by_the_rest(&mut self, select: &mut Select) {
        if windows::is_grouped(select) {
            return;
        }
        let mut rest = vec![];
        let mut aggregates = false;
        for item in &select.projection {
            let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item
            else {
                return;
            };
            if titles::has_aggregate(expr, self.functions) {
                aggregates = true;
            } else if titles::names_column(expr) {
                rest.push(expr.clone());
            }
        }
        if !aggregates || rest.is_empty() {
            return;
        }
        let columns: Vec<String> = rest.iter().map(ToString::to_string).collect();
        self.notices.push(format!("no GROUP BY: grouped by {}", columns.join(", ")));
        select.group_by = GroupByExpr::Expressions(rest, vec![]);
    }

    fn landmarks(&mut self, select: &Select, order_by: Option<&OrderBy>) {
        let group_by = match &select.group_by {
            GroupByExpr::Expressions(exprs, _) => exprs.first().map(Spanned::span),
            GroupByExpr::All(_) => Some(select.group_by.span()),
        };
        let marks = &mut self.landmarks;
        if let Some(span) = group_by {
            marks.group_by = marks.group_by.or(location(span.start));
        }
        if matches!(select.distinct, Some(Distinct::Distinct)) {
            marks.distinct = marks.distinct.or(location(select.select_token.0.span.start));
        }
        if let Some(order_by) = order_by {
            marks.order_by = marks.order_by.or(location(order_by.span().start));
        }
    }

    /// ORDER BY prefers the SELECT list's names to columns.
    fn order(
        &mut self,
        expr: &mut Expr,
        scope: &Scope,
        aliases: &[String],
        window: Option<&Window>,
    ) -> Result<(), SqlError> {
        if let Expr::Identifier(ident) = expr
            && let Some(alias) = aliases.iter().find(|a| a.eq_ignore_ascii_case(&ident.value))
        {
            ident.value.clone_from(alias);
            return Ok(());
        }
        if let Some(window) = window {
            windows::mark_mentions(expr, window);
        }
        self.expr(expr, scope, aliases)
    }

    /// An item of the SELECT list. It may use the names of earlier items, if no column has them.
    fn item(
        &mut self,
        expr: &mut Expr,
        scope: &Scope,
        earlier: &[(String, Expr)],
    ) -> Result<(), SqlError> {
        let unknown = |ident: &Ident| matches!(scope.column(ident), Ok(None));
        let mut lateral = Lateral { earlier, unknown: &unknown };
        let _ = datafusion::sql::sqlparser::ast::VisitMut::visit(expr, &mut lateral);
        self.expr(expr, scope, &[])
    }

    /// What stands for the window's mentions.
    fn window(
        &mut self,
        select: &mut Select,
        scope: &mut Scope,
        window: &mut Window,
        grouped: bool,
    ) -> Result<Expr, SqlError> {
        self.expr(&mut window.call.time, scope, &[])?;
        match window.call.shape {
            Shape::Session { .. } if !grouped => {
                Err(SqlError::new("session_window is only known once rows are grouped by it")
                    .hint("add GROUP BY session_window(<event time column>, '5 minutes')")
                    .at(window.span))
            }
            Shape::Session { .. } if self.over == Over::Tables => {
                Err(SqlError::new("session_window is of streaming queries only")
                    .hint(
                        "mark where a session begins with lag() OVER (...), and count the marks \
                         with sum() OVER (...)",
                    )
                    .at(window.span))
            }
            // A row lies in several windows: it comes once for each.
            Shape::Sliding { .. } if !grouped || self.over == Over::Tables => {
                self.sliding_windows(select, scope, window)
            }
            _ => Ok(window.call.canonical(window.span)),
        }
    }

    fn expand_wildcards(&mut self, select: &mut Select, scope: &Scope) -> Result<(), SqlError> {
        let mut items = Vec::with_capacity(select.projection.len());
        for item in std::mem::take(&mut select.projection) {
            match item {
                SelectItem::Wildcard(options) => {
                    let except = excepted(&options, scope)?;
                    let columns = scope.all().into_iter();
                    items.extend(
                        columns
                            .filter(|c| !except.contains(&c.name))
                            .map(|c| named(&c.expr, &c.name)),
                    );
                }
                SelectItem::QualifiedWildcard(kind, options) => {
                    let except = excepted(&options, scope)?;
                    let columns = self.qualified_star(select, scope, kind)?;
                    items.extend(
                        columns
                            .iter()
                            .filter(|c| !except.contains(&c.name))
                            .map(|c| named(&c.expr, &c.name)),
                    );
                }
                item => items.push(item),
            }
        }
        select.projection = items;
        Ok(())
    }

    /// `table.*`, or `struct.*`.
    fn qualified_star(
        &mut self,
        select: &Select,
        scope: &Scope,
        kind: SelectItemQualifiedWildcardKind,
    ) -> Result<Vec<Column>, SqlError> {
        let (mut expr, span, text) = match kind {
            SelectItemQualifiedWildcardKind::ObjectName(name) => {
                if let Some(relation) = scope.relation(&flat_name(&name)) {
                    return Ok(relation.columns.clone());
                }
                let idents: Vec<Ident> =
                    name.0.iter().filter_map(|part| part.as_ident()).cloned().collect();
                let expr = match idents.as_slice() {
                    [one] => Expr::Identifier(one.clone()),
                    _ => Expr::CompoundIdentifier(idents),
                };
                let span = name.span();
                (expr, span, name.to_string())
            }
            SelectItemQualifiedWildcardKind::Expr(expr) => {
                let (span, text) = (expr.span(), expr.to_string());
                (expr, span, text)
            }
        };
        if let Expr::Identifier(ident) = &expr
            && scope.column(ident)?.is_none()
        {
            return Err(scope.unknown_qualifier(ident));
        }
        self.expr(&mut expr, scope, &[])?;
        let DataType::Struct(fields) = self.type_of(select, &expr)? else {
            return Err(SqlError::new(format!("'{text}' is neither a table nor a STRUCT"))
                .hint("write its name without .*")
                .at(span));
        };
        Ok(fields
            .iter()
            .map(|field| Column {
                name: field.name().clone(),
                data_type: field.data_type().clone(),
                expr: call(
                    "get_field",
                    vec![expr.clone(), string_literal(field.name(), span)],
                    span,
                ),
            })
            .collect())
    }

    /// The type of a resolved expression over the FROM of `select`.
    pub(super) fn type_of(&self, select: &Select, expr: &Expr) -> Result<DataType, SqlError> {
        let mut probe = bare(select);
        probe.projection = vec![named(expr, "x")];
        let query = query_of(SetExpr::Select(Box::new(probe)));
        let schema = self.fields(&query)?;
        Ok(schema.fields().first().map_or(DataType::Null, |field| field.data_type().clone()))
    }
}

/// The SELECT with its FROM and nothing else.
pub(super) fn bare(select: &Select) -> Select {
    Select {
        projection: vec![],
        distinct: None,
        selection: None,
        having: None,
        group_by: GroupByExpr::Expressions(vec![], vec![]),
        lateral_views: vec![],
        ..select.clone()
    }
}

/// A query that is this body and nothing else.
pub(super) fn query_of(body: SetExpr) -> Query {
    Query {
        with: None,
        body: Box::new(body),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: vec![],
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: vec![],
    }
}

pub(super) fn named(expr: &Expr, name: &str) -> SelectItem {
    SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::new(name) }
}

/// The columns of `* EXCEPT (...)`, in their declared spelling.
fn excepted(options: &WildcardAdditionalOptions, scope: &Scope) -> Result<Vec<String>, SqlError> {
    if options.opt_ilike.is_some()
        || options.opt_exclude.is_some()
        || options.opt_replace.is_some()
        || options.opt_rename.is_some()
    {
        return Err(SqlError::new("'*' can only be followed by EXCEPT")
            .hint("write * EXCEPT (a, b), or name the columns")
            .at(options.wildcard_token.0.span));
    }
    let Some(except) = &options.opt_except else { return Ok(vec![]) };
    std::iter::once(&except.first_element)
        .chain(&except.additional_elements)
        .map(|ident| {
            let found = scope
                .all()
                .into_iter()
                .find(|column| column.name.eq_ignore_ascii_case(&ident.value))
                .map(|column| column.name.clone());
            found.ok_or_else(|| scope.unknown_column(ident, &[]))
        })
        .collect()
}

/// Spark names an output column as the query spells it, and after the last step if it is reached by
/// a path.
fn name_as_spelled(item: &mut SelectItem) {
    let SelectItem::UnnamedExpr(expr) = item else { return };
    let alias = match expr {
        Expr::Identifier(ident) => Some(ident.clone()),
        Expr::CompoundIdentifier(idents) => idents.last().cloned(),
        Expr::CompoundFieldAccess { access_chain, .. } => match access_chain.last() {
            Some(AccessExpr::Dot(Expr::Identifier(ident))) => Some(ident.clone()),
            _ => None,
        },
        // A keyword such as `user`.
        Expr::Function(function) if function.args == FunctionArguments::None => {
            function.name.0.first().and_then(|part| part.as_ident()).cloned()
        }
        _ => None,
    };
    if let Some(alias) = alias {
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
    }
}

/// Puts the expressions of earlier items where their names are used.
struct Lateral<'a> {
    earlier: &'a [(String, Expr)],
    unknown: &'a dyn Fn(&Ident) -> bool,
}

impl datafusion::sql::sqlparser::ast::VisitorMut for Lateral<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> std::ops::ControlFlow<()> {
        if let Expr::Identifier(ident) = expr
            && let Some((_, earlier)) =
                self.earlier.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(&ident.value))
            && (self.unknown)(ident)
        {
            *expr = Expr::Nested(Box::new(earlier.clone()));
        }
        std::ops::ControlFlow::Continue(())
    }
}
