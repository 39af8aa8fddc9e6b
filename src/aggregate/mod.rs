//! The `aggregate` room.
