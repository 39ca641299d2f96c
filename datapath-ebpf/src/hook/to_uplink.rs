//! What the host itself sends by an uplink: it must never share a tuple with a container's flow.

use portlane_common::{
    family::{Family, V4, V6},
    flow::ZONE_HOST,
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
    if packet.origin() != 0 {
        // Redirected by us, or forwarded for someone else: not the host's own.
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
    let key = parsed.key(ZONE_HOST);
    if !parsed.trackable() {
        return Verdict::PASS;
    }
    if parsed.is_quick()
        && let Some(flow) = flow::find::<F, T>(tables, &parsed, &key)
    {
        return flow::follow::<F, P, T, false>(packet, tables, &parsed.rest(), &key, flow, table::MAIN);
    }
    // Only what opens a conversation can meet a tuple that is taken.
    if matches!(parsed.kind, kind::TCP) && !parsed.is_syn() {
        Verdict::PASS
    } else {
        Verdict::next::<F>(next::HOST_NEW)
    }
}
