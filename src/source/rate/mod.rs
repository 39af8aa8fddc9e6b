//! Rows made by the clock.
