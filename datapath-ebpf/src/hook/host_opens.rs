//! A packet of the host's own without a flow: a program of its own, behind `to_uplink`.

use portlane_common::{
    family::{Family, V4, V6},
    flow::{FlowKey, ZONE_HOST, ZONE_OUTSIDE, hop},
    reason::Reason,
};

use crate::{
    header::{Ethernet, UDP},
    packet::{Net, Packet, Tables, table},
    stage::{flow::table_of, nat::Scratch, open::follow_or_open, parse, publish},
    verdict::{Verdict, decision},
};

/// The hook, for a packet that may open a conversation.
#[inline(always)]
pub fn run<P: Packet, T: Tables<V4> + Tables<V6>>(packet: &mut P, tables: &T) -> Verdict {
    let Some(ethernet) = packet.read::<Ethernet>(0) else { return Verdict::PASS };
    match u16::from_be(ethernet.ethertype) {
        V4::ETHERTYPE => ip::<V4, P, T>(packet, tables),
        V6::ETHERTYPE => ip::<V6, P, T>(packet, tables),
        _ => Verdict::PASS,
    }
}

#[inline(always)]
fn ip<F: Net, P: Packet, T: Tables<F>>(packet: &mut P, tables: &T) -> Verdict {
    let Some(ip) = parse::ip::<F, P>(packet) else { return Verdict::PASS };
    let parsed = parse::l4::<F, P>(packet, &ip);
    let Some(parsed) = tables.plain(&parsed) else { return Verdict::drop(Reason::NotLoaded) };
    let key = parsed.key(ZONE_HOST);
    follow_or_open::<F, P, T>(packet, tables, &parsed, &key, table::MAIN, |scratch| decide::<F, T>(tables, scratch))
}

/// Is the tuple that the answer would have a container's already? Then the host's flow takes another source port.
///
/// Or was the host's port drawn from a published range, which the kernel knows nothing of? Then a flow leads the answer
/// home. (A TCP connection is found by its socket when the answer comes, see `from_uplink`.)
#[inline(never)]
fn decide<F: Net, T: Tables<F>>(tables: &T, scratch: &mut Scratch<F::Addr>) -> u32 {
    let Scratch { key, opening, .. } = scratch;
    let answer = FlowKey {
        src: key.dst,
        dst: key.src,
        sport: key.dport,
        dport: key.sport,
        zone: ZONE_OUTSIDE,
        proto: key.proto,
        pad: 0,
        pad2: 0,
    };
    let published = || {
        key.proto == UDP && publish::find::<F, T>(tables, &key.src, UDP, key.sport, tables.is_host(&key.src)).is_some()
    };
    match tables.flow(table_of::<F, T>(tables, &answer), &answer) {
        Some(holder) if holder.hop == hop::HOST => return decision::PASS,
        None if !published() => return decision::PASS,
        _ => {}
    }
    opening.begin(key);
    opening.reply_zone = ZONE_OUTSIDE;
    decision::OPEN
}
