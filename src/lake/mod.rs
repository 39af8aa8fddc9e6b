//! The `lake` room.
