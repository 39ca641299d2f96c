//! Tools of the root tests.

pub mod kill;
pub mod ledger;
pub mod program;
pub mod topology;
