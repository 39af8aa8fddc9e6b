//! Event time: how far it has come (watermarks) and how it is cut up (windows).
//!
//! Plain data structures. No clock is read by them: whoever calls passes the wall clock in, so that
//! tests can move it; `wall` is what others read it by. Event times are microseconds since the Unix epoch, UTC.

mod session;
mod sliding;
mod wall;
mod watermark;
mod window;

pub use session::Session;
pub use sliding::Sliding;
pub(crate) use wall::{MovedClock, wall_now_us};
pub use watermark::{PartitionProgress, WatermarkOptions, WatermarkTracker};
pub use window::{DurationError, Tumbling, WindowError, Windows, parse_duration};
