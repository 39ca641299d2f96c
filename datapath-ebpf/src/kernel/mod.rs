//! The packet path's feet on the ground: everything that touches memory or a BPF helper. The only unsafe code here.
#![expect(unsafe_code, reason = "BPF contexts, packet memory and helpers are raw pointers")]

mod alone;
mod held;
mod helpers;
mod maps;
mod near;
mod range;
mod sock;
mod tables;
mod tc;
mod timer;
mod xdp;

pub use sock::{bind, connect, restore};
pub use tc::{
    behind_xdp, container_new, fragment, from_container, from_uplink, from_uplink_l3, host_new, icmp_error,
    outside_new, to_container, to_uplink,
};
pub use xdp::{from_uplink_xdp, outside_xdp};

/// Helpers for GPL programs only are used (`bpf_jiffies64` among them).
#[unsafe(link_section = "license")]
#[used]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// What XDP leaves in front of a packet that it has rewritten, for tc to carry on.
#[repr(C)]
#[derive(Clone, Copy)]
struct Handover {
    /// [`HANDOVER`].
    mark: u32,
    /// The container's veth; 0 for the host's own stack.
    ifindex: u32,
}

/// Marks a [`Handover`]: "plhv".
const HANDOVER: u32 = 0x706c_6876;
