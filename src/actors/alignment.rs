//! Aligned barriers (Chandy and Lamport's snapshot, as Flink does it).

use std::collections::VecDeque;

use super::flow::{Flow, Item};

/// What an operator does with a message that came in.
#[derive(Debug)]
pub enum Step {
    /// Use it now.
    Process(Flow),
    /// All inputs have reached the barrier: take the snapshot, pass the barrier on, and go on with
    /// [`Aligner::release`].
    Aligned(u64),
    /// It waits until the other inputs have reached the barrier.
    Held,
}

/// Lines up the barriers of an operator's inputs.
///
/// An input that has reached the barrier belongs to the next epoch: what it sends meanwhile is
/// held back. A watermark is held back as soon as *any* input has reached the barrier, because it
/// may speak for rows of the next epoch: taking it early could close a window that those rows,
/// read again after a restart, still belong to.
#[derive(Debug)]
pub struct Aligner {
    reached: Vec<bool>,
    waiting: usize,
    epoch: Option<u64>,
    held: VecDeque<Flow>,
}

/// A barrier came that can't be: the operator has to fail rather than to guess.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("barrier {found} came in while barrier {expected} was being aligned")]
pub struct BarrierOutOfOrder {
    expected: u64,
    found: u64,
}

impl Aligner {
    /// For an operator with `inputs` inputs, numbered from 0.
    pub fn new(inputs: usize) -> Self {
        Self { reached: vec![false; inputs], waiting: inputs, epoch: None, held: VecDeque::new() }
    }

    /// How many inputs there are.
    pub fn inputs(&self) -> usize {
        self.reached.len()
    }

    /// Messages held back.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes in a message.
    pub fn offer(&mut self, flow: Flow) -> Result<Step, BarrierOutOfOrder> {
        let reached = self.reached.get(flow.from as usize).copied().unwrap_or(false);
        match &flow.item {
            Item::Barrier(epoch) => {
                let epoch = *epoch;
                match self.epoch {
                    Some(expected) if expected != epoch => {
                        return Err(BarrierOutOfOrder { expected, found: epoch });
                    }
                    _ => self.epoch = Some(epoch),
                }
                if !reached && let Some(slot) = self.reached.get_mut(flow.from as usize) {
                    *slot = true;
                    self.waiting -= 1;
                }
                if self.waiting > 0 {
                    return Ok(Step::Held);
                }
                Ok(Step::Aligned(epoch))
            }
            Item::Watermark(_) if self.epoch.is_some() => {
                self.held.push_back(flow);
                Ok(Step::Held)
            }
            _ if reached => {
                self.held.push_back(flow);
                Ok(Step::Held)
            }
            _ => Ok(Step::Process(flow)),
        }
    }

    /// After [`Step::Aligned`]: begins the next epoch and returns what was held back, in order.
    pub fn release(&mut self) -> VecDeque<Flow> {
        self.reached.fill(false);
        self.waiting = self.reached.len();
        self.epoch = None;
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::super::flow::InputId;
    use super::*;

    fn flow(from: InputId, item: Item) -> Flow {
        Flow { from, port: 0, item }
    }

    #[test]
    fn an_input_past_the_barrier_waits_for_the_others() {
        let mut aligner = Aligner::new(2);
        assert!(matches!(
            aligner.offer(flow(0, Item::Watermark(1))).unwrap(),
            Step::Process(Flow { item: Item::Watermark(1), from: 0, .. })
        ));
        assert!(matches!(aligner.offer(flow(0, Item::Barrier(7))).unwrap(), Step::Held));
        // Even a watermark that names an input still short of the barrier has to wait.
        assert!(matches!(aligner.offer(flow(1, Item::Watermark(2))).unwrap(), Step::Held));
        assert!(matches!(aligner.offer(flow(1, Item::Barrier(7))).unwrap(), Step::Aligned(7)));
        let held = aligner.release();
        assert_eq!(held.len(), 1);
        assert!(matches!(
            aligner.offer(flow(0, Item::Watermark(3))).unwrap(),
            Step::Process(Flow { item: Item::Watermark(3), from: 0, .. })
        ));
    }

    #[test]
    fn a_barrier_out_of_order_is_an_error() {
        let mut aligner = Aligner::new(2);
        aligner.offer(flow(0, Item::Barrier(7))).unwrap();
        assert_eq!(
            aligner.offer(flow(1, Item::Barrier(8))).unwrap_err(),
            BarrierOutOfOrder { expected: 7, found: 8 }
        );
    }

    #[test]
    fn a_repeated_barrier_does_not_stand_for_another_input() {
        let mut aligner = Aligner::new(2);
        aligner.offer(flow(0, Item::Barrier(7))).unwrap();
        assert!(matches!(aligner.offer(flow(0, Item::Barrier(7))).unwrap(), Step::Held));
    }
}
