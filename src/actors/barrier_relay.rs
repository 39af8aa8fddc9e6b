//! Stands in for the readers of a source of which this daemon has no partition at the moment.
//!
//! Its queries have state all the same, which every epoch has to hold, and their operators take a
//! snapshot when a barrier comes in.

use actix::prelude::*;

use super::checkpoint_writer::TakeBarrier;
use super::flow::{Item, Outlet};

/// Passes barriers on, and nothing else.
pub struct BarrierRelay {
    pub(super) outlets: Vec<Outlet>,
}

impl Actor for BarrierRelay {
    type Context = Context<Self>;
}

impl Handler<TakeBarrier> for BarrierRelay {
    type Result = ();

    fn handle(&mut self, barrier: TakeBarrier, _: &mut Self::Context) {
        for outlet in &self.outlets {
            outlet.send(0, Item::Barrier(barrier.epoch));
        }
    }
}
