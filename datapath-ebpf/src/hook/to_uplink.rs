//! What the host itself sends by an uplink: it must never share a tuple with a container's flow.
//!
//! What containers send passes here too, on its way out. So this writes to no packet: before the first instruction of a
//! program that does, the kernel sees to it that a packet whose bytes somebody else has too, as TCP has of all that it
//! sends, may be written to.

use portlane_common::{
    family::{Family, V4, V6},
    flow::ZONE_HOST,
};

use crate::{
    header::{ETHERNET, Ethernet},
    packet::{Net, Packet, Tables},
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
    // Only what opens a conversation can meet a tuple that is taken, and few have a flow.
    if parsed.kind == kind::TCP && !parsed.is_syn() && flow::find::<F, T>(tables, &parsed, &key).is_none() {
        Verdict::PASS
    } else {
        Verdict::next::<F>(next::HOST_NEW)
    }
}
