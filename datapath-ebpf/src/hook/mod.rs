//! The hooks: each reads as its list of stages.

pub mod from_container;
pub mod from_uplink;
pub mod socket;
pub mod to_container;
pub mod to_uplink;
