//! A packet that the main table knows no flow for: it continues a conversation that is not confirmed yet, or may open
//! one.

use portlane_common::{flow::FlowKey, reason::Reason};

use crate::{
    packet::{Net, Packet, Tables, table},
    stage::{
        flow::{self, find_whole},
        handshake::{self, Sign},
        nat::{self, Scratch},
        parse,
    },
    verdict::{Verdict, decision},
};

/// Carries the packet on, as the flow that it has or that `decide` describes. What is malformed gets the decision
/// `malformed`.
#[inline(always)]
pub fn follow_or_open<F: Net, P: Packet, T: Tables<F>>(
    packet: &mut P,
    tables: &T,
    zone: u32,
    malformed: u32,
    decide: impl FnOnce(&mut Scratch<F::Addr>) -> u32,
) -> Verdict {
    let decision = tables.with_scratch(decision::drop(Reason::NotLoaded), |scratch| {
        if !read::<F, P>(packet, scratch, zone) {
            return malformed;
        }
        let parsed = scratch.parsed();
        let mut at = table::NONE;
        if parsed.trackable() {
            let sign = handshake::sign(packet, &parsed);
            at = known::<F, T>(tables, &scratch.key, sign.bits, sign.number);
        }
        if at == table::NONE {
            let decision = nat::begin::<F, T>(tables, scratch, decide);
            if decision != decision::OPEN {
                return decision;
            }
            at = scratch.opening.table;
        }
        decision::flow_in(at)
    });
    match decision::table(decision) {
        Some(table) => packet.follow::<F, T>(tables, table),
        None => decision::verdict(decision),
    }
}

/// Carries on the packet whose headers and tuple are in the scratch space, as the flow that the table has for it says.
#[inline(always)]
pub fn follow<F: Net, P: Packet, T: Tables<F>>(packet: &mut P, tables: &T, table: u32) -> Verdict {
    tables.with_scratch(Verdict::drop(Reason::NotLoaded), |scratch| {
        let Some(flow) = tables.flow(table, &scratch.key) else { return Verdict::drop(Reason::FlowsExhausted) };
        flow::follow::<F, P, T, true>(packet, tables, &scratch.parsed(), &scratch.key, flow, table)
    })
}

/// Reads the headers into the scratch space: what follows is then looked at once by the verifier, and not once for each
/// way through the parser.
#[inline(never)]
fn read<F: Net, P: Packet>(packet: &mut P, scratch: &mut Scratch<F::Addr>, zone: u32) -> bool {
    let Some(ip) = parse::ip::<F, P>(packet) else { return false };
    let parsed = parse::beginning::<F, P>(packet, &ip);
    scratch.key = parsed.key(zone);
    scratch.parsed = parsed.rest();
    true
}

/// The table that has the packet's flow. What the packet confirms moves.
///
/// The main table comes last, since that is where conversations move to: one that another CPU moves, or opens, meanwhile
/// is found. To open it anew would give it another port outside.
#[inline(never)]
fn known<F: Net, T: Tables<F>>(tables: &T, key: &FlowKey<F::Addr>, bits: u32, number: u32) -> u32 {
    let sign = Sign { bits, number };
    if let Some(flow) = find_whole::<F, T>(tables, key, table::NEW, sign.tcp())
        && !handshake::advance::<F, T>(tables, key, flow, sign)
        && tables.flow(table::NEW, key).is_some()
    {
        return table::NEW;
    }
    if find_whole::<F, T>(tables, key, table::MAIN, sign.tcp()).is_some() { table::MAIN } else { table::NONE }
}
