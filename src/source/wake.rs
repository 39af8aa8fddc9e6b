//! How a source's own thread tells a reader that there is something again.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

type Call = Box<dyn Fn() + Send + Sync>;

/// A callback that can be set after those who call it have got their copy.
#[derive(Clone, Default)]
pub(super) struct Waker(Arc<Mutex<Option<Call>>>);

impl Waker {
    pub fn set(&self, call: Call) {
        // Nothing panics while it holds the lock, and the slot would be whole if something did.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(call);
    }

    pub fn wake(&self) {
        if let Some(call) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            call();
        }
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}
