//! The hooks: one file each, and one for each program that carries on where a hook's first one leaves off.

pub mod container_opens;
pub mod fragment;
pub mod from_container;
pub mod from_uplink;
pub mod host_opens;
pub mod icmp_error;
pub mod outside_opens;
pub mod socket;
pub mod to_container;
pub mod to_uplink;
