//! The `weblog` room.
