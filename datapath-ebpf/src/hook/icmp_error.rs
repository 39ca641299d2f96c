//! ICMP errors, from a container or from outside: a program of its own, behind `from_container` and `from_uplink`.

use portlane_common::{flow::ZONE_OUTSIDE, reason::Reason};

use crate::{
    packet::{Net, Packet, Tables},
    stage::icmp,
    verdict::Verdict,
};

/// The hook, for a packet that one of the first programs took for an ICMP error.
#[inline(always)]
pub fn run<F: Net, P: Packet, T: Tables<F>>(packet: &mut P, tables: &T) -> Verdict {
    let inside = tables.veth(packet.ifindex()).is_some();
    let zone = if inside { packet.ifindex() } else { ZONE_OUTSIDE };
    tables.with_scratch(Verdict::drop(Reason::NotLoaded), |scratch| {
        let found = match icmp::read::<F, P>(packet, scratch, zone) {
            icmp::read::MALFORMED => Some(Verdict::drop(Reason::Malformed)),
            icmp::read::QUOTE => icmp::follow::<F, P, T>(packet, tables, scratch),
            _ => None,
        };
        match found {
            Some(verdict) => verdict,
            // About something of the host's own, or with nothing to go by.
            None if tables.is_host(&scratch.quote.dst) => Verdict::PASS,
            None if inside => Verdict::drop(Reason::QuotedUnknown),
            None => Verdict::drop(Reason::DirectAccess),
        }
    })
}
