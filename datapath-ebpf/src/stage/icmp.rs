//! ICMP errors: what is said about a packet of a flow belongs to the flow, and goes where its answers go (RFC 5508 §4).
//!
//! The quoted packet was seen with the addresses and ports of the far side; its sender must read its own. An error
//! neither refreshes a flow nor ends it (RFC 5508 REQ-5). Only eight bytes of the quoted L4 header need be there
//! (RFC 792): what a checksum beyond them says is left alone.

use portlane_common::{
    family::Address,
    flow::{FlowKey, flag, hop},
    reason::Reason,
};

use crate::{
    header::{SCTP, TCP, UDP, difference, fold, update},
    packet::{Net, Packet, Tables},
    stage::{
        flow,
        nat::Scratch,
        parse::{self, Parsed},
        route,
    },
    verdict::Verdict,
};

/// Bytes of an ICMP error before the quoted packet.
const HEADER: usize = 8;
/// Bytes of a quoted L4 header that must be there.
const QUOTED_L4: usize = 8;
/// Bytes of the extension headers, or IPv4 options, that a quoted packet may have.
const QUOTED_OPTIONS: usize = 64;

/// What an error says about a packet, beside its tuple.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Quote<A> {
    /// Who speaks.
    pub src: A,
    /// To whom.
    pub dst: A,
    /// Where the quoted L4 header begins.
    l4: u32,
    /// 1 if the quoted packet has a UDP checksum; for other protocols of no meaning.
    summed: u32,
}

/// What [`read`] found.
pub mod read {
    /// No IP packet.
    pub const MALFORMED: u32 = 0;
    /// Nothing to go by.
    pub const VAGUE: u32 = 1;
    /// A packet that may be a flow's.
    pub const QUOTE: u32 = 2;
}

/// Reads the headers, the quoted ones too, into the scratch space: what follows is then looked at once by the verifier.
/// Answers one of [`mod@read`].
#[inline(never)]
pub fn read<F: Net, P: Packet>(packet: &mut P, scratch: &mut Scratch<F::Addr>, zone: u32) -> u32 {
    let Some(ip) = parse::ip_alone::<F, P>(packet) else { return read::MALFORMED };
    let parsed = parse::l4::<F, P>(packet, &ip);
    scratch.parsed = parsed.rest();
    scratch.quote.src = parsed.src;
    scratch.quote.dst = parsed.dst;
    if quote::<F, P>(packet, scratch, &parsed, zone).is_some() { read::QUOTE } else { read::VAGUE }
}

#[inline(always)]
fn quote<F: Net, P: Packet>(
    packet: &mut P,
    scratch: &mut Scratch<F::Addr>,
    parsed: &Parsed<F::Addr>,
    zone: u32,
) -> Option<()> {
    let inner = parsed.l4 + HEADER;
    packet.pull((inner + F::HEADER_LEN + QUOTED_OPTIONS + QUOTED_L4) as u32);
    let quoted = F::quoted(packet, inner)?;
    // What lies behind the end of the IP packet is padding, and under no checksum.
    if (quoted.l4 + QUOTED_L4) as u32 > parsed.end {
        return None;
    }
    let [first, second, third, fourth] = packet.read::<[u16; QUOTED_L4 / 2]>(quoted.l4)?;
    let echo = quoted.proto == F::ICMP;
    // The tuple of an answer to the quoted packet.
    let (sport, dport) = if echo {
        let [icmp, _] = first.to_ne_bytes();
        let id = u16::from_be(third);
        if icmp == F::ECHO_REQUEST {
            (0, id)
        } else if icmp == F::ECHO_REPLY {
            (id, 0)
        } else {
            return None;
        }
    } else if matches!(quoted.proto, TCP | UDP | SCTP) {
        (u16::from_be(second), u16::from_be(first))
    } else {
        return None;
    };
    let (src, dst, proto) = (quoted.dst, quoted.src, quoted.proto);
    scratch.key = FlowKey { src, dst, sport, dport, zone, proto, pad: 0, pad2: 0 };
    scratch.quote.l4 = quoted.l4 as u32;
    scratch.quote.summed = u32::from(fourth != 0);
    Some(())
}

/// Carries an error on as the flow of the packet that it quotes; none if it quotes none of ours.
#[inline(always)]
pub fn follow<F: Net, P: Packet, T: Tables<F>>(
    packet: &mut P,
    tables: &T,
    scratch: &Scratch<F::Addr>,
) -> Option<Verdict> {
    let Scratch { key, quote, .. } = scratch;
    let flow = tables.flow(flow::table_of::<F, T>(tables, key), key)?;
    let (parsed, proto) = (scratch.parsed(), key.proto);
    let (inner, quoted_l4) = (parsed.l4 + HEADER, quote.l4 as usize & 511);
    let echo = proto == F::ICMP;
    let routed = flow.flags & flag::ROUTED != 0;
    // Nobody is told of an error about an error (RFC 1812 §4.3.2.7).
    if flow::ends_here(flow, parsed.ttl) {
        return Some(Verdict::drop(Reason::TtlExpired));
    }
    // The speaker may be the far end itself, or any router on the way; a container speaks for nobody else, though it may
    // do so by its link-local address.
    let outer_src = if quote.src == key.src || flow.hop == hop::UPLINK { flow.src } else { quote.src };
    let outer_dst = if quote.dst == key.dst { flow.dst } else { quote.dst };
    let same = outer_src == quote.src && outer_dst == quote.dst;
    let outer = if same { 0 } else { difference(quote.src.sum() + quote.dst.sum(), outer_src.sum() + outer_dst.sum()) };
    let both = fold(u32::from(flow.addr_delta) + u32::from(flow.port_delta));
    // What the quoted addresses and ports change is made up for by the quoted checksums, where those are in reach.
    let (checksum, delta) = match proto {
        UDP if quote.summed != 0 => (Some(quoted_l4 + 6), both),
        _ if echo && F::ICMP_PSEUDO_HEADER => (Some(quoted_l4 + 2), both),
        _ if echo => (Some(quoted_l4 + 2), flow.port_delta),
        _ => (None, 0),
    };
    // IPv4's quoted header makes up for its own addresses; IPv6's are under the ICMP checksum.
    let bytes = if F::ICMP_PSEUDO_HEADER { both } else { flow.port_delta };
    let covered = fold(u32::from(bytes) + u32::from(if delta == 0 { 0 } else { !delta }));
    let ports = if echo {
        packet.write(quoted_l4 + 4, (flow.sport | flow.dport).to_be())
    } else {
        packet.write(quoted_l4, [flow.dport.to_be(), flow.sport.to_be()])
    };
    let summed = match checksum {
        Some(at) => match packet.read::<u16>(at) {
            Some(old) => {
                let new = update(old, delta);
                // RFC 768: a computed zero is sent as all ones.
                packet.write(at, if new == 0 && proto == UDP { 0xffff } else { new })
            }
            None => false,
        },
        None => true,
    };
    let pseudo = if F::ICMP_PSEUDO_HEADER { outer } else { 0 };
    let written = ports
        && summed
        && F::set_quoted(packet, inner, flow.dst, flow.src, flow.addr_delta)
        && F::set_addresses(packet, outer_src, outer_dst, outer)
        && packet.checksum(parsed.l4 + 2, pseudo, covered, false)
        && (!routed || F::count_hop(packet, parsed.ttl))
        && (flow.hop == hop::HOST || flow.dst_mac == [0; 6] || packet.write(0, [flow.dst_mac, flow.src_mac]));
    if !written {
        return Some(Verdict::drop(Reason::Malformed));
    }
    if flow.endpoint != 0 {
        tables.count_endpoint(flow.endpoint, true, packet.length());
    }
    Some(route::out(flow, false))
}
