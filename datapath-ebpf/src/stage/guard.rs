//! A container may send only as itself: its own MAC, its own addresses, and never as a router.

use portlane_common::{
    endpoint::Veth,
    family::{Address, V6},
    reason::Reason,
};

use crate::{
    header::{Arp, DESTINATION, ETHERNET, HOP_BY_HOP, Mac, ROUTING},
    packet::{Net, Packet},
    stage::parse::{Parsed, kind},
    verdict::Verdict,
};

/// ICMPv6 neighbour discovery (RFC 4861 §4).
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
const ICMPV6: u8 = 58;
/// Multicast listener discovery: what a listener says (RFC 2710 §3, RFC 3810 §5.2).
const REPORT: u8 = 131;
const DONE: u8 = 132;
const REPORT_2: u8 = 143;
/// More IPv6 extension headers (IANA's registry); fragments and the two of IPsec are no mere wrapping.
const MOBILITY: u8 = 135;
const HIP: u8 = 139;
const SHIM6: u8 = 140;

/// Whether `src` is the endpoint's own MAC.
#[inline(always)]
pub fn own_mac(veth: &Veth, src: Mac) -> bool {
    bytemuck::cast::<_, Mac>(veth.mac) == src
}

/// The number of the reason to refuse an IP packet of a container, 0 if it is its own.
#[inline(always)]
pub fn source<F: Net, P: Packet>(packet: &P, veth: &Veth, parsed: &Parsed<F::Addr>) -> u32 {
    if parsed.src == *veth.addr::<F>() && parsed.src != F::Addr::ANY {
        return if F::AF == V6_AF { behind_headers(packet, veth, parsed) } else { 0 };
    }
    if F::AF == V6_AF {
        let link_local = parsed.src.is_link_local() && is_own_link_local(veth, &parsed.src);
        // Duplicate address detection and MLD speak before there is an address (RFC 4862 §5.4.2).
        let probing = parsed.src == F::Addr::ANY && parsed.dst.is_multicast();
        if link_local || (probing && (parsed.proto == ICMPV6 || parsed.proto == HOP_BY_HOP)) {
            return behind_headers(packet, veth, parsed);
        }
    }
    Reason::SpoofedAddress as u32
}

const V6_AF: u8 = <V6 as portlane_common::family::Family>::AF;

/// Whether an IPv6 packet is part of neighbour discovery, which the bridge carries.
#[inline(always)]
pub fn is_discovery<A: Copy>(parsed: &Parsed<A>) -> bool {
    parsed.proto == ICMPV6
        && parsed.kind == kind::OTHER
        && matches!(
            parsed.icmp,
            ROUTER_SOLICITATION | NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT | ROUTER_ADVERTISEMENT | REDIRECT
        )
}

/// Where IPv6's listeners say which groups they want (RFC 3810 §5.2.14): routers hear it, and no container is one. The host may
/// be; to flood it would wake every container of a network each time that one starts.
#[inline(always)]
pub fn is_membership<A: Address>(dst: &A) -> bool {
    words(dst) == [u32::from_ne_bytes([0xff, 2, 0, 0]), 0, 0, 0x16u32.to_be()]
}

/// What an IPv6 packet carries, extension headers seen through: they could hide a router's or a neighbour's words.
/// Multicast membership travels behind one (RFC 3810 §5), and nothing else that a container needs does.
#[inline(always)]
fn behind_headers<A: Address, P: Packet>(packet: &P, veth: &Veth, parsed: &Parsed<A>) -> u32 {
    match parsed.proto {
        ICMPV6 => neighbour(packet, veth, parsed),
        HOP_BY_HOP => {
            let Some([next, length, .., icmp]) = packet.read::<[u8; 9]>(parsed.l4) else {
                return Reason::Malformed as u32;
            };
            let membership = next == ICMPV6 && length == 0 && matches!(icmp, REPORT | DONE | REPORT_2);
            if membership && parsed.dst.is_multicast() { 0 } else { Reason::ExtensionHeader as u32 }
        }
        ROUTING | DESTINATION | MOBILITY | HIP | SHIM6 => Reason::ExtensionHeader as u32,
        _ => 0,
    }
}

/// Neighbour discovery: nobody poses as a router, nobody claims another's address (RFC 6105's aim).
#[inline(always)]
fn neighbour<A: Address, P: Packet>(packet: &P, veth: &Veth, parsed: &Parsed<A>) -> u32 {
    if parsed.kind != kind::OTHER {
        return 0;
    }
    if parsed.icmp == ROUTER_ADVERTISEMENT || parsed.icmp == REDIRECT {
        return Reason::RouterAdvertisement as u32;
    }
    if parsed.icmp == NEIGHBOUR_ADVERTISEMENT {
        let Some(target) = packet.read::<[u32; 4]>(parsed.l4 + 8) else { return Reason::Malformed as u32 };
        let own = target == bytemuck::cast::<_, [u32; 4]>(veth.addr6);
        if !own && target != link_local(veth) {
            return Reason::SpoofedNeighbour as u32;
        }
    }
    0
}

#[inline(always)]
fn is_own_link_local<A: Address>(veth: &Veth, addr: &A) -> bool {
    // Only reached for IPv6, whose addresses are sixteen bytes.
    size_of::<A>() == 16 && bytemuck::bytes_of(addr).len() == 16 && words(addr) == link_local(veth)
}

#[inline(always)]
fn words<A: Address>(addr: &A) -> [u32; 4] {
    let mut words = [0u32; 4];
    if size_of::<A>() == 16 {
        let parts: &[u32] = bytemuck::cast_slice(core::slice::from_ref(addr));
        if let [a, b, c, d] = *parts {
            words = [a, b, c, d];
        }
    }
    words
}

/// The link-local address made from the endpoint's MAC (RFC 4291 appendix A).
#[inline(always)]
fn link_local(veth: &Veth) -> [u32; 4] {
    let m = veth.mac;
    [
        u32::from_ne_bytes([0xfe, 0x80, 0, 0]),
        0,
        u32::from_ne_bytes([m[0] ^ 2, m[1], m[2], 0xff]),
        u32::from_ne_bytes([0xfe, m[3], m[4], m[5]]),
    ]
}

/// ARP of a container: the sender must be itself, or nobody (a probe, RFC 5227).
#[inline(always)]
pub fn arp<P: Packet>(packet: &mut P, veth: &Veth) -> Verdict {
    packet.pull((ETHERNET + size_of::<Arp>()) as u32);
    let Some(arp) = packet.read::<Arp>(ETHERNET) else { return Verdict::drop(Reason::Malformed) };
    let own_ip = arp.sender_ip == bytemuck::cast::<_, [u16; 2]>(veth.addr4) || arp.sender_ip == [0; 2];
    if own_mac(veth, arp.sender) && own_ip { Verdict::PASS } else { Verdict::drop(Reason::SpoofedNeighbour) }
}
