//! What arrives from a network, at tc or XDP: replies and published ports get in, containers' addresses do not answer.

use portlane_common::{
    family::{Family, V4, V6},
    flow::ZONE_OUTSIDE,
    reason::Reason,
};

use crate::{
    header::{ETHERNET, Ethernet},
    packet::{Net, Packet, Tables, table},
    stage::{
        flow,
        parse::{self, kind},
    },
    verdict::{Verdict, next},
};

/// The hook, for any packet.
#[inline(always)]
pub fn run<P: Packet, T: Tables<V4> + Tables<V6>>(packet: &mut P, tables: &T) -> Verdict {
    if packet.tagged() {
        // It belongs to a VLAN interface, which is an uplink of its own.
        return Verdict::PASS;
    }
    packet.pull(ETHERNET as u32);
    let Some(ethernet) = packet.read::<Ethernet>(0) else { return Verdict::PASS };
    match u16::from_be(ethernet.ethertype) {
        V4::ETHERTYPE => ip::<V4, P, T>(packet, tables),
        V6::ETHERTYPE => ip::<V6, P, T>(packet, tables),
        _ => Verdict::PASS,
    }
}

#[inline(always)]
fn ip<F: Net, P: Packet, T: Tables<F>>(packet: &mut P, tables: &T) -> Verdict {
    // What is malformed goes to the stack, which counts it.
    let Some(ip) = parse::ip::<F, P>(packet) else { return Verdict::PASS };
    let parsed = parse::l4::<F, P>(packet, &ip);
    let key = parsed.key(ZONE_OUTSIDE);
    if parsed.is_quick()
        && let Some(flow) = flow::find::<F, T>(tables, &parsed, &key)
    {
        return flow::follow::<F, P, T, false>(packet, tables, &parsed.rest(), &key, flow, table::MAIN);
    }
    let (host, endpoint) = (tables.is_host(&parsed.dst), tables.endpoint(&parsed.dst).is_some());
    if !host && !endpoint {
        return Verdict::PASS;
    }
    match parsed.kind {
        kind::TCP | kind::UDP | kind::SCTP | kind::ECHO => Verdict::next::<F>(next::OUTSIDE_NEW),
        kind::FRAGMENT => Verdict::next::<F>(next::FRAGMENT),
        kind::ERROR => Verdict::next::<F>(next::ICMP_ERROR),
        _ if endpoint => Verdict::drop(Reason::DirectAccess),
        _ => Verdict::PASS,
    }
}
