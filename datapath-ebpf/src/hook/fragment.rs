//! Fragments, from a container or from outside: a program of its own, behind `from_container` and `from_uplink`.

use portlane_common::{
    family::{Family, V4, V6},
    flow::{FlowKey, ZONE_OUTSIDE},
    fragment::{DatagramKey, HeldKey},
    reason::Reason,
};

use crate::{
    header::Ethernet,
    packet::{Net, Packet, Tables, table},
    stage::{
        flow,
        fragment::{self, part},
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
    let beginning = parse::beginning::<F, P>(packet, &ip);
    let key = DatagramKey { src: ip.src, dst: ip.dst, id: piece.id, zone, proto: u32::from(piece.proto) };
    let bytes = ip.end.saturating_sub(piece.l4 as u32);
    let Some(fragment) = fragment::at(key, beginning.key(zone), &piece, bytes) else {
        return malformed;
    };
    let noted = fragment::note::<F, T>(tables, &fragment);
    match noted & 0xff {
        part::FIRST => {
            if noted & part::COMPLETE != 0 {
                tables.remove_datagram(&key);
            }
            first::<F, P, T>(packet, tables, &key, beginning.kind, noted >> 8 & 0xffff, inside)
        }
        part::LATER => {
            let Some(tuple) = tables.datagram_tuple(&key) else { return Verdict::drop(Reason::FragmentOrphan) };
            let tuple = *tuple;
            if noted & part::COMPLETE != 0 {
                tables.remove_datagram(&key);
            }
            later::<F, P, T>(packet, tables, &beginning, &tuple, inside)
        }
        part::EARLY if tables.keep(packet, &HeldKey { datagram: key, slot: noted >> 8 }) => {
            Verdict::drop(Reason::FragmentHeld)
        }
        part::OVERLAP => Verdict::drop(Reason::FragmentOverlap),
        part::MALFORMED => malformed,
        _ => Verdict::drop(Reason::FragmentEarly),
    }
}

/// The one with the ports. Those that overtook it come again, behind it.
#[inline(always)]
fn first<F: Net, P: Packet, T: Tables<F>>(
    packet: &mut P,
    tables: &T,
    key: &DatagramKey<F::Addr>,
    kind: u8,
    held: u32,
    inside: bool,
) -> Verdict {
    if held != 0 && !tables.put_back(packet, key, held) {
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
    tuple: &FlowKey<F::Addr>,
    inside: bool,
) -> Verdict {
    let established = flow::find_in::<F, T>(tables, table::MAIN, tuple);
    let at = if established.is_some() { table::MAIN } else { table::NEW };
    let found = if established.is_some() { established } else { flow::find_in::<F, T>(tables, table::NEW, tuple) };
    if let Some(flow) = found {
        return flow::follow::<F, P, T>(packet, tables, parsed, tuple, flow, at);
    }
    if tables.is_host(&parsed.dst) {
        return Verdict::PASS;
    }
    Verdict::drop(if inside { Reason::FragmentOrphan } else { Reason::DirectAccess })
}
