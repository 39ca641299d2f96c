//! portlane's packet path, generic over how bytes are touched ([`packet::Packet`]), where tables live
//! ([`packet::Tables`]) and the address family. The same functions run in the kernel under tc and XDP, and on the
//! host under `cargo test`.
//!
//! ```text
//!  container                      host                                                   network
//!  eth0 ── veth ── from_container: parse ▸ guard ▸ flow ▸ policy ▸ nat ▸ rewrite ▸ route ──► uplink, peer's eth0
//!          veth ◄─ to_container:   parse ▸ policy ◄── what the host's stack sends, or the bridge floods
//!  eth0 ◄───────── from_uplink:    parse ▸ flow ▸ nat ▸ policy ▸ rewrite ▸ route ◄────────── uplink (XDP or tc)
//!                  to_uplink:      parse ▸ flow ▸ nat ▸ rewrite ─────────────────────────► uplink (host's own)
//! ```
//!
//! A packet that opens a flow takes the slow path once: `nat` and `policy` put a pair of entries into the flow table,
//! and the packet then goes the way of every later one, by one look-up that finds rewrite, next hop and state.
//!
//! Invariants: nothing outside `kernel/` is unsafe or knows a BPF helper; a function that is `inline(never)` takes no
//! packet and returns a number; every refusal has a [`portlane_common::reason::Reason`].
#![cfg_attr(target_arch = "bpf", no_std)]

pub mod header;
pub mod hook;
#[cfg(target_arch = "bpf")]
pub mod kernel;
pub mod packet;
pub mod stage;
#[cfg(not(target_arch = "bpf"))]
pub mod testing;
pub mod verdict;
