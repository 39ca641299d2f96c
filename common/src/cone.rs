//! Endpoint-independent mapping and filtering ("full cone", RFC 4787 REQ-1 and REQ-8), for containers that ask for it:
//! what a container's UDP socket is outside, whoever it talks to. Two entries each, one from either side.

use crate::family::Address;

/// An address and port, and the side they are seen from (`pl_cone4`, `pl_cone6`). The protocol is UDP.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConeKey<A> {
    /// The container's address, or the host's.
    pub addr: A,
    /// As in [`crate::flow::FlowKey::zone`]: the container's veth, or [`crate::flow::ZONE_OUTSIDE`].
    pub zone: u32,
    /// The port there.
    pub port: u32,
}

/// What a socket is on the other side.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cone<A> {
    /// The host's address, or the container's.
    pub addr: A,
    /// The port there.
    pub port: u32,
    /// Seconds since boot, suspension included, at which a conversation that uses it was last seen: at most
    /// [`crate::flow::SWEEP_SECONDS`] late.
    pub seen: u32,
}

/// Sockets of containers that are remembered, per family; a full table forgets the longest unused.
pub const MAX_CONES: u32 = 32_768;

impl<A: Address> ConeKey<A> {
    /// A port of an address, seen from a zone.
    #[inline(always)]
    pub const fn new(addr: A, port: u16, zone: u32) -> Self {
        Self { addr, zone, port: port as u32 }
    }
}
