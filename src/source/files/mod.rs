//! Files that appear in a directory, as a stream.
