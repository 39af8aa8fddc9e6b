//! A Delta table as a stream.
