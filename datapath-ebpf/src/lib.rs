//! portlane's packet path, generic over how bytes are touched ([`packet::Packet`]), where tables live
//! ([`packet::Tables`]) and the address family. The same functions run in the kernel under tc and XDP, and on the
//! host under `cargo test`.
//!
//! ```text
//!  container                      host                                                   network
//!  eth0 ── veth ── from_container: parse ▸ guard ▸ flow ▸ rewrite ▸ route ───────────────────► uplink, peer's eth0
//!          veth ◄─ to_container:   parse ▸ policy ◄── what the host's stack sends, or the bridge floods
//!  eth0 ◄───────── from_uplink:    parse ▸ flow ▸ rewrite ▸ route ◄───────────────────────── uplink (XDP or tc)
//!                  to_uplink:      parse ▸ flow ─────────────────────────────────────────► uplink (host's own)
//! ```
//!
//! What needs more than its flow's entry is left to a program of its own, by a tail call: that has the stack to itself,
//! and what is quick stays small.
//!
//! ```text
//!  from_container ─┬─► container_new: open ▸ policy ▸ publish ▸ cone ▸ nat ▸ rewrite ▸ route     no flow yet
//!  from_uplink  ─┬─┼─► outside_new:   open ▸ handshake ▸ publish ▸ cone ▸ nat ▸ rewrite ▸ route  (XDP too)
//!  to_uplink ────┼─┼─► host_new:      open ▸ nat ▸ rewrite
//!                ├─┼─► icmp_error:    icmp ▸ rewrite ▸ route                                     about a flow
//!                └─┴─► fragment:      fragment ▸ rewrite ▸ route, or container_new, outside_new
//! ```
//!
//! A packet that opens a flow takes the slow path once: it puts a pair of entries into a table, and the packet then goes
//! the way of every later one, by one look-up that finds rewrite, next hop and state. What a container opens is in the
//! main table at once, within its share; what someone outside opens moves there when both sides have shown that they mean
//! it ([`stage::handshake`]). A timer in the kernel sweeps away what is over.
//!
//! What these end with, from a flow's entry to the verdict, is one function in the kernel that the verifier looks at for
//! itself ([`packet::Packet::follow`]); and what they read they put into memory, which it takes for unknown: so it follows each part
//! once, and not once for each way that leads there. The time to load the programs is made of that.
//!
//! Invariants: nothing outside `kernel/` is unsafe or knows a BPF helper; a function that is `inline(never)` returns a
//! number, and takes no packet, but for those that do nothing but read one (`read`) and those of `kernel/alone.rs`; every refusal has a [`portlane_common::reason::Reason`].
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
