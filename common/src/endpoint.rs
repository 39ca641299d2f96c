//! Endpoints: a container's place on a bridge network, found by its address or by its veth.

use crate::family::{Addr4, Addr6, Family};

/// Found by a container's address (`pl_endpoint4`, `pl_endpoint6`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Number of the endpoint, index of its counters; never 0.
    pub id: u32,
    /// Number of its network.
    pub network: u32,
    /// Index of the host-side veth.
    pub ifindex: u32,
    /// MAC of the container's `eth0`.
    pub mac: [u8; 6],
    /// MAC of the network's bridge, which routed packets come from.
    pub gateway_mac: [u8; 6],
}

/// Found by the index of a container's host-side veth (`pl_veth`): what it may send, and as whom.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Veth {
    /// Number of the endpoint.
    pub endpoint: u32,
    /// Number of its network.
    pub network: u32,
    /// Index of the network's bridge, from which routes are looked up.
    pub bridge: u32,
    /// IPv4 address of the container; zero if none.
    pub addr4: Addr4,
    /// IPv6 address of the container; zero if none.
    pub addr6: Addr6,
    /// What masqueraded IPv4 packets leave with; zero for the uplink's address.
    pub host4: Addr4,
    /// What masqueraded IPv6 packets leave with; zero for the uplink's address.
    pub host6: Addr6,
    /// MAC of the container's end of the veth pair.
    pub mac: [u8; 6],
    /// MAC of the network's bridge.
    pub gateway_mac: [u8; 6],
    /// Bits of [`veth`].
    pub flags: u8,
    /// Always zero.
    pub pad: [u8; 3],
}

/// Bit of `pl_epoch` that is set while nobody changes endpoints (`pl_veth`, `pl_endpoint4`, `pl_endpoint6`). CPUs keep rows of them
/// under such a number, and no number comes twice: who changes a row clears the bit, counts on, and sets it when he is done.
pub const EPOCH_SETTLED: u32 = 1;

/// Bits of [`Veth::flags`].
pub mod veth {
    /// The network's containers may not reach each other unless a link or a published port says so.
    pub const ICC_OFF: u8 = 1;
    /// What the container sends beyond its host takes the host's address.
    pub const MASQUERADE: u8 = 2;
    /// The network reaches nothing outside.
    pub const INTERNAL: u8 = 4;
    /// The container's UDP sockets have one port outside, and anybody may send to it (RFC 4787 REQ-1, REQ-8).
    pub const FULL_CONE: u8 = 8;
}

impl Veth {
    /// The container's address in a family; [`crate::family::Address::ANY`] if it has none.
    #[inline(always)]
    pub fn addr<F: Family>(&self) -> &F::Addr {
        F::pick(&self.addr4, &self.addr6)
    }

    /// What its masqueraded packets leave with in a family; [`crate::family::Address::ANY`] for the uplink's address.
    #[inline(always)]
    pub fn host<F: Family>(&self) -> &F::Addr {
        F::pick(&self.host4, &self.host6)
    }
}

/// The kernel's lock inside a map entry (Linux 5.1). The kernel finds it by this name in the map's BTF.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct bpf_spin_lock {
    /// The kernel's; reads as zero.
    pub opaque: u32,
}

/// What an endpoint has of the flow table (`pl_share`, by endpoint), of both families together.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Held while the next field is changed.
    pub lock: bpf_spin_lock,
    /// Conversations.
    pub held: u32,
}
