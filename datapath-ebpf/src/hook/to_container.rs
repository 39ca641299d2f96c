//! What the host's stack sends to a container, or its bridge floods: tc egress of the host-side veth.

use portlane_common::{
    endpoint::{Veth, veth as veth_flag},
    family::{Address, Family, V4, V6},
    reason::Reason,
};

use crate::{
    header::{ARP, ETHERNET, Ethernet},
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
        V4::ETHERTYPE => ip::<V4, P, T>(packet, tables, veth, origin),
        V6::ETHERTYPE => ip::<V6, P, T>(packet, tables, veth, origin),
        _ => Verdict::drop(Reason::Forwarded),
    }
}

/// Only the bridge's floods come this way from elsewhere: multicast, neighbour discovery, link-local.
#[inline(always)]
fn ip<F: Net, P: Packet, T: Tables<F>>(packet: &mut P, tables: &T, veth: &Veth, origin: u32) -> Verdict {
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
    if parsed.dst.is_multicast() || parsed.dst.is_link_local() {
        tables.count_endpoint(veth.endpoint, true, packet.length());
        return Verdict::PASS;
    }
    Verdict::drop(Reason::Forwarded)
}
