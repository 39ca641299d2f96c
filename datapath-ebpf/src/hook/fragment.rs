//! Fragments, from a container or from outside: a program of its own, behind `from_container` and `from_uplink`.

use portlane_common::{
    family::{Family, V4, V6},
    flow::ZONE_OUTSIDE,
    reason::Reason,
};

use crate::{
    header::Ethernet,
    packet::{Net, Packet, Tables},
    stage::{
        flow,
        fragment::{self, Fragment, part},
        parse::{self, Parsed, kind},
    },
    verdict::{Verdict, next},
};

/// The hook, for a packet that one of the first programs took for a fragment.
#[inline(always)]
pub fn run<P: Packet, T: Tables<V4> + Tables<V6>>(packet: &mut P, tables: &T) -> Verdict {
    let Some(ethernet) = packet.read::<Ethernet>(0) else { return Verdict::drop(Reason::Malformed) };
    match u16::from_be(ethernet.ethertype) {
        V4::ETHERTYPE => ip::<V4, P, T>(packet, tables),
        V6::ETHERTYPE => ip::<V6, P, T>(packet, tables),
        _ => Verdict::drop(Reason::Malformed),
    }
}

#[inline(always)]
fn ip<F: Net, P: Packet, T: Tables<F>>(packet: &mut P, tables: &T) -> Verdict {
    let inside = tables.veth(packet.ifindex()).is_some();
    // What is malformed from outside goes to the stack, which counts it.
    let malformed = if inside { Verdict::drop(Reason::Malformed) } else { Verdict::PASS };
    let Some(ip) = parse::ip::<F, P>(packet) else { return malformed };
    let Some(piece) = F::piece(packet, &ip) else { return malformed };
    let zone = if inside { packet.ifindex() } else { ZONE_OUTSIDE };
    let parsed = parse::beginning::<F, P>(packet, &ip);
    let bytes = ip.end.saturating_sub(piece.l4 as u32);
    let Some(fragment) = tables.fragment() else { return Verdict::drop(Reason::NotLoaded) };
    if !fragment.fill(&parsed, zone, &piece, bytes) {
        return malformed;
    }
    let noted = fragment::note::<F, T>(tables, fragment);
    if noted & part::COMPLETE != 0 {
        // Before it is forgotten.
        take_tuple::<F, T>(tables, fragment, noted);
        tables.remove_datagram(&fragment.key.datagram);
    }
    match noted & 0xff {
        part::FIRST => first::<F, P, T>(packet, tables, fragment, parsed.kind, noted >> 8 & 0xffff, inside),
        part::LATER => {
            take_tuple::<F, T>(tables, fragment, noted);
            later::<F, P, T>(packet, tables, &parsed, fragment, inside)
        }
        part::EARLY => {
            fragment.key.slot = noted >> 8;
            let kept = tables.keep(packet, &fragment.key);
            Verdict::drop(if kept { Reason::FragmentHeld } else { Reason::FragmentEarly })
        }
        part::OVERLAP => Verdict::drop(Reason::FragmentOverlap),
        part::MALFORMED => malformed,
        _ => Verdict::drop(Reason::FragmentEarly),
    }
}

/// A later fragment has its tuple from the first.
#[inline(always)]
fn take_tuple<F: Net, T: Tables<F>>(tables: &T, fragment: &mut Fragment<F::Addr>, noted: u32) {
    if noted & 0xff == part::LATER
        && let Some(tuple) = tables.datagram_tuple(&fragment.key.datagram)
    {
        fragment.tuple = *tuple;
    }
}

/// The one with the ports. Those that overtook it come again, behind it.
#[inline(always)]
fn first<F: Net, P: Packet, T: Tables<F>>(
    packet: &mut P,
    tables: &T,
    fragment: &mut Fragment<F::Addr>,
    kind: u8,
    held: u32,
    inside: bool,
) -> Verdict {
    if held != 0 && !tables.put_back(packet, &mut fragment.key, held) {
        return Verdict::drop(Reason::FragmentEarly);
    }
    match kind {
        // Cut off so early that it has no ports.
        kind::MALFORMED => Verdict::drop(Reason::Malformed),
        // Its checksum covers what the other fragments hold.
        kind::SCTP => Verdict::drop(Reason::FragmentUnsupported),
        _ if inside => Verdict::next(next::CONTAINER_OPENS),
        _ => Verdict::next(next::OUTSIDE_OPENS),
    }
}

/// One that follows: where the first one went, or to the host if that one was the host's.
#[inline(always)]
fn later<F: Net, P: Packet, T: Tables<F>>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed<F::Addr>,
    fragment: &Fragment<F::Addr>,
    inside: bool,
) -> Verdict {
    let at = flow::table_of::<F, T>(tables, &fragment.tuple);
    if let Some(flow) = tables.flow(at, &fragment.tuple) {
        return flow::follow::<F, P, T>(packet, tables, parsed, &fragment.tuple, flow, at);
    }
    if tables.is_host(&parsed.dst) {
        return Verdict::PASS;
    }
    Verdict::drop(if inside { Reason::FragmentOrphan } else { Reason::DirectAccess })
}
