//! A packet that the main table knows no flow for: it continues a conversation that is not confirmed yet, or may open
//! one.

use portlane_common::{flow::FlowKey, reason::Reason};

use crate::{
    packet::{Net, Packet, Tables, table},
    stage::{
        flow::{self, find_in, forget, is_superseded},
        handshake::{self, Sign},
        nat::{self, Scratch},
        parse::Parsed,
    },
    verdict::{Verdict, decision},
};

/// Carries the packet on; a flow that `decide` describes is opened in `table`.
#[inline(always)]
pub fn follow_or_open<F: Net, P: Packet, T: Tables<F>>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed<F::Addr>,
    key: &FlowKey<F::Addr>,
    table: u32,
    decide: impl FnOnce(&mut Scratch<F::Addr>) -> u32,
) -> Verdict {
    let mut at = table::NONE;
    if parsed.trackable() {
        let sign = handshake::sign(packet, parsed);
        at = known::<F, T>(tables, key, sign.bits, sign.number);
    }
    if at == table::NONE {
        let decision = nat::begin::<F, T>(tables, key, table, decide);
        if decision != decision::OPEN {
            return decision::verdict(decision);
        }
        at = table;
    }
    let Some(flow) = tables.flow(at, key) else { return Verdict::drop(Reason::FlowsExhausted) };
    flow::follow::<F, P, T>(packet, tables, parsed, key, flow, at)
}

/// The table that has the packet's flow. What is over makes way, and what the packet confirms moves.
#[inline(never)]
fn known<F: Net, T: Tables<F>>(tables: &T, key: &FlowKey<F::Addr>, bits: u32, number: u32) -> u32 {
    let sign = Sign { bits, number };
    // Another CPU may have opened it just now.
    if let Some(flow) = find_in::<F, T>(tables, table::MAIN, key)
        && !is_superseded(sign.tcp(), flow)
    {
        return table::MAIN;
    }
    forget::<F, T>(tables, key, table::MAIN);
    if let Some(flow) = find_in::<F, T>(tables, table::NEW, key)
        && !is_superseded(sign.tcp(), flow)
        && tables.flow(table::NEW, &flow::pair(key, flow)).is_some()
    {
        return if handshake::advance::<F, T>(tables, key, flow, sign) { table::MAIN } else { table::NEW };
    }
    // Also where a full table has let one of the two entries go.
    forget::<F, T>(tables, key, table::NEW);
    table::NONE
}
