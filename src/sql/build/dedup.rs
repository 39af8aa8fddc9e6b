//! SELECT DISTINCT and `drop_duplicates`.

use std::sync::Arc;

use datafusion::functions::expr_fn::get_field;
use datafusion::logical_expr::Expr;

use super::{Builder, Flow};
use crate::operator::{DedupPlan, Keep};
use crate::sql::OperatorKind;
use crate::sql::catalog::{DropDuplicates, Within};
use crate::sql::error::{SqlError, suggestion};
use crate::sql::marks::{Mark, MarkKind};

impl Builder<'_> {
    pub(super) fn distinct(&mut self, flow: Flow) -> Result<Flow, SqlError> {
        let at = self.landmarks.distinct;
        let keys: Vec<usize> = (0..flow.schema.fields().len()).collect();
        let keep = self.keep(&flow, &keys, Within::Full).map_err(|error| error.at_location(at))?;
        self.deduplicate(flow, &keys, keep)
    }

    pub(super) fn drop_duplicates(
        &mut self,
        flow: Flow,
        request: &DropDuplicates,
    ) -> Result<Flow, SqlError> {
        let fields = flow.schema.fields();
        let mut keys = vec![];
        for name in &request.columns {
            let found = fields
                .iter()
                .position(|field| field.name() == name)
                .or_else(|| fields.iter().position(|f| f.name().eq_ignore_ascii_case(name)));
            let Some(index) = found else {
                let names = fields.iter().map(|field| field.name().as_str());
                return Err(SqlError::new(format!(
                    "drop_duplicates names '{name}', which is no column of the query's output"
                ))
                .hint(format!(
                    "{}; duplicates of rows that are aggregated are dropped in a query of their \
                     own, which this one reads",
                    suggestion(name, names, "columns")
                )));
            };
            keys.push(index);
        }
        if keys.is_empty() {
            keys = (0..fields.len()).collect();
        }
        let keep = self.keep(&flow, &keys, request.within)?;
        self.deduplicate(flow, &keys, keep)
    }

    /// How long keys are remembered, and the event time that says so.
    fn keep(
        &self,
        flow: &Flow,
        keys: &[usize],
        within: Within,
    ) -> Result<(Keep, Option<Timed>), SqlError> {
        let marks = flow.marks();
        let timed = |index: usize| {
            let mark = marks.get(index).copied().flatten()?;
            let column = Expr::Column(flow.schema.columns()[index].clone());
            let time = match mark.kind {
                MarkKind::Time | MarkKind::StartOf(_) => column,
                // A row's window ends after the watermark as long as the row is in time.
                MarkKind::Window(_) => get_field(column, "end"),
                MarkKind::Windows(_) => return None,
            };
            Some(Timed { time, mark })
        };
        let among_keys = || keys.iter().copied().find_map(timed);
        let anywhere = || (0..marks.len()).find_map(timed);
        let missing = || {
            SqlError::new(
                "dropping duplicates by event time needs event time with a watermark among the \
                 query's columns",
            )
            .hint("SELECT the source's event time column, and give the source a watermark")
        };
        match within {
            Within::Wall(us) => return Ok((Keep::Wall { us }, None)),
            Within::EventTime(us) => {
                let found = anywhere().ok_or_else(missing)?;
                return Ok((Keep::EventTime { us }, Some(found)));
            }
            Within::Full | Within::Watermark => {}
        }
        if let Some(found) = among_keys() {
            return Ok((Keep::UntilWatermark, Some(found)));
        }
        if within == Within::Watermark {
            let found = anywhere().ok_or_else(missing)?;
            return Ok((Keep::EventTime { us: found.mark.delay }, Some(found)));
        }
        match self.request.state_ttl_us {
            Some(us) => Ok((Keep::Wall { us }, None)),
            None => Err(SqlError::new(
                "removing duplicates would have to remember every key for ever: no column that has \
                 to be equal is event time with a watermark",
            )
            .hint(
                "add the event time column (or a window of it) to the columns, or set state_ttl to \
                 how long a key is remembered",
            )),
        }
    }

    fn deduplicate(
        &mut self,
        flow: Flow,
        keys: &[usize],
        (keep, timed): (Keep, Option<Timed>),
    ) -> Result<Flow, SqlError> {
        if flow.is_table() {
            return Err(SqlError::new("removing a table's duplicates is not supported")
                .hint("do it where the table is written")
                .at_location(self.landmarks.distinct));
        }
        let columns = flow.schema.columns();
        let keys = keys.iter().map(|index| Expr::Column(columns[*index].clone())).collect();
        let behind = timed.as_ref().map_or(0, |timed| timed.mark.behind(0));
        let plan = DedupPlan {
            query: Arc::from(self.request.name),
            input: Arc::clone(&flow.schema),
            keys,
            time: timed.map(|timed| timed.time),
            keep,
        };
        let schema = Arc::clone(&flow.schema);
        let marks = flow.marks();
        let kind = OperatorKind::Dedup(Box::new(plan));
        let index = self.add_operator(kind, &[&flow], behind)?;
        self.feed_operator(flow, index, 0)?;
        Ok(self.flow_of(index, &schema, marks))
    }
}

/// The event time of a row.
struct Timed {
    time: Expr,
    mark: Mark,
}
