//! Temporary views: queries with a name, for as long as the session lasts.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Ident, ObjectName, Query, TableAlias, TableFactor, Visit, VisitMut, Visitor, VisitorMut,
};

use super::travel::Mentioned;

/// A temporary view: its query, in which every table has a key that no other query uses.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) name: String,
    pub(super) query: Box<Query>,
    pub(super) tables: Vec<Mentioned>,
    /// The columns that it had when it was made.
    pub(super) schema: arrow::datatypes::SchemaRef,
}

/// Puts views where `query` names them, and adds the tables that they read to `tables`. Names of
/// WITH hide views.
pub(super) fn expand(query: &mut Query, views: &[View], tables: &mut Vec<Mentioned>) {
    if views.is_empty() {
        return;
    }
    let ctes = ctes(query);
    let views: Vec<&View> = views.iter().filter(|view| !is_one(&ctes, &view.name)).collect();
    let mut expand = Expand { views: &views, used: vec![] };
    let _ = query.visit(&mut expand);
    let used = expand.used;
    tables.retain(|table| !used.iter().any(|view| table.key.eq_ignore_ascii_case(&view.name)));
    for view in used {
        for table in &view.tables {
            if !tables.iter().any(|known| known.key == table.key) {
                tables.push(table.clone());
            }
        }
    }
}

/// The names that WITH gives, anywhere in a query.
pub(super) fn ctes(query: &Query) -> Vec<String> {
    struct Ctes(Vec<String>);
    impl Visitor for Ctes {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
            self.0.extend(ctes.map(|cte| cte.alias.name.value.clone()));
            ControlFlow::Continue(())
        }
    }
    let mut found = Ctes(vec![]);
    let _ = Visit::visit(query, &mut found);
    found.0
}

pub(super) fn is_one(ctes: &[String], name: &str) -> bool {
    ctes.iter().any(|cte| cte.eq_ignore_ascii_case(name))
}

struct Expand<'a> {
    views: &'a [&'a View],
    used: Vec<&'a View>,
}

impl VisitorMut for Expand<'_> {
    type Break = ();

    // After its children: what is put in needs no visit.
    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, alias, args: None, .. } = factor else {
            return ControlFlow::Continue(());
        };
        let [part] = name.0.as_slice() else { return ControlFlow::Continue(()) };
        let Some(ident) = part.as_ident() else { return ControlFlow::Continue(()) };
        let Some(view) =
            self.views.iter().find(|view| view.name.eq_ignore_ascii_case(&ident.value))
        else {
            return ControlFlow::Continue(());
        };
        let alias = alias.take().unwrap_or_else(|| TableAlias {
            explicit: true,
            name: Ident::new(view.name.clone()),
            columns: vec![],
            at: None,
        });
        self.used.push(view);
        *factor = TableFactor::Derived {
            lateral: false,
            subquery: view.query.clone(),
            alias: Some(alias),
            sample: None,
        };
        ControlFlow::Continue(())
    }
}

/// Gives the tables of a view keys of their own: `logs` in it is not what WITH calls `logs` in a
/// query around it.
pub(super) fn seal(query: &mut Query, tables: &mut [Mentioned]) {
    let ctes = ctes(query);
    for table in tables.iter_mut().filter(|table| !is_one(&ctes, &table.key)) {
        let sealed = format!("{} (view)", table.key);
        let _ = query.visit(&mut Rename { from: &table.key, to: &sealed });
        table.key = sealed;
    }
}

struct Rename<'a> {
    from: &'a str,
    to: &'a str,
}

impl VisitorMut for Rename<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, alias, .. } = factor
            && let [part] = name.0.as_slice()
            && let Some(ident) = part.as_ident()
            && ident.value == self.from
        {
            if alias.is_none() {
                let name = Ident::new(self.from);
                *alias = Some(TableAlias { explicit: true, name, columns: vec![], at: None });
            }
            let renamed = Ident { value: self.to.to_owned(), ..ident.clone() };
            *name = ObjectName::from(vec![renamed]);
        }
        ControlFlow::Continue(())
    }
}
