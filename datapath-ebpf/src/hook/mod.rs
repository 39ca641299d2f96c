//! The hooks: one file each, and one for each program that carries on where a hook's first one leaves off.

pub mod container_new;
pub mod fragment;
pub mod from_container;
pub mod from_uplink;
pub mod host_new;
pub mod icmp_error;
pub mod outside_new;
pub mod socket;
pub mod to_container;
pub mod to_uplink;
