//! Writing a flow's tuple into a packet.

use portlane_common::flow::{Flow, flag, hop};

use crate::{
    header::{ETHERNET, Mac, fold},
    packet::{Net, Packet},
    stage::{
        parse::{Parsed, kind},
        route,
    },
};

/// Rewrites addresses, ports, checksums, TTL and MAC addresses as the flow says; false if the packet is too short,
/// in which case the caller drops it. Without `ANY`, SCTP and fragments are not among them.
#[inline(always)]
pub fn apply<F: Net, P: Packet, const ANY: bool>(packet: &mut P, parsed: &Parsed<()>, flow: &Flow<F::Addr>) -> bool {
    if flow.flags & flag::NAT != 0 && !translate::<F, P, ANY>(packet, parsed, flow) {
        return false;
    }
    if flow.flags & flag::ROUTED != 0 && !F::count_hop(packet, parsed.ttl) {
        return false;
    }
    let to_known = flow.hop == hop::ENDPOINT || (flow.hop == hop::UPLINK && route::is_cached(flow));
    !to_known || set_macs(packet, bytemuck::cast(flow.dst_mac), bytemuck::cast(flow.src_mac))
}

/// Straight from register to packet: octets would take a way round by the stack, in forty instructions.
#[inline(always)]
fn set_macs<P: Packet>(packet: &mut P, [a, b, c]: Mac, [d, e, f]: Mac) -> bool {
    packet.write(0, [a, b, c, d, e, f])
}

#[inline(always)]
fn translate<F: Net, P: Packet, const ANY: bool>(packet: &mut P, parsed: &Parsed<()>, flow: &Flow<F::Addr>) -> bool {
    let l4 = parsed.l4;
    if ANY && parsed.kind == kind::SCTP {
        return translate_sctp::<F, P>(packet, parsed, flow);
    }
    if ANY && parsed.kind == kind::FRAGMENT {
        return readdress::<F, P>(packet, flow);
    }
    let (checksum, pseudo) = match parsed.kind {
        kind::TCP => (l4 + 16, flow.addr_delta),
        kind::UDP => (l4 + 6, flow.addr_delta),
        _ => (l4 + 2, if F::ICMP_PSEUDO_HEADER { flow.addr_delta } else { 0 }),
    };
    let ports = if parsed.kind == kind::ECHO {
        // One of the two is zero: the identifier is the other.
        packet.write(l4 + 4, (flow.sport | flow.dport).to_be())
    } else {
        packet.write(l4, [flow.sport.to_be(), flow.dport.to_be()])
    };
    ports
        && F::set_addresses(packet, flow.src, flow.dst, flow.addr_delta)
        && packet.checksum(checksum, pseudo, flow.port_delta, parsed.kind == kind::UDP)
}

/// Addresses alone: no checksum inside the packet knows them. (A fragment's does, but it lies in the first one.)
#[inline(always)]
fn readdress<F: Net, P: Packet>(packet: &mut P, flow: &Flow<F::Addr>) -> bool {
    // IPv4's header makes up for its addresses by itself.
    if F::ICMP_PSEUDO_HEADER {
        packet.uncovered(flow.addr_delta);
    }
    F::set_addresses(packet, flow.src, flow.dst, flow.addr_delta)
}

/// SCTP's checksum covers no pseudo header, so addresses do not matter to it, and ports do.
#[inline(always)]
fn translate_sctp<F: Net, P: Packet>(packet: &mut P, parsed: &Parsed<()>, flow: &Flow<F::Addr>) -> bool {
    let l4 = parsed.l4;
    let Some([sport, dport]) = packet.read::<[u16; 2]>(l4) else { return false };
    let Some([low, high]) = packet.read::<[u16; 2]>(l4 + 8) else { return false };
    let (new_sport, new_dport) = (flow.sport.to_be(), flow.dport.to_be());
    let old = u32::from(low) | u32::from(high) << 16;
    let change = u32::from(sport ^ new_sport) | u32::from(dport ^ new_dport) << 16;
    // Zero means that it is left to the hardware, which has it still to do.
    if change != 0 && old != 0 {
        let new = old ^ P::crc_difference(change, parsed.end - l4 as u32 - 4);
        let words = |crc: u32| (crc & 0xffff) + (crc >> 16);
        packet
            .uncovered(fold(u32::from(flow.port_delta) + u32::from(crate::header::difference(words(old), words(new)))));
        if !packet.write(l4 + 8, [new as u16, (new >> 16) as u16]) {
            return false;
        }
    } else if change != 0 {
        packet.uncovered(flow.port_delta);
    }
    packet.write(l4, [new_sport, new_dport]) && readdress::<F, P>(packet, flow)
}

const _: () = assert!(ETHERNET == 14, "MAC addresses are the first twelve bytes");
