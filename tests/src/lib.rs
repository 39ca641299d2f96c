//! Tools of the root tests.

pub mod frame;
pub mod kill;
pub mod program;
pub mod topology;
