//! The `sink` room.
