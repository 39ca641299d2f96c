//! From bytes to a tuple.

use bytemuck::{Pod, Zeroable};
use portlane_common::flow::FlowKey;

use crate::{
    header::{ETHERNET, Ip, SCTP, TCP, UDP},
    packet::{Net, Packet},
};

/// TCP flag FIN.
pub const FIN: u8 = 0x01;
/// TCP flag SYN.
pub const SYN: u8 = 0x02;
/// TCP flag RST.
pub const RST: u8 = 0x04;
/// TCP flag ACK.
pub const ACK: u8 = 0x10;

/// What a packet carries, as far as NAT can follow: [`Parsed::kind`].
pub mod kind {
    /// Cut short, or contradicting itself.
    pub const MALFORMED: u8 = 0;
    /// TCP.
    pub const TCP: u8 = 1;
    /// UDP.
    pub const UDP: u8 = 2;
    /// An ICMP or ICMPv6 echo request or reply.
    pub const ECHO: u8 = 3;
    /// Any other protocol or ICMP message.
    pub const OTHER: u8 = 4;
    /// A fragment.
    pub const FRAGMENT: u8 = 5;
    /// An ICMP or ICMPv6 error message.
    pub const ERROR: u8 = 6;
    /// SCTP.
    pub const SCTP: u8 = 7;
}

/// A packet's headers. Every field is always set: the verifier wants it so.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Parsed<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port, or identifier of an echo request.
    pub sport: u16,
    /// Destination port, or identifier of an echo reply.
    pub dport: u16,
    /// IP protocol.
    pub proto: u8,
    /// One of [`kind`].
    pub kind: u8,
    /// TCP flags, or those that SCTP's first chunk corresponds to; 0 for the rest.
    pub tcp: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// ICMP type; 0 for the rest.
    pub icmp: u8,
    /// Where the L4 header begins.
    pub l4: usize,
    /// Where the IP packet ends.
    pub end: u32,
}

/// RFC 9293, as far as the urgent pointer.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Tcp {
    sport: u16,
    dport: u16,
    sequence: [u16; 4],
    offset: u8,
    flags: u8,
    window: u16,
    checksum: u16,
    urgent: u16,
}

/// RFC 768; the first eight bytes of ICMP echo have the same shape.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Udp {
    sport: u16,
    dport: u16,
    length: u16,
    checksum: u16,
}

/// RFC 9260 §3, as far as the first chunk's type.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Sctp {
    sport: u16,
    dport: u16,
    tag: [u16; 2],
    checksum: [u16; 2],
    chunk: u8,
    flags: u8,
    length: u16,
}

/// What is read behind an IP header at most: an IPv6 fragment's own header and TCP's, or a neighbour advertisement.
const OTHERS: usize = 8 + size_of::<Tcp>();

/// SCTP chunk types (RFC 9260 §3.2) that open and end an association.
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
const SHUTDOWN_COMPLETE: u8 = 14;

impl<A: Copy> Parsed<A> {
    /// All but the addresses: what is needed once the flow is known.
    #[inline(always)]
    pub const fn rest(&self) -> Parsed<()> {
        let Self { sport, dport, proto, kind, tcp, ttl, icmp, l4, end, .. } = *self;
        Parsed { src: (), dst: (), sport, dport, proto, kind, tcp, ttl, icmp, l4, end }
    }

    /// The tuple, as seen in `zone`.
    #[inline(always)]
    pub fn key(&self, zone: u32) -> FlowKey<A> {
        FlowKey {
            src: self.src,
            dst: self.dst,
            sport: self.sport,
            dport: self.dport,
            zone,
            proto: self.proto,
            pad: 0,
            pad2: 0,
        }
    }

    /// Whether flows can follow what the packet carries.
    #[inline(always)]
    pub fn trackable(&self) -> bool {
        matches!(self.kind, kind::TCP | kind::UDP | kind::ECHO | kind::SCTP)
    }

    /// Whether a first program can carry it on by its flow; what is not is left to the next one.
    #[inline(always)]
    pub fn is_quick(&self) -> bool {
        matches!(self.kind, kind::TCP | kind::UDP | kind::ECHO)
    }

    /// Whether it has ports, which can be published.
    #[inline(always)]
    pub fn has_ports(&self) -> bool {
        matches!(self.kind, kind::TCP | kind::UDP | kind::SCTP)
    }

    /// Whether it asks for a connection, or association.
    #[inline(always)]
    pub fn is_syn(&self) -> bool {
        self.tcp & (SYN | ACK) == SYN
    }
}

/// Bytes of the IP and L4 headers of a packet that flows can follow; of a train, of each of its segments.
#[inline(always)]
pub fn headers<F: Net, A, P: Packet>(packet: &P, parsed: &Parsed<A>) -> u32 {
    let l4 = match packet.read::<Tcp>(parsed.l4) {
        Some(tcp) if parsed.kind == kind::TCP => ((tcp.offset >> 4) as u32) * 4,
        _ => size_of::<Udp>() as u32,
    };
    F::on_wire(parsed.l4) + l4
}

/// Reads the IP header, and makes what the packet path reads behind it readable; `None` if it is cut short or contradicts
/// itself.
///
/// No byte more: payload that a socket sent lies beside the headers, and to fetch some of it costs ten times as much as all
/// the rest (a new head for the packet, which its sender still holds).
#[inline(always)]
pub fn ip<F: Net, P: Packet>(packet: &mut P) -> Option<Ip<F::Addr>> {
    ip_alone::<F, P>(packet).map(|ip| F::behind_jumbogram(packet, ip))
}

/// The same of what is no train, as ICMP errors and fragments are not.
#[inline(always)]
pub fn ip_alone<F: Net, P: Packet>(packet: &mut P) -> Option<Ip<F::Addr>> {
    packet.pull((ETHERNET + F::HEADER_LEN) as u32);
    let ip = F::read(packet)?;
    let behind = match ip.proto {
        TCP => size_of::<Tcp>(),
        UDP => size_of::<Udp>(),
        _ => OTHERS,
    };
    packet.pull((ip.l4 + behind) as u32);
    Some(ip)
}

/// Where a TCP packet's sequence number and its acknowledgement are: four bytes each, network order.
#[inline(always)]
pub fn tcp_numbers<A, P: Packet>(packet: &P, parsed: &Parsed<A>) -> [u32; 2] {
    let Some([a, b, c, d]) = packet.read::<[u16; 4]>(parsed.l4 + 4) else { return [0; 2] };
    let word = |high: u16, low: u16| u32::from(u16::from_be(high)) << 16 | u32::from(u16::from_be(low));
    [word(a, b), word(c, d)]
}

/// Reads what follows the IP header, of a packet that no first program could carry on: the first fragment of a
/// datagram counts as what it begins.
#[inline(always)]
pub fn beginning<F: Net, P: Packet>(packet: &P, ip: &Ip<F::Addr>) -> Parsed<F::Addr> {
    let piece = if ip.fragment { F::piece(packet, ip) } else { None };
    match piece {
        // The fragment header itself may reach into the padding.
        Some(piece) if piece.offset == 0 && piece.l4 as u32 <= ip.end => {
            l4::<F, P>(packet, &Ip { fragment: false, proto: piece.proto, l4: piece.l4, ..*ip })
        }
        _ => l4::<F, P>(packet, ip),
    }
}

/// Reads what follows the IP header.
#[inline(always)]
pub fn l4<F: Net, P: Packet>(packet: &P, ip: &Ip<F::Addr>) -> Parsed<F::Addr> {
    let mut parsed = Parsed {
        src: ip.src,
        dst: ip.dst,
        sport: 0,
        dport: 0,
        proto: ip.proto,
        kind: kind::MALFORMED,
        tcp: 0,
        ttl: ip.ttl,
        icmp: 0,
        l4: ip.l4,
        end: ip.end,
    };
    // What lies behind the end of the IP packet is padding, whatever it looks like.
    let room = ip.end - ip.l4 as u32;
    if ip.fragment {
        parsed.kind = kind::FRAGMENT;
    } else if ip.proto == TCP {
        if room >= size_of::<Tcp>() as u32
            && let Some(tcp) = packet.read::<Tcp>(ip.l4)
        {
            parsed.kind = kind::TCP;
            parsed.sport = u16::from_be(tcp.sport);
            parsed.dport = u16::from_be(tcp.dport);
            parsed.tcp = tcp.flags;
        }
    } else if ip.proto == UDP {
        if room >= size_of::<Udp>() as u32
            && let Some(udp) = packet.read::<Udp>(ip.l4)
        {
            parsed.kind = kind::UDP;
            parsed.sport = u16::from_be(udp.sport);
            parsed.dport = u16::from_be(udp.dport);
        }
    } else if ip.proto == F::ICMP {
        if room >= size_of::<Udp>() as u32
            && let Some(icmp) = packet.read::<Udp>(ip.l4)
        {
            let [icmp_type, code] = icmp.sport.to_ne_bytes();
            parsed.icmp = icmp_type;
            let id = u16::from_be(icmp.length);
            parsed.kind = kind::ECHO;
            // An identifier of 0 would make a request and a reply look the same.
            if code == 0 && icmp_type == F::ECHO_REQUEST && id != 0 {
                parsed.sport = id;
            } else if code == 0 && icmp_type == F::ECHO_REPLY && id != 0 {
                parsed.dport = id;
            } else if F::is_error(icmp_type) {
                parsed.kind = kind::ERROR;
            } else {
                parsed.kind = kind::OTHER;
            }
        }
    } else if ip.proto == SCTP {
        if room >= size_of::<Sctp>() as u32
            && let Some(sctp) = packet.read::<Sctp>(ip.l4)
        {
            parsed.kind = kind::SCTP;
            parsed.sport = u16::from_be(sctp.sport);
            parsed.dport = u16::from_be(sctp.dport);
            parsed.tcp = match sctp.chunk {
                INIT => SYN,
                INIT_ACK => SYN | ACK,
                ABORT | SHUTDOWN_COMPLETE => RST,
                _ => ACK,
            };
        }
    } else {
        parsed.kind = kind::OTHER;
    }
    parsed
}
