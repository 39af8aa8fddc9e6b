//! What flows along the edges of the graph.

use std::sync::Arc;

use actix::prelude::*;
use arrow::record_batch::RecordBatch;

use super::child::Health;
use super::credit::Credit;

/// Which of an operator's inputs a message came through, counted from 0.
pub type InputId = u32;

/// One message along an edge.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Flow {
    /// The receiver's number for the sender.
    pub from: InputId,
    /// Of rows for an operator with several inputs: which one. 0 otherwise.
    pub port: usize,
    /// What is sent.
    pub item: Item,
}

/// What an edge carries.
#[derive(Debug)]
pub enum Item {
    /// Rows: decoded ones, partial aggregates, closed windows, anomalies or dead letters, as the
    /// receiver expects them.
    Rows(RecordBatch, Option<Credit>),
    /// Event time has come this far (microseconds since the epoch): no row that follows is older,
    /// or else it is late.
    Watermark(i64),
    /// All before this belongs to epoch `n`, all after it to the next.
    Barrier(u64),
}

/// The sending end of an edge.
#[derive(Clone)]
pub struct Outlet {
    recipient: Recipient<Flow>,
    from: InputId,
    health: Arc<Health>,
}

impl Outlet {
    /// An edge to `actor`, which knows its sender as input `from`.
    pub fn new<A>(actor: &Addr<A>, health: &Arc<Health>, from: InputId) -> Self
    where
        A: Actor<Context = Context<A>> + Handler<Flow>,
    {
        Self { recipient: actor.clone().recipient(), from, health: health.clone() }
    }

    /// The same edge for the sender that the receiver knows as input `from`.
    pub fn from_input(self, from: InputId) -> Self {
        Self { from, ..self }
    }

    /// Sends. Never blocks and never fails: a receiver that is gone has ended the generation, and
    /// its supervisor knows.
    pub fn send(&self, port: usize, item: Item) {
        self.health.enqueued();
        self.recipient.do_send(Flow { from: self.from, port, item });
    }
}
