//! Flows: one entry for each direction of a conversation whose packets portlane rewrites or lets through by state.
//!
//! The key is the tuple of a packet as it arrives at a hook; the value is the tuple as it leaves, and where to.
//! The two entries of a pair are each other's mirror: the reply's key is the opener's value turned round.

/// [`FlowKey::zone`] of what arrives at an uplink.
pub const ZONE_OUTSIDE: u32 = 0;
/// [`FlowKey::zone`] of what the host itself sends by an uplink.
pub const ZONE_HOST: u32 = u32::MAX;

/// A packet's tuple, and where it was seen.
///
/// A container's packets carry the index of its veth as their zone, so a hit also proves the source address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port; for an ICMP echo request its identifier, for a reply 0.
    pub sport: u16,
    /// Destination port; for an ICMP echo reply its identifier, for a request 0.
    pub dport: u16,
    /// Index of the container's veth, [`ZONE_OUTSIDE`] or [`ZONE_HOST`].
    pub zone: u32,
    /// IP protocol number.
    pub proto: u8,
    /// Always zero. (Not one array: LLVM would call a function to clear three bytes.)
    pub pad: u8,
    /// Always zero.
    pub pad2: u16,
}

impl<A: Copy> FlowKey<A> {
    /// Makes this the key of a tuple, field by field: a value built on the stack of a BPF program first would cost 48 of
    /// its 512 bytes.
    #[inline(always)]
    pub const fn set(&mut self, [src, dst]: [&A; 2], [sport, dport]: [u16; 2], zone: u32, proto: u8) {
        self.src = *src;
        self.dst = *dst;
        self.sport = sport;
        self.dport = dport;
        self.zone = zone;
        self.proto = proto;
        self.pad = 0;
        self.pad2 = 0;
    }

    /// The key of the entry's mirror.
    #[inline(always)]
    #[must_use]
    pub const fn mirror(&self, flow: &Flow<A>) -> Self {
        Self {
            src: flow.dst,
            dst: flow.src,
            sport: flow.dport,
            dport: flow.sport,
            zone: flow.pair_zone,
            proto: self.proto,
            pad: 0,
            pad2: 0,
        }
    }
}

/// Seconds between two readings of the clock, the later one first; 0 if they come the other way round.
#[inline(always)]
pub const fn age(now: u32, then: u32) -> u32 {
    let age = now.wrapping_sub(then);
    if age >> 31 == 0 { age } else { 0 }
}

/// What to do with the packets of one direction of a flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow<A> {
    /// Seconds since boot, suspension included, at which either direction was last seen: at most [`REFRESH_SECONDS`]
    /// old while packets pass.
    pub seen: u32,
    /// When a packet in this entry's direction last renewed that, in jiffies, lower half: cheap to compare, but it stands still
    /// while the host is suspended.
    pub touched: u32,
    /// Source address that the packet leaves with.
    pub src: A,
    /// Destination address that the packet leaves with.
    pub dst: A,
    /// Source port that the packet leaves with.
    pub sport: u16,
    /// Destination port that the packet leaves with.
    pub dport: u16,
    /// Interface that the packet leaves by: a container's veth or an uplink; 0 for the host's own stack.
    pub ifindex: u32,
    /// Zone of the mirror entry.
    pub pair_zone: u32,
    /// The container's endpoint number, for its counters; 0 where the host itself is the endpoint.
    pub endpoint: u32,
    /// The publish entry's number, 0 if none was used.
    pub publish: u32,
    /// Generation of the publish entry when the flow began; another one now means that the flow is over.
    pub generation: u32,
    /// Difference that the addresses make to an L4 checksum, folded to 16 bits.
    pub addr_delta: u16,
    /// Difference that the ports make to an L4 checksum, folded to 16 bits.
    pub port_delta: u16,
    /// Destination MAC of the next hop; zero while it is not known.
    pub dst_mac: [u8; 6],
    /// Source MAC towards the next hop.
    pub src_mac: [u8; 6],
    /// Bits of [`state`].
    pub state: u8,
    /// One of [`hop`].
    pub hop: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// Always zero.
    pub pad: u8,
    /// Largest IP packet that the way out carries, in bytes; 0 for no limit.
    pub mtu: u16,
    /// Always zero.
    pub pad2: u16,
    /// Endpoint whose share the conversation counts against, 0 for nobody's.
    pub owner: u32,
    /// TCP, in the opener's entry before the handshake is done: the acknowledgement that completes it; 0 while the SYN ACK
    /// was not seen.
    pub expected: u32,
}

impl<A> Flow<A> {
    /// Makes the flow old by decades, by both clocks: it counts no more, and is taken away.
    pub const fn end(&mut self, clock: u32, jiffies: u32) {
        self.seen = clock.wrapping_sub(1 << 30);
        self.touched = jiffies.wrapping_sub(1 << 30);
    }
}

/// Where a flow's packets go.
pub mod hop {
    /// Straight into the container behind `ifindex` (`bpf_redirect_peer`).
    pub const ENDPOINT: u8 = 1;
    /// Out by the uplink `ifindex`.
    pub const UPLINK: u8 = 2;
    /// Up the host's own stack.
    pub const HOST: u8 = 3;
}

/// What a flow has seen; both entries of a pair hold the same bits.
pub mod state {
    /// The reply direction has spoken.
    pub const ANSWERED: u8 = 1;
    /// TCP: the opener sent FIN.
    pub const FIN_OPENER: u8 = 2;
    /// TCP: the reply direction sent FIN.
    pub const FIN_REPLY: u8 = 4;
    /// TCP and SCTP: either side aborted (RST, ABORT), or the association was shut down.
    pub const RESET: u8 = 8;
    /// TCP and SCTP: the handshake is done.
    pub const CONFIRMED: u8 = 16;

    /// Whether a TCP or SCTP conversation is over: reset, or closed by both sides.
    #[inline(always)]
    pub const fn is_closed(state: u8) -> bool {
        state & RESET != 0 || is_shut(state)
    }

    /// Whether both sides have closed it.
    #[inline(always)]
    pub const fn is_shut(state: u8) -> bool {
        state & (FIN_OPENER | FIN_REPLY) == (FIN_OPENER | FIN_REPLY)
    }
}

/// What an entry is.
pub mod flag {
    /// The entry of the reply direction.
    pub const REPLY: u8 = 1;
    /// The packet crosses a router's hop: its TTL or hop limit goes down by one.
    pub const ROUTED: u8 = 2;
    /// Source or destination differs between arrival and departure.
    pub const NAT: u8 = 4;
    /// Towards the container (receive side of its counters).
    pub const INBOUND: u8 = 8;
    /// Uses a [`crate::cone`] entry, which lives as long.
    pub const CONE: u8 = 16;
}

/// Both entries of a pair are stamped when a packet passes and the stamp is older than this.
pub const REFRESH_SECONDS: u32 = 1;
/// UDP, answered (RFC 4787 REQ-5).
pub const UDP_SECONDS: u32 = 300;
/// UDP, not answered yet.
pub const UDP_UNANSWERED_SECONDS: u32 = 30;
/// TCP and SCTP, established (RFC 5382 REQ-5: at least 2 hours 4 minutes).
pub const TCP_SECONDS: u32 = 7440;
/// TCP and SCTP, opening or closing (RFC 5382 REQ-5: at least 4 minutes).
pub const TCP_TRANSITORY_SECONDS: u32 = 240;
/// ICMP echo (RFC 5508 REQ-2).
pub const ICMP_SECONDS: u32 = 60;
/// A connection reset from outside is over if nobody talks for so long. (The reset may have been forged.)
pub const RESET_SECONDS: u32 = 5;
/// How often what is over is taken away. (It stops to count at once.)
pub const SWEEP_SECONDS: u32 = 3;

/// The kernel's timer inside a map entry (Linux 5.15). The kernel finds it by this name in the map's BTF.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct bpf_timer {
    /// The kernel's; reads as zero.
    pub opaque: [u64; 2],
}

/// What takes away conversations that are over (`pl_sweep`, one entry for each IP version).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// The clock's alarm.
    pub timer: bpf_timer,
    /// Which load of the programs has set it; 0 for none.
    pub set_by: u32,
    /// Always zero.
    pub pad: u32,
}

/// Seconds without a packet after which conversations are over.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP and SCTP, established.
    pub tcp: u32,
    /// TCP and SCTP, opening or closing.
    pub tcp_transitory: u32,
    /// UDP, answered.
    pub udp: u32,
    /// UDP, not answered yet.
    pub udp_unanswered: u32,
    /// ICMP echo.
    pub icmp: u32,
}

impl Default for Timeouts {
    /// What the RFCs ask for.
    fn default() -> Self {
        Self {
            tcp: TCP_SECONDS,
            tcp_transitory: TCP_TRANSITORY_SECONDS,
            udp: UDP_SECONDS,
            udp_unanswered: UDP_UNANSWERED_SECONDS,
            icmp: ICMP_SECONDS,
        }
    }
}

impl Timeouts {
    /// Seconds without a packet after which a flow of `proto` in `state` is over.
    #[inline(always)]
    pub const fn of(&self, proto: u8, state: u8) -> u32 {
        match proto {
            6 | 132 if state::is_closed(state) || state & state::CONFIRMED == 0 => self.tcp_transitory,
            6 | 132 => self.tcp,
            17 if state & state::ANSWERED == 0 => self.udp_unanswered,
            17 => self.udp,
            _ => self.icmp,
        }
    }
}
