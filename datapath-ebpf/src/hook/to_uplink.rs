//! What the host itself sends by an uplink: it must never share a tuple with a container's flow.

use portlane_common::{
    family::{Family, V4, V6},
    flow::{FlowKey, ZONE_HOST, ZONE_OUTSIDE, hop},
    reason::Reason,
};

use crate::{
    header::{ETHERNET, Ethernet, UDP},
    packet::{Net, Packet, Tables},
    stage::{
        flow,
        nat::{self, Scratch},
        parse::{self, ACK, SYN, kind},
        publish,
    },
    verdict::{Verdict, decision},
};

/// The hook, for any packet.
#[inline(always)]
pub fn run<P: Packet, T: Tables<V4> + Tables<V6>>(packet: &mut P, tables: &T) -> Verdict {
    if packet.origin() != 0 {
        // Redirected by us, or forwarded for someone else: not the host's own.
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
    let key = parsed.key(ZONE_HOST);
    let known = if parsed.trackable() { flow::find::<F, T>(tables, &key) } else { None };
    let flow = match known {
        Some(flow) => flow,
        None => {
            // Only what opens a conversation can meet a tuple that is taken.
            let opens = if parsed.kind == kind::TCP { parsed.tcp & (SYN | ACK) == SYN } else { parsed.trackable() };
            let decision = if opens {
                nat::begin::<F, T>(tables, &key, |scratch| decide::<F, T>(tables, scratch))
            } else {
                decision::PASS
            };
            if decision != decision::OPEN {
                return decision::verdict(decision);
            }
            let Some(flow) = tables.flow(&key) else { return Verdict::drop(Reason::FlowsExhausted) };
            flow
        }
    };
    flow::follow::<F, P, T>(packet, tables, &parsed, &key, flow)
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
    match flow::find::<F, T>(tables, &answer) {
        Some(holder) if holder.hop == hop::HOST => return decision::PASS,
        None if !published() => return decision::PASS,
        _ => {}
    }
    opening.begin(key);
    opening.reply_zone = ZONE_OUTSIDE;
    decision::OPEN
}
