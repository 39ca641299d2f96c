//! A packet of the host's own without a flow: a program of its own, behind `to_uplink`.

use portlane_common::flow::{ZONE_HOST, ZONE_OUTSIDE, hop};

use crate::{
    header::UDP,
    packet::{Net, Packet, Tables},
    stage::{flow::table_of, nat::Scratch, open::follow_or_open, publish},
    verdict::{Verdict, decision},
};

/// The hook, for a packet that may open a conversation.
#[inline(always)]
pub fn run<F: Net, P: Packet, T: Tables<F>>(packet: &mut P, tables: &T) -> Verdict {
    follow_or_open::<F, P, T>(packet, tables, ZONE_HOST, decision::PASS, |scratch| decide::<F, T>(tables, scratch))
}

/// Is the tuple that the answer would have a container's already? Then the host's flow takes another source port.
///
/// Or was the host's port drawn from a published range, which the kernel knows nothing of? Then a flow leads the answer
/// home. (A TCP connection is found by its socket when the answer comes, see `from_uplink`.)
#[inline(never)]
fn decide<F: Net, T: Tables<F>>(tables: &T, scratch: &mut Scratch<F::Addr>) -> u32 {
    let Scratch { key, reply_key: answer, opening, .. } = scratch;
    answer.set([&key.dst, &key.src], [key.dport, key.sport], ZONE_OUTSIDE, key.proto);
    let published = || {
        key.proto == UDP && publish::find::<F, T>(tables, &key.src, UDP, key.sport, tables.is_host(&key.src)).is_some()
    };
    match tables.flow(table_of::<F, T>(tables, answer), answer) {
        Some(holder) if holder.hop == hop::HOST => return decision::PASS,
        None if !published() => return decision::PASS,
        _ => {}
    }
    opening.begin(key);
    opening.reply_zone = ZONE_OUTSIDE;
    decision::OPEN
}
