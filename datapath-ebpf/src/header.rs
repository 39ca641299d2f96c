//! Headers as they lie in a packet, and the few places where IPv4 and IPv6 really differ.

use bytemuck::{Pod, Zeroable};
use portlane_common::family::{Addr4, Addr6, Family, V4, V6};

use crate::packet::Packet;

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Ethernet type of ARP.
pub const ARP: u16 = 0x0806;
/// Ethernet types of a tag that is still in the payload (IEEE 802.1Q).
pub const VLAN: u16 = 0x8100;
/// The outer of two tags.
pub const VLAN_IN_VLAN: u16 = 0x88a8;
/// IP protocol numbers.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// SCTP.
pub const SCTP: u8 = 132;
/// IPv6 extension headers (RFC 8200 §4): hop-by-hop options.
pub const HOP_BY_HOP: u8 = 0;
/// Routing.
pub const ROUTING: u8 = 43;
const FRAGMENT6: u8 = 44;
/// The largest length that an IP header's 16-bit field can say, in bytes.
const MOST_IN_FIELD: u32 = 0xffff;
/// Destination options.
pub const DESTINATION: u8 = 60;
/// Extension headers that are walked through in a quoted packet.
const MOST_EXTENSIONS: usize = 4;

/// A MAC address as the words it is compared and moved by.
pub type Mac = [u16; 3];

/// IEEE 802.3.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub struct Ethernet {
    /// Destination.
    pub dst: Mac,
    /// Source.
    pub src: Mac,
    /// Network order.
    pub ethertype: u16,
}

/// RFC 826, for Ethernet and IPv4. Halfwords, because the addresses are not aligned to more.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub struct Arp {
    /// Hardware type, protocol type, lengths, operation.
    pub head: [u16; 4],
    /// Sender's MAC.
    pub sender: Mac,
    /// Sender's IPv4 address.
    pub sender_ip: [u16; 2],
    /// Target's MAC.
    pub target: Mac,
    /// Target's IPv4 address.
    pub target_ip: [u16; 2],
}

/// RFC 791, without options.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Ipv4 {
    version_ihl: u8,
    tos: u8,
    total_length: u16,
    id: u16,
    fragment: u16,
    ttl: u8,
    protocol: u8,
    checksum: u16,
    src: Addr4,
    dst: Addr4,
}

/// RFC 8200.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Ipv6 {
    version_class_label: u32,
    payload_length: u16,
    next_header: u8,
    hop_limit: u8,
    src: Addr6,
    dst: Addr6,
}

/// An IP header of either family, as far as the packet path cares.
#[derive(Clone, Copy)]
pub struct Ip<A> {
    /// Source.
    pub src: A,
    /// Destination.
    pub dst: A,
    /// Protocol of what follows.
    pub proto: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Part of a larger packet.
    pub fragment: bool,
    /// Where the L4 header begins.
    pub l4: usize,
    /// Where the IP packet ends; Ethernet's padding may follow.
    pub end: u32,
}

/// A fragment's place in its datagram.
#[derive(Clone, Copy)]
pub struct Piece {
    /// What all fragments of a datagram have in common, beside their addresses and protocol.
    pub id: u32,
    /// Where its payload lies in the datagram, in units of eight bytes.
    pub offset: u16,
    /// Whether further ones follow.
    pub more: bool,
    /// Protocol of the datagram.
    pub proto: u8,
    /// Where its payload begins.
    pub l4: usize,
}

/// The IP header that an ICMP error quotes.
#[derive(Clone, Copy)]
pub struct Quoted<A> {
    /// Source.
    pub src: A,
    /// Destination.
    pub dst: A,
    /// Protocol of what follows.
    pub proto: u8,
    /// Where the L4 header begins.
    pub l4: usize,
}

/// A hop-by-hop header that holds nothing but how long a jumbogram is (RFC 2675 §2), as far as the kernel of one machine hands
/// it on: Linux before 7.0 puts one in front of a TCP train that is too long for the field.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Jumbogram {
    next_header: u8,
    /// Behind the first eight bytes, in units of these.
    length: u8,
    option: [u8; 2],
    /// Bytes behind the IPv6 header, upper half first; network order.
    payload: [u16; 2],
}

/// Type of the jumbo payload option, and its length in bytes.
const JUMBO_PAYLOAD: [u8; 2] = [0xc2, 4];

/// How a family's header is read and changed.
pub trait Header: Family {
    /// Reads and checks the IP header; `None` if it is cut short or contradicts itself.
    fn read<P: Packet>(packet: &P) -> Option<Ip<Self::Addr>>;
    /// Sees through the header that a train longer than the IP header can say has on its way through the host; its segments
    /// have none.
    fn behind_jumbogram<P: Packet>(packet: &P, ip: Ip<Self::Addr>) -> Ip<Self::Addr>;
    /// Bytes of the IP header that each segment of a train has, whose L4 header begins at `l4`.
    fn on_wire(l4: usize) -> u32;
    /// Replaces the addresses, which changes their sum by `delta`.
    fn set_addresses<P: Packet>(packet: &mut P, src: Self::Addr, dst: Self::Addr, delta: u16) -> bool;
    /// Tells routers on the way, and the host's stack, to leave the packet whole (as IPv6's are anyhow).
    fn keep_whole<P: Packet>(packet: &mut P) -> bool;
    /// A fragment's place; none if it is cut short.
    fn piece<P: Packet>(packet: &P, ip: &Ip<Self::Addr>) -> Option<Piece>;
    /// Whether an ICMP message of this type is an error, which quotes a packet (RFC 1122 §3.2.2, RFC 4443 §2.1).
    fn is_error(icmp: u8) -> bool;
    /// Reads the IP header that an ICMP error quotes; none if it is cut short, or a fragment that has no L4 header.
    fn quoted<P: Packet>(packet: &P, offset: usize) -> Option<Quoted<Self::Addr>>;
    /// Replaces the addresses in a quoted header, which changes their sum by `delta`.
    fn set_quoted<P: Packet>(packet: &mut P, offset: usize, src: Self::Addr, dst: Self::Addr, delta: u16) -> bool;
    /// Counts one hop, if one is left to be counted.
    fn count_hop<P: Packet>(packet: &mut P, ttl: u8) -> bool;
}

/// Folds a sum of 16-bit words to 16 bits (RFC 1071).
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The difference, folded, that replacing words of sum `old` by words of sum `new` makes (RFC 1624).
#[inline(always)]
pub const fn difference(old: u32, new: u32) -> u16 {
    fold(new + (!fold(old)) as u32)
}

/// A checksum after the data it covers changed by `delta`.
#[inline(always)]
pub const fn update(checksum: u16, delta: u16) -> u16 {
    !fold((!checksum) as u32 + delta as u32)
}

/// 1 if a hop is left to be counted, else 0: without a branch, of which the verifier would follow both ways to their ends.
#[inline(always)]
const fn hop(ttl: u8) -> u8 {
    (1u32.wrapping_sub(ttl as u32) >> 31) as u8
}

/// Whether the packet is a train that is longer than its IP header can say: then the field is 0, and what the kernel says of
/// the packet counts (BIG TCP: IPv6 from Linux 5.19 on, IPv4 from 6.3). `before` is what the field does not count.
#[inline(always)]
fn exceeds_field<P: Packet>(packet: &P, before: u32) -> bool {
    packet.segment() != 0 && packet.length() > before + MOST_IN_FIELD
}

impl Header for V4 {
    #[inline(always)]
    fn read<P: Packet>(packet: &P) -> Option<Ip<Addr4>> {
        let ip = packet.read::<Ipv4>(ETHERNET)?;
        let header = ((ip.version_ihl & 0xf) as usize) * 4;
        let total = u16::from_be(ip.total_length) as u32;
        let long = total == 0 && exceeds_field(packet, ETHERNET as u32);
        let end = if long { packet.length() } else { ETHERNET as u32 + total };
        let contradicts = end < (ETHERNET + header) as u32 || end > packet.length();
        if ip.version_ihl >> 4 != 4 || header < Self::HEADER_LEN || contradicts {
            return None;
        }
        Some(Ip {
            src: ip.src,
            dst: ip.dst,
            proto: ip.protocol,
            ttl: ip.ttl,
            fragment: ip.fragment & 0x3fff_u16.to_be() != 0,
            l4: ETHERNET + header,
            end,
        })
    }

    #[inline(always)]
    fn behind_jumbogram<P: Packet>(_packet: &P, ip: Ip<Addr4>) -> Ip<Addr4> {
        ip
    }

    #[inline(always)]
    fn on_wire(l4: usize) -> u32 {
        (l4 - ETHERNET) as u32
    }

    #[inline(always)]
    fn set_addresses<P: Packet>(packet: &mut P, src: Addr4, dst: Addr4, delta: u16) -> bool {
        let Some(checksum) = packet.read::<u16>(ETHERNET + 10) else { return false };
        packet.write(ETHERNET + 10, update(checksum, delta)) && packet.write(ETHERNET + 12, [src, dst])
    }

    #[inline(always)]
    fn keep_whole<P: Packet>(packet: &mut P) -> bool {
        let Some([old, _, checksum]) = packet.read::<[u16; 3]>(ETHERNET + 6) else { return false };
        let new = old | 0x4000_u16.to_be();
        let delta = if new == old { 0 } else { difference(old as u32, new as u32) };
        packet.write(ETHERNET + 10, update(checksum, delta)) && packet.write(ETHERNET + 6, new)
    }

    #[inline(always)]
    fn piece<P: Packet>(packet: &P, ip: &Ip<Addr4>) -> Option<Piece> {
        let [id, field] = packet.read::<[u16; 2]>(ETHERNET + 4)?;
        let field = u16::from_be(field);
        Some(Piece { id: id as u32, offset: field & 0x1fff, more: field & 0x2000 != 0, proto: ip.proto, l4: ip.l4 })
    }

    #[inline(always)]
    fn is_error(icmp: u8) -> bool {
        // Source quench (4) is none any more (RFC 6633).
        matches!(icmp, 3 | 11 | 12)
    }

    #[inline(always)]
    fn quoted<P: Packet>(packet: &P, offset: usize) -> Option<Quoted<Addr4>> {
        let ip = packet.read::<Ipv4>(offset)?;
        let header = ((ip.version_ihl & 0xf) as usize) * 4;
        let later = ip.fragment & 0x1fff_u16.to_be() != 0;
        if ip.version_ihl >> 4 != 4 || header < Self::HEADER_LEN || later {
            return None;
        }
        Some(Quoted { src: ip.src, dst: ip.dst, proto: ip.protocol, l4: offset + header })
    }

    #[inline(always)]
    fn set_quoted<P: Packet>(packet: &mut P, offset: usize, src: Addr4, dst: Addr4, delta: u16) -> bool {
        let Some(checksum) = packet.read::<u16>(offset + 10) else { return false };
        packet.write(offset + 10, update(checksum, delta)) && packet.write(offset + 12, [src, dst])
    }

    #[inline(always)]
    fn count_hop<P: Packet>(packet: &mut P, ttl: u8) -> bool {
        let Some(checksum) = packet.read::<u16>(ETHERNET + 10) else { return false };
        // The TTL is the upper byte of a word: one less changes the sum by minus 0x0100 in network order.
        let hop = hop(ttl);
        let delta = !u16::from_ne_bytes([1, 0]) & 0u16.wrapping_sub(u16::from(hop));
        packet.write(ETHERNET + 10, update(checksum, delta)) && packet.write(ETHERNET + 8, ttl.wrapping_sub(hop))
    }
}

impl Header for V6 {
    #[inline(always)]
    fn read<P: Packet>(packet: &P) -> Option<Ip<Addr6>> {
        let ip = packet.read::<Ipv6>(ETHERNET)?;
        let payload = u16::from_be(ip.payload_length) as u32;
        let header = (ETHERNET + Self::HEADER_LEN) as u32;
        let long = payload == 0 && exceeds_field(packet, header);
        let end = if long { packet.length() } else { header + payload };
        if u32::from_be(ip.version_class_label) >> 28 != 6 || end > packet.length() {
            return None;
        }
        Some(Ip {
            src: ip.src,
            dst: ip.dst,
            proto: ip.next_header,
            ttl: ip.hop_limit,
            fragment: ip.next_header == FRAGMENT6,
            l4: ETHERNET + Self::HEADER_LEN,
            end,
        })
    }

    #[inline(always)]
    fn behind_jumbogram<P: Packet>(packet: &P, ip: Ip<Addr6>) -> Ip<Addr6> {
        let payload = packet.length() - ip.l4 as u32;
        if ip.proto == HOP_BY_HOP
            && exceeds_field(packet, ip.l4 as u32)
            && let Some(found) = packet.read::<Jumbogram>(ip.l4)
            && found.next_header == TCP
            && found.length == 0
            && found.option == JUMBO_PAYLOAD
            && found.payload == [(payload >> 16) as u16, payload as u16].map(u16::to_be)
        {
            return Ip { proto: TCP, l4: ip.l4 + size_of::<Jumbogram>(), ..ip };
        }
        ip
    }

    #[inline(always)]
    fn on_wire(_l4: usize) -> u32 {
        Self::HEADER_LEN as u32
    }

    #[inline(always)]
    fn set_addresses<P: Packet>(packet: &mut P, src: Addr6, dst: Addr6, _delta: u16) -> bool {
        packet.write(ETHERNET + 8, [src, dst])
    }

    #[inline(always)]
    fn keep_whole<P: Packet>(_packet: &mut P) -> bool {
        true
    }

    #[inline(always)]
    fn piece<P: Packet>(packet: &P, ip: &Ip<Addr6>) -> Option<Piece> {
        let [proto, _, high, low, a, b, c, d] = packet.read::<[u8; 8]>(ip.l4)?;
        let field = u16::from_be_bytes([high, low]);
        let id = u32::from_ne_bytes([a, b, c, d]);
        Some(Piece { id, offset: field >> 3, more: field & 1 != 0, proto, l4: ip.l4 + 8 })
    }

    #[inline(always)]
    fn is_error(icmp: u8) -> bool {
        // Error messages are those below 128; RFC 4443 has four of them.
        matches!(icmp, 1..=4)
    }

    #[inline(always)]
    fn quoted<P: Packet>(packet: &P, offset: usize) -> Option<Quoted<Addr6>> {
        let ip = packet.read::<Ipv6>(offset)?;
        if u32::from_be(ip.version_class_label) >> 28 != 6 {
            return None;
        }
        let mut quoted = Quoted { src: ip.src, dst: ip.dst, proto: ip.next_header, l4: offset + Self::HEADER_LEN };
        let mut walked = 0;
        while walked < MOST_EXTENSIONS {
            if !matches!(quoted.proto, HOP_BY_HOP | ROUTING | DESTINATION | FRAGMENT6) {
                break;
            }
            let [next, length, high, low] = packet.read::<[u8; 4]>(quoted.l4)?;
            let fragment = quoted.proto == FRAGMENT6;
            if fragment && u16::from_be_bytes([high, low]) >> 3 != 0 {
                return None;
            }
            quoted.proto = next;
            quoted.l4 += if fragment { 8 } else { (length as usize + 1) * 8 };
            walked += 1;
        }
        Some(quoted)
    }

    #[inline(always)]
    fn set_quoted<P: Packet>(packet: &mut P, offset: usize, src: Addr6, dst: Addr6, _delta: u16) -> bool {
        packet.write(offset + 8, [src, dst])
    }

    #[inline(always)]
    fn count_hop<P: Packet>(packet: &mut P, ttl: u8) -> bool {
        // The hop limit is the lower byte of a word, and IPv6 has no checksum of its own header.
        let hop = hop(ttl);
        packet.uncovered(!u16::from_ne_bytes([0, 1]) & 0u16.wrapping_sub(u16::from(hop)));
        packet.write(ETHERNET + 7, ttl.wrapping_sub(hop))
    }
}
