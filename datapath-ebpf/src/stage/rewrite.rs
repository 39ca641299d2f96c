//! Writing a flow's tuple into a packet.

use portlane_common::flow::{Flow, flag, hop};

use crate::{
    header::ETHERNET,
    packet::{Net, Packet},
    stage::{
        parse::{Parsed, kind},
        route,
    },
};

/// Rewrites addresses, ports, checksums, TTL and MAC addresses as the flow says; false if the packet is too short,
/// in which case the caller drops it.
#[inline(always)]
pub fn apply<F: Net, P: Packet>(packet: &mut P, parsed: &Parsed<F::Addr>, flow: &Flow<F::Addr>) -> bool {
    if flow.flags & flag::NAT != 0 && !translate::<F, P>(packet, parsed, flow) {
        return false;
    }
    if flow.flags & flag::ROUTED != 0 && !F::count_hop(packet, parsed.ttl) {
        return false;
    }
    let to_known = flow.hop == hop::ENDPOINT || (flow.hop == hop::UPLINK && route::is_cached(flow));
    !to_known || packet.write(0, [flow.dst_mac, flow.src_mac])
}

#[inline(always)]
fn translate<F: Net, P: Packet>(packet: &mut P, parsed: &Parsed<F::Addr>, flow: &Flow<F::Addr>) -> bool {
    let l4 = parsed.l4;
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

const _: () = assert!(ETHERNET == 14, "MAC addresses are the first twelve bytes");
