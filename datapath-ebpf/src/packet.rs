//! The two seams of the packet path: how bytes are touched, and where tables live.

use bytemuck::Pod;
use portlane_common::{
    cone::{Cone, ConeKey},
    endpoint::{Endpoint, Veth},
    family::Family,
    flow::{Flow, FlowKey},
    fragment::{Datagram, DatagramKey, HeldKey},
    network::Uplink,
    policy::PolicyKey,
    publish::{Publish, PublishKey},
};

use crate::{
    header::Header,
    stage::{crc, fragment::Fragment, nat::Scratch, open},
    verdict::Verdict,
};

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
    /// [`open::follow`], and in the kernel by a function that the verifier looks at for itself, once: after all that can
    /// come before, it would do so again and again.
    #[inline(always)]
    fn follow<F: Net, T: Tables<F>>(&mut self, tables: &T, table: u32) -> Verdict
    where
        Self: Sized,
    {
        open::follow::<F, Self, T>(self, tables, table)
    }
    /// [`crc::difference`], likewise.
    #[inline(always)]
    fn crc_difference(change: u32, behind: u32) -> u32 {
        crc::difference(change, behind)
    }
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

/// Where conversations are kept.
pub mod table {
    /// `pl_flow4` and `pl_flow6`: nothing is ever forgotten before its time.
    pub const MAIN: u32 = 0;
    /// `pl_new4` and `pl_new6`: what someone outside has opened and not confirmed, and what is over; the longest unused
    /// makes room.
    pub const NEW: u32 = 1;
    /// No table: nothing is found there.
    pub const NONE: u32 = 2;
}

/// What became of an entry that was to be added.
#[repr(u32)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Added {
    /// It is there.
    Entered,
    /// Its key has an entry.
    #[default]
    Taken,
    /// The table has no room.
    Full,
}

/// Tables that do not depend on the address family.
pub trait Shared {
    /// Jiffies since boot, lower half: cheap, but it stands still while the host is suspended.
    fn now(&self) -> u32;
    /// Jiffies a second.
    fn second(&self) -> u32;
    /// Seconds since boot, suspension included.
    fn clock(&self) -> u32;
    /// Seconds without a packet after which a flow of `proto` in `state` is over.
    fn timeout(&self, proto: u8, state: u8) -> u32;
    /// What ports are drawn with.
    fn secret(&self) -> u32;
    /// Whether the administrator keeps the port for himself.
    fn is_reserved(&self, port: u16) -> bool;
    /// Takes a conversation out of an endpoint's share; false if none is left. Nobody, endpoint 0, has no limit.
    fn hold(&self, endpoint: u32) -> bool;
    /// Gives one back.
    fn release(&self, endpoint: u32);
    /// Calls `step` with 0, 1, … until it answers true, at most `times` times; whether it did.
    fn repeat<C: FnMut(u32) -> bool>(&self, times: u32, step: C) -> bool;
    /// The endpoint behind a veth.
    fn veth(&self, ifindex: u32) -> Option<&Veth>;
    /// The same, for what each packet of a container asks once: the last answer need not stay.
    fn near_veth(&self, ifindex: u32) -> Option<&Veth> {
        self.veth(ifindex)
    }
    /// The uplink with this index.
    fn uplink(&self, ifindex: u32) -> Option<&Uplink>;
    /// Largest IP packet that an interface carries at this moment; 0 if it is not there.
    fn mtu(&self, ifindex: u32) -> u32;
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
    /// Lends room for a flow to be, which finds what the last one left there: the stack of a BPF program has 512 bytes, its
    /// callees' included. Answers `none` where there is no room.
    fn with_scratch<R>(&self, none: R, run: impl FnOnce(&mut Scratch<F::Addr>) -> R) -> R;
    /// The entry for a tuple in one of the [`table`]s.
    fn flow(&self, table: u32, key: &FlowKey<F::Addr>) -> Option<&Flow<F::Addr>>;
    /// Adds an entry.
    fn add_flow(&self, table: u32, key: &FlowKey<F::Addr>, flow: &Flow<F::Addr>) -> Added;
    /// Removes an entry; whether it was there.
    fn remove_flow(&self, table: u32, key: &FlowKey<F::Addr>) -> bool;
    /// Sees to it that what is over in [`table::MAIN`] is taken away.
    fn watch(&self);
    /// Notes an entry's state and, where they are given, [`Flow::seen`] and [`Flow::touched`]. Answers the entry.
    fn stamp_flow(
        &self,
        table: u32,
        key: &FlowKey<F::Addr>,
        state: u8,
        seen: Option<u32>,
        touched: Option<u32>,
    ) -> Option<&Flow<F::Addr>>;
    /// Notes which acknowledgement completes a flow's handshake.
    fn expect_of_flow(&self, key: &FlowKey<F::Addr>, expected: u32);
    /// Notes the MAC addresses of a flow's next hop, and how large an IP packet the way out carries.
    fn cache_next_hop(&self, table: u32, key: &FlowKey<F::Addr>, mtu: u16, dst_mac: [u8; 6], src_mac: [u8; 6]);
    /// What a full-cone socket is on the other side, live or not.
    fn cone(&self, key: &ConeKey<F::Addr>) -> Option<&Cone<F::Addr>>;
    /// Enters what a full-cone socket is on the other side.
    fn put_cone(&self, key: &ConeKey<F::Addr>, cone: &Cone<F::Addr>) -> bool;
    /// Makes room for what is known of a datagram in pieces, if there is none.
    fn begin_datagram(&self, key: &DatagramKey<F::Addr>);
    /// Has `run` look at a datagram in pieces and change it; `part::NO_ROOM` if there is none.
    fn datagram(&self, key: &DatagramKey<F::Addr>, run: impl FnOnce(&mut Datagram<F::Addr>) -> u32) -> u32;
    /// The tuple that a datagram's first fragment told.
    fn datagram_tuple(&self, key: &DatagramKey<F::Addr>) -> Option<&FlowKey<F::Addr>>;
    /// Forgets a datagram.
    fn remove_datagram(&self, key: &DatagramKey<F::Addr>);
    /// Keeps the packet at hand; false if it is too large.
    fn keep<P: Packet>(&self, packet: &P, key: &HeldKey<F::Addr>) -> bool;
    /// Puts the packets kept in the slots whose bits are set in `held` back on the interface of the packet at hand, which
    /// comes out of it unchanged; false if it does not.
    fn put_back<P: Packet>(&self, packet: &mut P, key: &mut HeldKey<F::Addr>, held: u32) -> bool;
    /// Lends room for a fragment.
    fn with_fragment(&self, run: impl FnOnce(&mut Fragment<F::Addr>) -> Verdict) -> Verdict;
    /// The endpoint with this address.
    fn endpoint(&self, addr: &F::Addr) -> Option<&Endpoint>;
    /// The same, for what each packet of a container asks once: the last answer need not stay.
    fn near_endpoint(&self, addr: &F::Addr) -> Option<&Endpoint> {
        self.endpoint(addr)
    }
    /// Whether the address is one of the host's own (loopback not counted).
    fn is_host(&self, addr: &F::Addr) -> bool;
    /// The range filed under the key's address and protocol that holds `port`; its class and block do not matter.
    fn publish(&self, key: &PublishKey<F::Addr>, port: u16) -> Option<&Publish<F::Addr>>;
    /// Whether the publish entry with this number, which has sources, is open to an address.
    fn admits(&self, publish: u32, addr: &F::Addr) -> bool;
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
