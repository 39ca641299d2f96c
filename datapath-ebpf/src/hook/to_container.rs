//! What the host's stack sends to a container, or its bridge floods: tc egress of the host-side veth.

use portlane_common::{
    endpoint::{Veth, veth as veth_flag},
    family::{Address, Family, V4, V6},
    reason::Reason,
};

use crate::{
    header::{ARP, ETHERNET, Ethernet, Mac},
    packet::{Net, Packet, Tables},
    stage::{guard, parse},
    verdict::Verdict,
};

/// The hook, for any packet.
#[inline(always)]
pub fn run<P: Packet, T: Tables<V4> + Tables<V6>>(packet: &mut P, tables: &T) -> Verdict {
    let Some(veth) = tables.veth(packet.ifindex()) else { return Verdict::PASS };
    let origin = packet.origin();
    if origin == 0 {
        // The host may talk to its containers.
        tables.count_endpoint(veth.endpoint, true, packet.length());
        return Verdict::PASS;
    }
    packet.pull(ETHERNET as u32);
    let Some(ethernet) = packet.read::<Ethernet>(0) else { return Verdict::drop(Reason::Malformed) };
    match u16::from_be(ethernet.ethertype) {
        ARP => Verdict::PASS,
        V4::ETHERTYPE => ip::<V4, P, T>(packet, tables, veth, origin, is_group(ethernet.dst)),
        V6::ETHERTYPE => ip::<V6, P, T>(packet, tables, veth, origin, is_group(ethernet.dst)),
        _ => Verdict::drop(Reason::Forwarded),
    }
}

/// Whether a frame is for more than one station (IEEE 802: the lowest bit of the first octet).
#[inline(always)]
fn is_group(mac: Mac) -> bool {
    mac[0].to_ne_bytes()[0] & 1 != 0
}

/// Only the bridge's floods come this way from elsewhere: broadcast, multicast, neighbour discovery, link-local.
#[inline(always)]
fn ip<F: Net, P: Packet, T: Tables<F>>(packet: &mut P, tables: &T, veth: &Veth, origin: u32, group: bool) -> Verdict {
    let Some(ip) = parse::ip::<F, P>(packet) else { return Verdict::drop(Reason::Malformed) };
    let parsed = parse::l4::<F, P>(packet, &ip);
    let Some(sender) = tables.veth(origin) else { return Verdict::drop(Reason::Forwarded) };
    if sender.network != veth.network {
        return Verdict::drop(Reason::Forwarded);
    }
    if F::AF == V6::AF && guard::is_discovery(&parsed) {
        return Verdict::PASS;
    }
    if veth.flags & veth_flag::ICC_OFF != 0 {
        return Verdict::drop(Reason::IccOff);
    }
    if group || parsed.dst.is_link_local() {
        tables.count_endpoint(veth.endpoint, true, packet.length());
        return Verdict::PASS;
    }
    Verdict::drop(Reason::Forwarded)
}
