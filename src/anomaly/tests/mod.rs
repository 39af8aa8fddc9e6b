//! The detectors on simulated traffic.

mod random;
