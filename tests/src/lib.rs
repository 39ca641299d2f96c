//! Tools of the root tests.

pub mod kill;
pub mod ledger;
pub mod patience;
pub mod program;
pub mod topology;
