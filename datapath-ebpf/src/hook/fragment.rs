//! Fragments, from a container or from outside: a program of its own, behind `from_container` and `from_uplink`.

use portlane_common::{family::Address, flow::ZONE_OUTSIDE, reason::Reason};

use crate::{
    packet::{Net, Packet, Tables, table},
    stage::{
        flow,
        fragment::{self, Fragment, part},
        parse::{self, Parsed, kind},
    },
    verdict::{self, Verdict, next},
};

/// The hook, for a packet that one of the first programs took for a fragment.
#[inline(always)]
pub fn run<F: Net, P: Packet, T: Tables<F>>(packet: &mut P, tables: &T) -> Verdict {
    let inside = tables.veth(packet.ifindex()).is_some();
    let zone = if inside { packet.ifindex() } else { ZONE_OUTSIDE };
    tables.with_fragment(|fragment| {
        if !read::<F, P>(packet, fragment, zone) {
            return malformed::<F, T>(tables, fragment, inside);
        }
        let refused = if fragment.start == 0 { refusal(fragment.parsed.kind, inside) } else { 0 };
        if refused != 0 {
            return Verdict::new(verdict::DROP, 0, refused);
        }
        let noted = fragment::note::<F, T>(tables, fragment);
        if noted & 0xff == part::LATER
            && let Some(tuple) = tables.datagram_tuple(&fragment.key.datagram)
        {
            fragment.tuple = *tuple;
        }
        if noted & part::COMPLETE != 0 {
            tables.remove_datagram(&fragment.key.datagram);
        }
        match noted & 0xff {
            part::FIRST => first::<F, P, T>(packet, tables, fragment, noted >> 8 & 0xffff, inside),
            part::LATER => later::<F, P, T>(packet, tables, fragment, inside),
            part::EARLY => {
                fragment.key.slot = noted >> 8;
                let kept = tables.keep(packet, &fragment.key);
                Verdict::drop(if kept { Reason::FragmentHeld } else { Reason::FragmentEarly })
            }
            part::OVERLAP => Verdict::drop(Reason::FragmentOverlap),
            part::MALFORMED => malformed::<F, T>(tables, fragment, inside),
            _ => Verdict::drop(Reason::FragmentEarly),
        }
    })
}

/// Reads the headers into the place lent: see `open::read`.
#[inline(never)]
fn read<F: Net, P: Packet>(packet: &mut P, fragment: &mut Fragment<F::Addr>, zone: u32) -> bool {
    fragment.key.datagram.dst = F::Addr::ANY;
    let Some(ip) = parse::ip_alone::<F, P>(packet) else { return false };
    let Some(piece) = F::piece(packet, &ip) else { return false };
    let parsed = parse::beginning::<F, P>(packet, &ip);
    fragment.fill(&parsed, zone, &piece, ip.end.saturating_sub(piece.l4 as u32))
}

/// What contradicts itself or another: from outside it goes to the host's stack, which counts it, but to no container.
#[inline(always)]
fn malformed<F: Net, T: Tables<F>>(tables: &T, fragment: &Fragment<F::Addr>, inside: bool) -> Verdict {
    if inside {
        return Verdict::drop(Reason::Malformed);
    }
    let container = tables.endpoint(&fragment.key.datagram.dst).is_some();
    if container { Verdict::drop(Reason::DirectAccess) } else { Verdict::PASS }
}

/// The number of the reason to refuse a first fragment before anything is remembered of it, so that none follows it; 0
/// if there is none.
#[inline(always)]
fn refusal(first: u8, inside: bool) -> u32 {
    match first {
        // Cut off so early that it has no ports.
        kind::MALFORMED => Reason::Malformed as u32,
        // Its checksum covers what the other fragments hold; and what an error quotes may be in another one.
        kind::SCTP => Reason::FragmentUnsupported as u32,
        kind::ERROR if inside => Reason::FragmentUnsupported as u32,
        _ => 0,
    }
}

/// The one with the ports. Those that overtook it come again, behind it.
#[inline(always)]
fn first<F: Net, P: Packet, T: Tables<F>>(
    packet: &mut P,
    tables: &T,
    fragment: &mut Fragment<F::Addr>,
    held: u32,
    inside: bool,
) -> Verdict {
    if held != 0 && !tables.put_back(packet, &mut fragment.key, held) {
        return Verdict::drop(Reason::FragmentEarly);
    }
    Verdict::next::<F>(if inside { next::CONTAINER_NEW } else { next::OUTSIDE_NEW })
}

/// One that follows: where the first one went, or to the host if that one was the host's.
#[inline(always)]
fn later<F: Net, P: Packet, T: Tables<F>>(
    packet: &mut P,
    tables: &T,
    fragment: &Fragment<F::Addr>,
    inside: bool,
) -> Verdict {
    let at = flow::table_of::<F, T>(tables, &fragment.tuple);
    if at != table::NONE {
        tables.with_scratch((), |scratch| {
            scratch.key = fragment.tuple;
            scratch.parsed = Parsed { kind: kind::FRAGMENT, ..fragment.parsed };
        });
        return packet.follow::<F, T>(tables, at);
    }
    if tables.is_host(&fragment.key.datagram.dst) {
        return Verdict::PASS;
    }
    Verdict::drop(if inside { Reason::FragmentOrphan } else { Reason::DirectAccess })
}
