//! The host's side of the networks: its uplinks and its own addresses.

use crate::family::{Addr4, Addr6, Family};

/// An interface of the host that faces a network (`pl_uplink`, by interface index).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uplink {
    /// IPv4 address that masqueraded packets leave with; zero if the interface has none.
    pub addr4: Addr4,
    /// IPv6 address that masqueraded packets leave with; zero if the interface has none.
    pub addr6: Addr6,
    /// Largest IP packet the link carries, in bytes.
    pub mtu: u32,
    /// Always zero.
    pub pad: u32,
}

/// An address of the host itself (`pl_host4`, `pl_host6`): loopback addresses are not in these tables.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostAddr {
    /// The interface that holds it.
    pub ifindex: u32,
}

impl Uplink {
    /// The masquerade address in a family; [`crate::family::Address::ANY`] if it has none.
    #[inline(always)]
    pub fn addr<F: Family>(&self) -> &F::Addr {
        F::pick(&self.addr4, &self.addr6)
    }
}
