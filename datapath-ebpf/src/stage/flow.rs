//! A packet whose flow is known: its state, its age, and everything that follows from the entry.

use portlane_common::{
    flow::{Flow, FlowKey, REFRESH_SECONDS, ZONE_OUTSIDE, age, flag, hop, state},
    reason::Reason,
};

use crate::{
    packet::{Net, Packet, Shared, Tables, route, table},
    stage::{
        parse::{ACK, FIN, Parsed, RST, SYN, headers},
        rewrite, route as way,
        transfer::retire,
    },
    verdict::Verdict,
};

/// Whether an entry still counts: its time is not over, nor was its published port changed.
#[inline(always)]
pub fn is_live<F: Net, T: Tables<F>>(tables: &T, proto: u8, flow: &Flow<F::Addr>) -> bool {
    is_current::<F, T>(tables, flow)
        && (!is_stale::<F, T>(tables, flow) || in_time::<F, T>(tables, proto, flow.state, flow.seen))
}

/// Whether what is published there is still the same.
#[inline(always)]
pub fn is_current<F: Net, T: Tables<F>>(tables: &T, flow: &Flow<F::Addr>) -> bool {
    flow.publish == 0 || tables.generation(flow.publish) == flow.generation
}

/// Whether the stamp is old enough to be renewed. Another CPU may have stamped it since this one read the clock: then it
/// looks very old, and the other clock says otherwise.
#[inline(always)]
fn is_stale<F: Net, T: Tables<F>>(tables: &T, flow: &Flow<F::Addr>) -> bool {
    tables.now().wrapping_sub(flow.touched) >= REFRESH_SECONDS * tables.second()
}

/// Asked at most once a second for a flow that packets pass, since the clock that counts suspension is not cheap.
#[inline(never)]
pub fn in_time<F: Net, T: Tables<F>>(tables: &T, proto: u8, state: u8, seen: u32) -> bool {
    age(tables.clock(), seen) < tables.timeout(proto, state)
}

/// The live entry for a tuple in one of the tables.
#[inline(always)]
pub fn find_in<'a, F: Net, T: Tables<F>>(
    tables: &'a T,
    table: u32,
    key: &FlowKey<F::Addr>,
) -> Option<&'a Flow<F::Addr>> {
    tables.flow(table, key).filter(|flow| is_live::<F, T>(tables, key.proto, flow))
}

/// The live entry that a packet belongs to in the main table: all that an established conversation needs.
#[inline(always)]
pub fn find<'a, F: Net, T: Tables<F>>(
    tables: &'a T,
    parsed: &Parsed<F::Addr>,
    key: &FlowKey<F::Addr>,
) -> Option<&'a Flow<F::Addr>> {
    find_in::<F, T>(tables, table::MAIN, key).filter(|flow| !is_superseded(parsed.tcp, flow))
}

/// Whether the far side opens another conversation with the tuple of one that is over, which leads somewhere else.
#[inline(always)]
pub fn is_superseded<A>(tcp: u8, flow: &Flow<A>) -> bool {
    tcp & (SYN | ACK) == SYN && flow.flags & flag::REPLY != 0 && state::is_closed(flow.state)
}

/// The entry that a packet with these TCP flags belongs to, if the conversation goes on and the table has the whole of it:
/// a full one may have let one of the two entries go.
#[inline(never)]
pub fn find_whole<'a, F: Net, T: Tables<F>>(
    tables: &'a T,
    key: &FlowKey<F::Addr>,
    table: u32,
    tcp: u8,
) -> Option<&'a Flow<F::Addr>> {
    find_in::<F, T>(tables, table, key)
        .filter(|flow| !is_superseded(tcp, flow))
        .filter(|flow| table == table::MAIN || tables.flow(table, &key.mirror(flow)).is_some())
}

/// The table that has a live entry for a tuple; one of no table if none has.
#[inline(never)]
pub fn table_of<F: Net, T: Tables<F>>(tables: &T, key: &FlowKey<F::Addr>) -> u32 {
    if find_in::<F, T>(tables, table::MAIN, key).is_some() {
        table::MAIN
    } else if find_in::<F, T>(tables, table::NEW, key).is_some() {
        table::NEW
    } else {
        table::NONE
    }
}

/// Carries a packet on as its flow, found in `table`, says. `ANY` for any protocol; without, for those whose packets are
/// quickly rewritten, which SCTP's are not.
#[inline(always)]
pub fn follow<F: Net, P: Packet, T: Tables<F>, const ANY: bool>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed<()>,
    key: &FlowKey<F::Addr>,
    flow: &Flow<F::Addr>,
    table: u32,
) -> Verdict {
    if flow.mtu != 0 && is_too_large::<F, P, T>(packet, tables, parsed, flow) {
        // The stack answers with the size that passes. What may be cut up it would send on as the container's: so this
        // may not, and the container, told of the size, cuts up its next ones itself.
        return if F::keep_whole(packet) {
            Verdict::stack(Reason::StackTooBig)
        } else {
            Verdict::drop(Reason::Malformed)
        };
    }
    if ends_here(flow, parsed.ttl) {
        return Verdict::stack(Reason::StackTtl);
    }
    let stale = is_stale::<F, T>(tables, flow);
    let next = next_state(flow.state, flow.flags, parsed, stale);
    let verdict = way::out(flow, stale);
    let changed = next != flow.state;
    if !rewrite::apply::<F, P, ANY>(packet, parsed, flow) {
        return Verdict::drop(Reason::Malformed);
    }
    let bytes = packet.length();
    if flow.endpoint != 0 {
        tables.count_endpoint(flow.endpoint, true, bytes);
    }
    if flow.publish != 0 {
        tables.count_publish(flow.publish, flow.flags & flag::INBOUND != 0, bytes);
    }
    let notes = next as u32 | table << 8 | u32::from(stale) << 9;
    if (stale || changed) && refresh::<F, T>(tables, key, notes) {
        retire::<F, T>(tables, key);
    }
    verdict
}

/// Whether a packet may go no further than the host, which would be one hop too many. What is for one of the host's own
/// addresses has arrived, and the container that it is translated to is the end that it has there (RFC 1812 §4.2.2.9).
///
/// One branch alone: of more, the verifier would follow each to the end of the program. (Nothing is routed to the host itself.)
#[inline(always)]
pub fn ends_here<A>(flow: &Flow<A>, ttl: u8) -> bool {
    let set = |bits: u8, bit: u8| bits as u32 >> bit.trailing_zeros() & 1;
    let last = (ttl as u32).wrapping_sub(2) >> 31;
    let leaves = set(flow.hop, hop::UPLINK) | (1 ^ set(flow.flags, flag::NAT));
    last & set(flow.flags, flag::ROUTED) & leaves != 0
}

/// Whether the way out cannot carry the packet: by what it could when it was last asked and, as the stack would otherwise
/// send it on as the container's, by what it can at this moment.
#[inline(always)]
fn is_too_large<F: Net, P: Packet, T: Shared>(
    packet: &P,
    tables: &T,
    parsed: &Parsed<()>,
    flow: &Flow<F::Addr>,
) -> bool {
    let size = size_on_wire::<F, P>(packet, parsed);
    size > flow.mtu as u32 && size > tables.mtu(flow.ifindex)
}

/// Bytes of the largest IP packet that will be on the wire: a train is cut into segments first.
#[inline(always)]
fn size_on_wire<F: Net, P: Packet>(packet: &P, parsed: &Parsed<()>) -> u32 {
    let segment = packet.segment();
    if segment == 0 {
        parsed.end - crate::header::ETHERNET as u32
    } else {
        segment + headers::<F, (), P>(packet, parsed)
    }
}

/// State after a packet in an entry's direction (RFC 9293 §3.3.2, as far as a NAT must know it).
#[inline(always)]
fn next_state<A: Copy>(now: u8, flags: u8, parsed: &Parsed<A>, late: bool) -> u8 {
    let reply = flags & flag::REPLY != 0;
    if parsed.is_syn() && !reply {
        // The opener begins anew on the tuple of a conversation that is over; otherwise it repeats itself.
        return if state::is_closed(now) { 0 } else { now };
    }
    let mut next = now;
    if reply {
        next |= state::ANSWERED;
    }
    let tcp = parsed.tcp;
    if tcp != 0 && now & state::ANSWERED != 0 && tcp & (SYN | RST) == 0 {
        next |= state::CONFIRMED;
    }
    if tcp & FIN != 0 {
        next |= if reply { state::FIN_REPLY } else { state::FIN_OPENER };
    }
    if tcp & RST != 0 {
        next |= state::RESET;
    } else if late {
        // Somebody still talks: the reset was not believed, and may have been forged (RFC 7857 §2.2).
        next &= !state::RESET;
    }
    next
}

/// Whether a conversation with a container, of whose packets this is one, is over for certain: both sides have said so,
/// or a container has reset it, or closed it after a reset. One from outside may be forged, and somebody go on talking
/// (RFC 7857 §2.2).
#[inline(always)]
fn is_settled<A>(key: &FlowKey<A>, flow: &Flow<A>, state: u8) -> bool {
    flow.owner != 0 && (state::is_shut(state) || (key.zone != ZONE_OUTSIDE && state::is_closed(state)))
}

/// Notes the state in both entries of a pair and, at most once a second for each, when the pair was seen; looks again then
/// for the entry's next hop, and for how much the way out carries. Whoever answers within the second of the question has
/// another way out, and looks for it again by himself. The state is the low byte of `next`; above it a bit for the table, and
/// one for whether the stamp is due. Whether the conversation has no place there any more.
#[inline(never)]
fn refresh<F: Net, T: Tables<F>>(tables: &T, key: &FlowKey<F::Addr>, next: u32) -> bool {
    let (state, table, due) = (next as u8, next >> 8 & 1, next >> 9 & 1 != 0);
    let (seen, touched) = if due { (Some(tables.clock()), Some(tables.now())) } else { (None, None) };
    let Some(flow) = tables.stamp_flow(table, key, state, seen, touched) else { return false };
    let settled = table == table::MAIN && is_settled(key, flow, state);
    tables.stamp_flow(table, &key.mirror(flow), state, seen, None);
    if flow.hop == hop::UPLINK
        && (due || !way::is_cached(flow))
        && let Some(veth) = tables.veth(key.zone)
    {
        let found = tables.route(veth.bridge, &flow.src, &flow.dst, key.proto);
        // 0 is more than any IP packet, or no interface any more.
        let mtu = tables.mtu(flow.ifindex);
        let mtu = if mtu > 0xffff { 0 } else { mtu as u16 };
        if found.status == route::FOUND && found.ifindex == flow.ifindex {
            tables.cache_next_hop(table, key, mtu, found.dst_mac, found.src_mac);
        } else {
            tables.cache_next_hop(table, key, mtu, [0; 6], [0; 6]);
        }
    }
    settled
}

/// Takes a conversation away: both entries, and its part of a share. Whoever removes the opener's entry gives it back.
#[inline(never)]
pub fn forget<F: Net, T: Tables<F>>(tables: &T, key: &FlowKey<F::Addr>, table: u32) -> u32 {
    let Some(flow) = tables.flow(table, key) else { return 0 };
    let mirror = key.mirror(flow);
    let (owner, reply) = (flow.owner, flow.flags & flag::REPLY != 0);
    let (own, other) = (tables.remove_flow(table, key), tables.remove_flow(table, &mirror));
    let removed = if reply { other } else { own };
    if removed && table == table::MAIN {
        tables.release(owner);
    }
    0
}
