//! The `anomaly` room.
