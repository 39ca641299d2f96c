//! A packet from outside without a flow: does it ask for a published port? A program of its own, behind `from_uplink`.

use portlane_common::{
    family::Address,
    flow::{ZONE_OUTSIDE, hop},
    reason::Reason,
};

use crate::{
    packet::{Net, Packet, Tables, table},
    stage::{nat::Scratch, open::follow_or_open, publish},
    verdict::{Verdict, decision},
};

/// The hook, for a packet to the host or a container.
#[inline(always)]
pub fn run<F: Net, P: Packet, T: Tables<F>>(packet: &mut P, tables: &T) -> Verdict {
    let uplink = packet.ifindex();
    follow_or_open::<F, P, T>(packet, tables, ZONE_OUTSIDE, decision::PASS, |scratch| {
        let ports = scratch.parsed.has_ports();
        let decision = if ports { decide::<F, T>(tables, scratch, uplink) } else { decision::PASS };
        if decision == decision::PASS && tables.endpoint(&scratch.key.dst).is_some() {
            return decision::drop(Reason::DirectAccess);
        }
        decision
    })
}

/// A packet that belongs to no flow: does it ask for a published port?
#[inline(never)]
fn decide<F: Net, T: Tables<F>>(tables: &T, scratch: &mut Scratch<F::Addr>, uplink: u32) -> u32 {
    let Scratch { key, opening, .. } = scratch;
    let wildcard = tables.is_host(&key.dst);
    let decision = publish::lead::<F, T>(tables, key, opening, wildcard, 0);
    if decision != decision::OPEN {
        return decision;
    }
    if tables.is_host(&key.src) || tables.endpoint(&key.src).is_some() || key.src.is_loopback() {
        return decision::drop(Reason::Martian);
    }
    opening.table = table::NEW;
    // The answer leaves by the uplink that the question came in by.
    opening.reply_ifindex = uplink;
    opening.reply_hop = hop::UPLINK;
    if let Some(uplink) = tables.uplink(uplink)
        && uplink.mtu <= 0xffff
    {
        opening.reply_mtu = uplink.mtu as u16;
    }
    decision::OPEN
}
