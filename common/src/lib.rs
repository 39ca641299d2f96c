//! Every byte that crosses between portlane's user space and its eBPF programs, and the words for it.
//!
//! Addresses are kept as octets in network order, so `bpftool map dump` shows them as people write them.
//! Ports, interface indices and identifiers are plain integers in the machine's order, for the same reason.
//! Every type is `repr(C)` without implicit padding: what user space writes, the kernel compares byte for byte.
//!
//! Invariant: this crate knows nothing of maps' drivers, packets' buffers or the control plane.
#![no_std]

pub mod cone;
pub mod config;
pub mod counter;
pub mod endpoint;
pub mod family;
pub mod flow;
pub mod fragment;
pub mod network;
mod plain;
pub mod policy;
pub mod publish;
pub mod reason;
pub mod socket;
pub mod source;
pub mod span;
