//! Tools of the root tests.

pub mod kill;
pub mod program;
pub mod topology;
