//! The packet path's two seams in ordinary memory, and the cases that the host's tests and the loaded programs share.
//!
//! [`cases`] says what happens to which packet in the small [`world`] of a host with four networks; `cargo test` runs
//! that table through the host build, the root tests through the programs in the kernel, tc and XDP.

pub mod bytes;
pub mod cases;
pub mod checksum;
pub mod choices;
pub mod frame;
pub mod fuzz;
pub mod judge;
pub mod odd_cases;
pub mod place;
pub mod plausible;
pub mod promises;
pub mod published;
pub mod quote;
pub mod run;
pub mod sequence;
pub mod shelf;
pub mod strange_cases;
pub mod tables;
pub mod talk;
pub mod talk_cases;
pub mod turn;
pub mod wire;
pub mod world;
