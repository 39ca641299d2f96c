//! The two seams of the packet path: how bytes are touched, and where tables live.

use bytemuck::Pod;
use portlane_common::{
    endpoint::{Endpoint, Veth},
    family::Family,
    flow::{Flow, FlowKey},
    network::Uplink,
    policy::PolicyKey,
    publish::{Publish, PublishKey},
};

use crate::{header::Header, stage::nat::Scratch};

/// Bytes of a packet. Offsets count from the Ethernet header.
pub trait Packet {
    /// Bytes of the whole packet, Ethernet header included.
    fn length(&self) -> u32;
    /// Index of the interface whose hook runs.
    fn ifindex(&self) -> u32;
    /// Index of the interface by which the packet came into this host; 0 if the host itself made it.
    fn origin(&self) -> u32;
    /// Whether an 802.1Q tag travels beside the packet.
    fn tagged(&self) -> bool;
    /// Bytes of payload in each segment of a packet that is a train of them; 0 for an ordinary packet.
    fn segment(&self) -> u32;
    /// Makes the first `length` bytes readable, as far as the packet has that many.
    fn pull(&mut self, length: u32);
    /// The bytes at `offset`, or `None` past the end.
    fn read<T: Pod>(&self, offset: usize) -> Option<T>;
    /// Overwrites the bytes at `offset`; false past the end.
    fn write<T: Pod>(&mut self, offset: usize, value: T) -> bool;
    /// Adapts the L4 checksum at `offset` to changed addresses (`pseudo`, in the pseudo header) and changed
    /// `ports`, both folded differences. With `optional`, a checksum of zero means none and stays (RFC 768).
    fn checksum(&mut self, offset: usize, pseudo: u16, ports: u16, optional: bool) -> bool;
    /// Tells of a folded difference that no checksum inside the packet makes up for: the NIC may have handed over a sum
    /// of all bytes beside it.
    #[inline(always)]
    fn uncovered(&mut self, _delta: u16) {}
}

/// A route, as the kernel's FIB sees it from an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// One of [`route`].
    pub status: u32,
    /// The interface that it leaves by.
    pub ifindex: u32,
    /// Largest IP packet that it carries; 0 if unknown.
    pub mtu: u32,
    /// MAC of the next hop; zero if not known yet.
    pub dst_mac: [u8; 6],
    /// MAC of the interface.
    pub src_mac: [u8; 6],
}

/// [`Route::status`].
pub mod route {
    /// Leads out by an interface.
    pub const FOUND: u32 = 0;
    /// The host's own address, or none that the FIB forwards to: the stack knows what to answer.
    pub const STACK: u32 = 1;
    /// The host does not forward from this interface.
    pub const REFUSED: u32 = 2;
}

/// Tables that do not depend on the address family.
pub trait Shared {
    /// Jiffies since boot.
    fn now(&self) -> u64;
    /// Jiffies a second.
    fn second(&self) -> u64;
    /// A random number.
    fn random(&self) -> u32;
    /// Calls `step` with 0, 1, … until it answers true, at most `times` times; whether it did.
    fn repeat<C: FnMut(u32) -> bool>(&self, times: u32, step: C) -> bool;
    /// The endpoint behind a veth.
    fn veth(&self, ifindex: u32) -> Option<&Veth>;
    /// The uplink with this index.
    fn uplink(&self, ifindex: u32) -> Option<&Uplink>;
    /// Whether a range filed under the key's endpoints and protocol holds `port`; its class and block do not matter.
    fn opens(&self, key: &PolicyKey, port: u16) -> bool;
    /// The present generation of a publish entry.
    fn generation(&self, publish: u32) -> u32;
    /// Counts a packet of an endpoint; `inbound` is towards the container.
    fn count_endpoint(&self, endpoint: u32, inbound: bool, bytes: u32);
    /// Counts a packet of a publish entry; `inbound` is towards the container.
    fn count_publish(&self, publish: u32, inbound: bool, bytes: u32);
}

/// Tables of one address family.
pub trait Tables<F: Family>: Shared {
    /// Lends room for a flow to be: the stack of a BPF program has 512 bytes, its callees' included.
    fn with_scratch(&self, run: impl FnOnce(&mut Scratch<F::Addr>) -> u32) -> u32;
    /// The flow that a packet with this tuple belongs to.
    fn flow(&self, key: &FlowKey<F::Addr>) -> Option<&Flow<F::Addr>>;
    /// Adds a flow entry; false if the key is taken or the table full.
    fn add_flow(&self, key: &FlowKey<F::Addr>, flow: &Flow<F::Addr>) -> bool;
    /// Adds or replaces a flow entry; false if the table is full.
    fn put_flow(&self, key: &FlowKey<F::Addr>, flow: &Flow<F::Addr>) -> bool;
    /// Removes a flow entry, if there.
    fn remove_flow(&self, key: &FlowKey<F::Addr>);
    /// Notes when a flow was last seen, and its state.
    fn stamp_flow(&self, key: &FlowKey<F::Addr>, seen: u64, state: u8);
    /// Notes the MAC addresses of a flow's next hop.
    fn cache_next_hop(&self, key: &FlowKey<F::Addr>, dst_mac: [u8; 6], src_mac: [u8; 6]);
    /// The endpoint with this address.
    fn endpoint(&self, addr: &F::Addr) -> Option<&Endpoint>;
    /// Whether the address is one of the host's own (loopback not counted).
    fn is_host(&self, addr: &F::Addr) -> bool;
    /// The range filed under the key's address and protocol that holds `port`; its class and block do not matter.
    fn publish(&self, key: &PublishKey<F::Addr>, port: u16) -> Option<&Publish<F::Addr>>;
    /// The route of a packet that comes in by `from`.
    fn route(&self, from: u32, src: &F::Addr, dst: &F::Addr, proto: u8) -> Route;
    /// Whether a socket of the host is connected to exactly this tuple (source: the remote side).
    fn host_connected(&self, key: &FlowKey<F::Addr>) -> bool;
    /// Whether a socket of the host would take what comes with this tuple (source: the remote side): a connected one,
    /// or for UDP one without a peer; a TCP socket that listens does not count.
    fn host_receives(&self, key: &FlowKey<F::Addr>) -> bool;
}

/// All that the packet path asks of an address family.
pub trait Net: Header {}
impl<F: Header> Net for F {}
