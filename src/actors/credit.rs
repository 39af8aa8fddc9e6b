//! Credit: what bounds the bytes between the readers and the operators.
//!
//! Actor mailboxes do not bound memory, so a batch carries a share of a common budget from before
//! it is read until its last part has been used up. A reader without credit does not read.
//!
//! What operators make of rows can be more than the rows: a sliding window puts each into many
//! results. An operator can't wait for room, as it would hold up the barriers that make room, so
//! it takes on *debt*, and readers wait while more is owed than the budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One permit stands for this many bytes: fine enough for small batches, and coarse enough for
/// large budgets to fit the semaphore's `u32` requests.
const UNIT: usize = 1024;

/// The budget of one pipeline.
#[derive(Clone, Debug)]
pub struct CreditPool {
    semaphore: Arc<Semaphore>,
    units: usize,
    owed: Arc<AtomicUsize>,
}

/// A share of the budget, or a debt. Clones stand for the same share, which returns with the last
/// of them.
#[derive(Clone, Debug)]
pub struct Credit(#[allow(dead_code, reason = "held for what its drop does")] Share);

#[derive(Clone, Debug)]
#[allow(dead_code, reason = "held for what its drop does")]
enum Share {
    Permit(Arc<OwnedSemaphorePermit>),
    Debt(Arc<Debt>),
}

#[derive(Debug)]
struct Debt {
    bytes: usize,
    owed: Arc<AtomicUsize>,
}

impl Drop for Debt {
    fn drop(&mut self) {
        self.owed.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A share that no batch carries yet.
#[derive(Debug)]
pub struct Reserved(OwnedSemaphorePermit);

impl CreditPool {
    /// A budget of `bytes`, rounded up to one unit.
    pub fn new(bytes: usize) -> Self {
        let units = bytes.div_ceil(UNIT).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self { semaphore: Arc::new(Semaphore::new(units)), units, owed: Arc::default() }
    }

    /// Takes `bytes` if they are free now. A request above the whole budget is cut to it: a
    /// batch larger than the budget must still be able to pass, alone.
    pub fn try_reserve(&self, bytes: usize) -> Option<Reserved> {
        self.semaphore.clone().try_acquire_many_owned(self.units_of(bytes)).ok().map(Reserved)
    }

    /// Waits for `bytes`, first come first served. `None` if the pool was closed.
    pub async fn reserve(&self, bytes: usize) -> Option<Reserved> {
        self.semaphore.clone().acquire_many_owned(self.units_of(bytes)).await.ok().map(Reserved)
    }

    /// Takes on a debt of `bytes`, whether there is room or not.
    pub fn owe(&self, bytes: usize) -> Credit {
        self.owed.fetch_add(bytes, Ordering::Relaxed);
        Credit(Share::Debt(Arc::new(Debt { bytes, owed: self.owed.clone() })))
    }

    /// Whether more is owed than the whole budget: readers should wait.
    pub fn is_overdrawn(&self) -> bool {
        self.owed_bytes() > self.limit_bytes()
    }

    /// The whole budget, in bytes.
    pub fn limit_bytes(&self) -> usize {
        self.units * UNIT
    }

    /// Bytes of debt.
    pub fn owed_bytes(&self) -> usize {
        self.owed.load(Ordering::Relaxed)
    }

    /// Bytes that are not given out.
    pub fn free_bytes(&self) -> usize {
        self.semaphore.available_permits() * UNIT
    }

    fn units_of(&self, bytes: usize) -> u32 {
        // `units` was clamped to what a u32 holds.
        bytes.div_ceil(UNIT).clamp(1, self.units) as u32
    }
}

impl Reserved {
    /// Gives back what `bytes` do not need and turns the rest into what a batch carries.
    pub fn spend(mut self, bytes: usize) -> Credit {
        let needed = bytes.div_ceil(UNIT).max(1);
        let surplus = self.0.num_permits().saturating_sub(needed);
        drop(self.0.split(surplus));
        Credit(Share::Permit(Arc::new(self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_returns_with_the_last_clone() {
        let pool = CreditPool::new(8 * UNIT);
        let credit = pool.try_reserve(6 * UNIT).unwrap().spend(4 * UNIT);
        assert_eq!(pool.free_bytes(), 4 * UNIT);
        let clone = credit.clone();
        drop(credit);
        assert!(pool.try_reserve(5 * UNIT).is_none());
        drop(clone);
        assert_eq!(pool.free_bytes(), 8 * UNIT);
    }

    #[test]
    fn debts_are_paid_by_whoever_uses_the_rows_up() {
        let pool = CreditPool::new(8 * UNIT);
        let debts: Vec<Credit> = (0..3).map(|_| pool.owe(4 * UNIT)).collect();
        assert!(pool.is_overdrawn());
        assert_eq!(pool.free_bytes(), 8 * UNIT, "what is owed is not taken from readers' shares");
        drop(debts);
        assert!(!pool.is_overdrawn());
    }

    #[test]
    fn a_request_above_the_budget_takes_all_of_it() {
        let pool = CreditPool::new(2 * UNIT);
        let reserved = pool.try_reserve(100 * UNIT).unwrap();
        assert_eq!(pool.free_bytes(), 0);
        drop(reserved.spend(100 * UNIT));
        assert_eq!(pool.free_bytes(), 2 * UNIT);
    }
}
