//! Lines from a TCP peer.
