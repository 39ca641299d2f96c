//! What arrives from a network, at tc or XDP: replies and published ports get in, containers' addresses do not answer.

use portlane_common::{
    family::{Address, Family, V4, V6},
    flow::{ZONE_OUTSIDE, hop},
    reason::Reason,
};

use crate::{
    header::{ETHERNET, Ethernet},
    packet::{Net, Packet, Tables},
    stage::{
        flow,
        nat::{self, Scratch},
        parse::{self, kind},
        publish,
    },
    verdict::{Verdict, decision},
};

/// The hook, for any packet.
#[inline(always)]
pub fn run<P: Packet, T: Tables<V4> + Tables<V6>>(packet: &mut P, tables: &T) -> Verdict {
    if packet.tagged() {
        // It belongs to a VLAN interface, which is an uplink of its own.
        return Verdict::PASS;
    }
    packet.pull(ETHERNET as u32);
    let Some(ethernet) = packet.read::<Ethernet>(0) else { return Verdict::PASS };
    match u16::from_be(ethernet.ethertype) {
        V4::ETHERTYPE => ip::<V4, P, T>(packet, tables),
        V6::ETHERTYPE => ip::<V6, P, T>(packet, tables),
        _ => Verdict::PASS,
    }
}

#[inline(always)]
fn ip<F: Net, P: Packet, T: Tables<F>>(packet: &mut P, tables: &T) -> Verdict {
    // What is malformed goes to the stack, which counts it.
    let Some(ip) = parse::ip::<F, P>(packet) else { return Verdict::PASS };
    let parsed = parse::l4::<F, P>(packet, &ip);
    let key = parsed.key(ZONE_OUTSIDE);
    let known = if parsed.trackable() { flow::find::<F, T>(tables, &key) } else { None };
    let flow = match known {
        Some(flow) => flow,
        None => {
            let decision = if parsed.kind == kind::TCP || parsed.kind == kind::UDP {
                nat::begin::<F, T>(tables, &key, |scratch| decide::<F, T>(tables, scratch, packet.ifindex()))
            } else {
                decision::PASS
            };
            if decision == decision::PASS && tables.endpoint(&parsed.dst).is_some() {
                return Verdict::drop(Reason::DirectAccess);
            }
            if decision != decision::OPEN {
                return decision::verdict(decision);
            }
            let Some(flow) = tables.flow(&key) else { return Verdict::drop(Reason::FlowsExhausted) };
            flow
        }
    };
    flow::follow::<F, P, T>(packet, tables, &parsed, &key, flow)
}

/// A packet that belongs to no flow: does it ask for a published port?
#[inline(never)]
fn decide<F: Net, T: Tables<F>>(tables: &T, scratch: &mut Scratch<F::Addr>, uplink: u32) -> u32 {
    let Scratch { key, opening, .. } = scratch;
    let wildcard = tables.is_host(&key.dst);
    let Some(published) = publish::find::<F, T>(tables, &key.dst, key.proto, key.dport, wildcard) else {
        return decision::PASS;
    };
    if tables.is_host(&key.src) || tables.endpoint(&key.src).is_some() || key.src.is_loopback() {
        return decision::drop(Reason::Martian);
    }
    // A host process may have drawn a published number as the source port of its own connection.
    if tables.host_connected(key) {
        return decision::PASS;
    }
    let Some(target) = tables.endpoint(&published.addr) else { return decision::drop(Reason::NoRoute) };
    opening.begin(key);
    opening.to_published(published);
    opening.to_endpoint(target);
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
