//! The `event_time` room.
