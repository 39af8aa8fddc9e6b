//! The `sql` room.
