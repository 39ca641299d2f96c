//! A packet whose flow is known: its state, its age, and everything that follows from the entry.

use portlane_common::{
    flow::{Flow, FlowKey, REFRESH_SECONDS, flag, hop, state, timeout_seconds},
    reason::Reason,
};

use crate::{
    packet::{Net, Packet, Tables, route},
    stage::{
        parse::{ACK, FIN, Parsed, RST, SYN, headers},
        rewrite, route as way,
    },
    verdict::Verdict,
};

/// Whether an entry still counts: its time is not over, nor was its published port changed.
#[inline(always)]
pub fn is_live<F: Net, T: Tables<F>>(tables: &T, proto: u8, flow: &Flow<F::Addr>) -> bool {
    // Another CPU may have stamped it since this one read the clock.
    let age = tables.now().saturating_sub(flow.seen);
    let current = flow.publish == 0 || tables.generation(flow.publish) == flow.generation;
    current && age < timeout_seconds(proto, flow.state) * tables.second()
}

/// The live entry for a tuple.
#[inline(always)]
pub fn find<'a, F: Net, T: Tables<F>>(tables: &'a T, key: &FlowKey<F::Addr>) -> Option<&'a Flow<F::Addr>> {
    tables.flow(key).filter(|flow| is_live::<F, T>(tables, key.proto, flow))
}

/// Carries a packet on as its flow says.
#[inline(always)]
pub fn follow<F: Net, P: Packet, T: Tables<F>>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed<F::Addr>,
    key: &FlowKey<F::Addr>,
    flow: &Flow<F::Addr>,
) -> Verdict {
    if flow.mtu != 0 && size_on_wire(packet, parsed) > flow.mtu as u32 {
        // The stack would cut up what may be, and send it on as the container's.
        return if F::is_whole(packet) { Verdict::stack(Reason::StackTooBig) } else { Verdict::drop(Reason::TooBig) };
    }
    if flow.flags & flag::ROUTED != 0 && parsed.ttl <= 1 {
        return if flow.hop == hop::UPLINK {
            Verdict::stack(Reason::StackTtl)
        } else {
            Verdict::drop(Reason::TtlExpired)
        };
    }
    let next = next_state(flow.state, flow.flags, parsed.tcp);
    let age = tables.now().saturating_sub(flow.seen);
    let stale = next != flow.state || age >= REFRESH_SECONDS * tables.second();
    let verdict = way::out(flow, stale);
    if !rewrite::apply::<F, P>(packet, parsed, flow) {
        return Verdict::drop(Reason::Malformed);
    }
    let bytes = packet.length();
    if flow.endpoint != 0 {
        tables.count_endpoint(flow.endpoint, true, bytes);
    }
    if flow.publish != 0 {
        tables.count_publish(flow.publish, flow.flags & flag::INBOUND != 0, bytes);
    }
    if stale {
        refresh::<F, T>(tables, key, next as u32);
    }
    verdict
}

/// Bytes of the largest IP packet that will be on the wire: a train is cut into segments first.
#[inline(always)]
fn size_on_wire<A, P: Packet>(packet: &P, parsed: &Parsed<A>) -> u32 {
    let segment = packet.segment();
    if segment == 0 { packet.length() - crate::header::ETHERNET as u32 } else { segment + headers(packet, parsed) }
}

/// State after a packet in an entry's direction (RFC 9293 §3.3.2, as far as a NAT must know it).
#[inline(always)]
fn next_state(now: u8, flags: u8, tcp: u8) -> u8 {
    let reply = flags & flag::REPLY != 0;
    let mut next = now;
    if reply {
        next |= state::ANSWERED;
    }
    if tcp & FIN != 0 {
        next |= if reply { state::FIN_REPLY } else { state::FIN_OPENER };
    }
    if tcp & RST != 0 {
        next |= state::RESET;
    }
    if tcp & (SYN | ACK) == SYN && !reply {
        // The opener begins anew on the same tuple.
        next &= !(state::FIN_OPENER | state::FIN_REPLY | state::RESET);
    }
    next
}

/// Stamps both entries of a pair, and looks for the next hop again: at most once a second, and when the state changes.
#[inline(never)]
fn refresh<F: Net, T: Tables<F>>(tables: &T, key: &FlowKey<F::Addr>, next: u32) -> u32 {
    let Some(flow) = tables.flow(key) else { return 0 };
    let now = tables.now();
    let pair = FlowKey {
        src: flow.dst,
        dst: flow.src,
        sport: flow.dport,
        dport: flow.sport,
        zone: flow.pair_zone,
        proto: key.proto,
        pad: 0,
        pad2: 0,
    };
    tables.stamp_flow(&pair, now, next as u8);
    tables.stamp_flow(key, now, next as u8);
    if flow.hop == hop::UPLINK
        && let Some(veth) = tables.veth(key.zone)
    {
        let found = tables.route(veth.bridge, &flow.src, &flow.dst, key.proto);
        if found.status == route::FOUND && found.ifindex == flow.ifindex {
            tables.cache_next_hop(key, found.dst_mac, found.src_mac);
        } else {
            tables.cache_next_hop(key, [0; 6], [0; 6]);
        }
    }
    0
}
