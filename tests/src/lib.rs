//! Tools of the root tests.

pub mod topology;
