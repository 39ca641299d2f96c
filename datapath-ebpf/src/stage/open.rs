//! A packet that the main table knows no flow for: it continues a conversation that is not confirmed yet, or may open
//! one.

use portlane_common::{flow::FlowKey, reason::Reason};

use crate::{
    packet::{Net, Packet, Tables, table},
    stage::{
        flow::{self, find_in, forget, is_superseded},
        handshake,
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
    if parsed.trackable() {
        // Another CPU may have opened it just now; what is over makes way.
        match flow::find::<F, T>(tables, parsed, key) {
            Some(flow) => return flow::follow::<F, P, T>(packet, tables, parsed, key, flow, table::MAIN),
            None => forget::<F, T>(tables, key, table::MAIN),
        };
        match find_in::<F, T>(tables, table::NEW, key) {
            Some(flow) if !is_superseded(parsed, flow) && has_mirror::<F, T>(tables, key) => {
                let at = if handshake::advance::<F, P, T>(packet, tables, parsed, key, flow) {
                    table::MAIN
                } else {
                    table::NEW
                };
                let Some(flow) = tables.flow(at, key) else { return Verdict::drop(Reason::FlowsExhausted) };
                return flow::follow::<F, P, T>(packet, tables, parsed, key, flow, at);
            }
            _ => forget::<F, T>(tables, key, table::NEW),
        };
    }
    let decision = nat::begin::<F, T>(tables, key, table, decide);
    if decision != decision::OPEN {
        return decision::verdict(decision);
    }
    let Some(flow) = tables.flow(table, key) else { return Verdict::drop(Reason::FlowsExhausted) };
    flow::follow::<F, P, T>(packet, tables, parsed, key, flow, table)
}

/// Whether both entries are there: a full table may have let one of them go.
#[inline(never)]
fn has_mirror<F: Net, T: Tables<F>>(tables: &T, key: &FlowKey<F::Addr>) -> bool {
    let Some(flow) = tables.flow(table::NEW, key) else { return false };
    let pair = flow::pair(key, flow);
    tables.flow(table::NEW, &pair).is_some()
}
