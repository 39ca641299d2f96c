//! Everything a container sends: tc ingress of its host-side veth.

use portlane_common::{
    endpoint::{Endpoint, Veth, veth as veth_flag},
    family::{Address, Family, V4, V6},
    reason::Reason,
};

use crate::{
    header::{ARP, ETHERNET, Ethernet, VLAN, VLAN_IN_VLAN},
    packet::{Net, Packet, Shared, Tables, table},
    stage::{
        flow, guard,
        parse::{self, Parsed, kind},
    },
    verdict::{self, Verdict, next},
};

/// The hook, for any packet.
#[inline(always)]
pub fn run<P: Packet, T: Tables<V4> + Tables<V6>>(packet: &mut P, tables: &T) -> Verdict {
    let Some(veth) = tables.near_veth(packet.ifindex()) else { return Verdict::drop(Reason::UnknownEndpoint) };
    packet.pull(ETHERNET as u32);
    let Some(ethernet) = packet.read::<Ethernet>(0) else { return Verdict::drop(Reason::Malformed) };
    if !guard::own_mac(veth, ethernet.src) {
        return Verdict::drop(Reason::SpoofedMac);
    }
    if packet.tagged() {
        return Verdict::drop(Reason::Tagged);
    }
    match u16::from_be(ethernet.ethertype) {
        V4::ETHERTYPE => ip::<V4, P, T>(packet, tables, veth),
        V6::ETHERTYPE => ip::<V6, P, T>(packet, tables, veth),
        ARP => guard::arp(packet, veth),
        VLAN | VLAN_IN_VLAN => Verdict::drop(Reason::Tagged),
        _ => Verdict::drop(Reason::NotIp),
    }
}

#[inline(always)]
fn ip<F: Net, P: Packet, T: Tables<F>>(packet: &mut P, tables: &T, veth: &Veth) -> Verdict {
    let Some(ip) = parse::ip::<F, P>(packet) else { return Verdict::drop(Reason::Malformed) };
    let parsed = parse::l4::<F, P>(packet, &ip);
    if parsed.kind == kind::MALFORMED {
        return Verdict::drop(Reason::Malformed);
    }
    let spoofed = guard::source::<F, P>(packet, veth, &parsed);
    if spoofed != 0 {
        return Verdict::new(verdict::DROP, 0, spoofed);
    }
    tables.count_endpoint(veth.endpoint, false, packet.length());
    if parsed.dst.is_multicast() {
        let membership = guard::is_membership(&parsed.dst);
        return if membership { Verdict::to(verdict::BRIDGE, veth.bridge) } else { Verdict::PASS };
    }
    if F::AF == V6::AF && discovers::<F, T>(tables, veth, &parsed) {
        return Verdict::PASS;
    }
    // Neighbours' packets have no flow, and most packets to what looks like a neighbour are to one.
    let akin = parsed.dst.is_akin(veth.addr::<F>());
    if akin && let Some(peer) = neighbour(veth, tables.near_endpoint(&parsed.dst)) {
        return deliver(packet, tables, peer);
    }
    let key = parsed.key(packet.ifindex());
    if parsed.is_quick()
        && let Some(flow) = flow::find::<F, T>(tables, &parsed, &key)
    {
        return flow::follow::<F, P, T, false>(packet, tables, &parsed.rest(), &key, flow, table::MAIN);
    }
    if !akin && let Some(peer) = neighbour(veth, tables.endpoint(&parsed.dst)) {
        return deliver(packet, tables, peer);
    }
    match parsed.kind {
        kind::FRAGMENT if parsed.dst.is_link_local() && F::AF == V6::AF => Verdict::PASS,
        kind::FRAGMENT => Verdict::next::<F>(next::FRAGMENT),
        kind::ERROR => Verdict::next::<F>(next::ICMP_ERROR),
        _ => Verdict::next::<F>(next::CONTAINER_NEW),
    }
}

/// An endpoint, if the container may talk to it as it likes.
#[inline(always)]
fn neighbour<'a>(veth: &Veth, endpoint: Option<&'a Endpoint>) -> Option<&'a Endpoint> {
    endpoint.filter(|peer| peer.network == veth.network && veth.flags & veth_flag::ICC_OFF == 0)
}

#[inline(always)]
fn deliver<P: Packet, T: Shared>(packet: &P, tables: &T, peer: &Endpoint) -> Verdict {
    tables.count_endpoint(peer.id, true, packet.length());
    Verdict::to(verdict::ENDPOINT, peer.ifindex)
}

/// Whether the packet asks for a neighbour, or answers one, on the container's own network.
#[inline(always)]
fn discovers<F: Net, T: Tables<F>>(tables: &T, veth: &Veth, parsed: &Parsed<F::Addr>) -> bool {
    guard::is_discovery(parsed)
        && (parsed.dst.is_link_local()
            || tables.is_host(&parsed.dst)
            || tables.endpoint(&parsed.dst).is_some_and(|peer| peer.network == veth.network))
}
