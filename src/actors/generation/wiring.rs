//! Who sends to whom: the numbers that receivers know their senders by.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use actix::prelude::*;

use crate::actors::blueprint::Blueprint;
use crate::actors::child::Health;
use crate::actors::fanout::Destination;
use crate::actors::flow::{Flow, InputId, Outlet};
use crate::graph::Root;
use crate::sink::type_change::TypeFit;

/// The senders of one receiver, numbered from 0: the readers of a source and the shards of an
/// operator each have a run of numbers.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    first: BTreeMap<Root, InputId>,
    total: usize,
}

impl Inputs {
    /// For a receiver of rows of `roots`, each of which has as many senders as `senders_of` says.
    pub fn new(roots: &BTreeSet<Root>, senders_of: impl Fn(Root) -> usize) -> Self {
        let mut inputs = Self::default();
        for root in roots {
            inputs.first.insert(*root, inputs.total as InputId);
            inputs.total += senders_of(*root);
        }
        inputs
    }

    /// For a receiver whose `total` senders number themselves.
    pub fn of(total: usize) -> Self {
        Self { first: BTreeMap::new(), total }
    }

    /// The same, and behind them the senders of `roots`.
    #[must_use]
    pub fn followed_by(
        mut self,
        roots: &BTreeSet<Root>,
        senders_of: impl Fn(Root) -> usize,
    ) -> Self {
        for root in roots {
            self.first.insert(*root, self.total as InputId);
            self.total += senders_of(*root);
        }
        self
    }

    /// How many there are.
    pub fn total(&self) -> usize {
        self.total
    }

    /// The number of the `member`th sender of a root; `None` for a root that does not send here.
    pub fn id(&self, root: Root, member: usize) -> Option<InputId> {
        self.first.get(&root).map(|first| first + member as InputId)
    }
}

/// An actor that takes rows, and how it knows its senders.
pub struct Receiver {
    outlet: Outlet,
    inputs: Inputs,
}

impl Receiver {
    /// For an actor that is running.
    pub fn new<A>(actor: &Addr<A>, health: &Arc<Health>, inputs: Inputs) -> Self
    where
        A: Actor<Context = Context<A>> + Handler<Flow>,
    {
        Self { outlet: Outlet::new(actor, health, 0), inputs }
    }

    /// For the sender that it knows by this number.
    pub fn outlet(&self, from: InputId) -> Outlet {
        self.outlet.clone().from_input(from)
    }

    /// For the `member`th sender of a root, if that root sends here.
    pub fn outlet_of(&self, root: Root, member: usize) -> Option<Outlet> {
        self.inputs.id(root, member).map(|from| self.outlet(from))
    }
}

/// Every receiver of a generation, so far.
#[derive(Default)]
pub struct Wiring {
    /// In the order of the blueprint's sinks.
    pub sinks: Vec<Receiver>,
    /// By sink: what brings rows into the types of its table.
    pub fits: BTreeMap<usize, Arc<TypeFit>>,
    /// By query.
    pub detectors: BTreeMap<usize, Vec<Receiver>>,
    /// By operator, its shards in order.
    pub operators: BTreeMap<usize, Vec<Receiver>>,
}

impl Wiring {
    /// The ends of the branches below a root, for its `member`th sender. `resume_at` says from
    /// which offset on a table wants rows.
    pub fn destinations(
        &self,
        blueprint: &Blueprint,
        root: Root,
        member: usize,
        resume_at: impl Fn(usize) -> i64,
    ) -> Ends {
        let graph = &blueprint.graph;
        let to = |receiver: &Receiver, resume_at| {
            let outlet = receiver.outlet_of(root, member)?;
            Some(Destination { outlet, resume_at, fit: None })
        };
        let to_sink = |sink: usize| {
            let destination = to(self.sinks.get(sink)?, resume_at(sink))?;
            Some(Destination { fit: self.fits.get(&sink).cloned(), ..destination })
        };
        let mut ends = Ends::default();
        for query in graph.outputs_below(root) {
            let places = &blueprint.queries[query].sinks;
            let sinks = places.iter().filter_map(|sink| to_sink(*sink));
            let least = places.iter().map(|sink| resume_at(*sink)).min().unwrap_or(0);
            let detectors = self.detectors.get(&query).into_iter().flatten();
            ends.outputs.insert(
                query,
                sinks.chain(detectors.filter_map(|detector| to(detector, least))).collect(),
            );
        }
        for operator in graph.operators_below(root) {
            let queries = graph.outputs_of_operator(operator);
            let sinks = queries.iter().flat_map(|query| &blueprint.queries[*query].sinks);
            let least = sinks.map(|sink| resume_at(*sink)).min().unwrap_or(0);
            let shards = self.operators.get(&operator).into_iter().flatten();
            ends.operators.insert(operator, shards.filter_map(|s| to(s, least)).collect());
        }
        ends
    }
}

/// What a root's branches end at.
#[derive(Default)]
pub struct Ends {
    /// By query.
    pub outputs: BTreeMap<usize, Vec<Destination>>,
    /// By operator.
    pub operators: BTreeMap<usize, Vec<Destination>>,
}

/// The number under which operators know the tracker of a source: no barrier comes from it, so it
/// is none of those above.
pub fn tracker_id(source: usize) -> InputId {
    InputId::MAX - source as InputId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sender_has_a_number_of_its_own() {
        let roots = BTreeSet::from([Root::Source(1), Root::Operator(0), Root::Source(0)]);
        let inputs = Inputs::new(&roots, |root| match root {
            Root::Source(source) => source + 1,
            Root::Operator(_) => 4,
        });
        assert_eq!(inputs.total(), 1 + 2 + 4);
        let ids: BTreeSet<_> = [(Root::Source(0), 1), (Root::Source(1), 2), (Root::Operator(0), 4)]
            .into_iter()
            .flat_map(|(root, members)| (0..members).map(move |member| (root, member)))
            .filter_map(|(root, member)| inputs.id(root, member))
            .collect();
        assert_eq!(ids, (0..7).collect());
        assert_eq!(inputs.id(Root::Operator(9), 0), None);
    }
}
