//! A container's packet without a flow: who may open one, and which. A program of its own, behind `from_container`.

use portlane_common::{
    endpoint::{Veth, veth as veth_flag},
    family::{Address, Family, V6},
    flow::{ZONE_OUTSIDE, flag, hop},
    reason::Reason,
};

use crate::{
    header::UDP,
    packet::{Net, Packet, Tables, route, table},
    stage::{cone, nat::Scratch, open::follow_or_open, parse::kind, policy, publish},
    verdict::{Verdict, decision},
};

/// The hook, for a packet that `from_container` found to be the container's own.
#[inline(always)]
pub fn run<F: Net, P: Packet, T: Tables<F>>(packet: &mut P, tables: &T) -> Verdict {
    let (zone, malformed) = (packet.ifindex(), decision::drop(Reason::Malformed));
    follow_or_open::<F, P, T>(packet, tables, zone, malformed, |scratch| {
        // One after the other, not one inside the other: the frames of both do not fit the stack.
        let decision = decide::<F, T>(tables, scratch);
        let decision = if decision == decision::LEAVE { masquerade::<F, T>(tables, scratch) } else { decision };
        if decision == decision::OPEN && scratch.opening.flags & flag::CONE != 0 {
            let port = cone::port::<F, T>(tables, scratch);
            if port == 0 {
                return decision::drop(Reason::PortsExhausted);
            }
            scratch.opening.sport = port as u16;
        }
        decision
    })
}

/// A packet that belongs to no flow: who may open one, and which.
#[inline(never)]
fn decide<F: Net, T: Tables<F>>(tables: &T, scratch: &mut Scratch<F::Addr>) -> u32 {
    let (key, parsed) = (&scratch.key, &scratch.parsed);
    let Some(veth) = tables.veth(key.zone) else { return decision::drop(Reason::UnknownEndpoint) };
    let ports = parsed.has_ports();
    if let Some(peer) = tables.endpoint(&key.dst) {
        if peer.network != veth.network {
            return decision::drop(Reason::OtherNetwork);
        }
        if !ports || !policy::linked(tables, veth.endpoint, peer.id, key.proto, key.dport) {
            return decision::drop(Reason::IccOff);
        }
        let opening = &mut scratch.opening;
        opening.begin(key);
        opening.owner = veth.endpoint;
        opening.to_endpoint(peer);
        opening.src_mac = veth.mac;
        opening.reply_to(veth.endpoint, key.zone, veth.mac, peer.mac);
        return decision::OPEN;
    }
    if tables.is_host(&key.dst) {
        return hairpin::<F, T>(tables, scratch, veth, ports);
    }
    if key.dst.is_link_local() && F::AF == V6::AF {
        return decision::PASS;
    }
    if veth.flags & veth_flag::INTERNAL != 0 {
        return decision::drop(Reason::InternalNetwork);
    }
    if parsed.kind == kind::OTHER {
        return decision::drop(Reason::ProtocolUnsupported);
    }
    let opens = match parsed.kind {
        kind::TCP | kind::SCTP => parsed.is_syn(),
        kind::ECHO => key.dport == 0,
        _ => true,
    };
    if !opens {
        return decision::drop(Reason::NoFlow);
    }
    decision::LEAVE
}

/// To an address of the host: a published port leads back to a container, anything else is the host's own service.
#[inline(always)]
fn hairpin<F: Net, T: Tables<F>>(tables: &T, scratch: &mut Scratch<F::Addr>, veth: &Veth, ports: bool) -> u32 {
    let Scratch { key, opening, .. } = scratch;
    if !ports {
        return decision::PASS;
    }
    let confined = if veth.flags & veth_flag::INTERNAL != 0 { veth.network } else { 0 };
    let decision = publish::lead::<F, T>(tables, key, opening, true, confined);
    if decision != decision::OPEN {
        return decision;
    }
    opening.owner = veth.endpoint;
    // The answer must come back through here, so the called address stands in for the caller.
    opening.src = key.dst;
    opening.reply_to(veth.endpoint, key.zone, veth.mac, veth.gateway_mac);
    decision::OPEN
}

/// Beyond the host: out by the uplink that the route names, as the host.
#[inline(never)]
fn masquerade<F: Net, T: Tables<F>>(tables: &T, scratch: &mut Scratch<F::Addr>) -> u32 {
    let Scratch { key, opening, .. } = scratch;
    let Some(veth) = tables.veth(key.zone) else { return decision::drop(Reason::UnknownEndpoint) };
    let found = tables.route(veth.bridge, &key.src, &key.dst, key.proto);
    if found.status == route::STACK {
        return decision::stack(Reason::StackRoute);
    }
    if found.status != route::FOUND {
        return decision::drop(Reason::NoRoute);
    }
    let Some(uplink) = tables.uplink(found.ifindex) else { return decision::drop(Reason::NoUplink) };
    let src = *if *veth.host::<F>() == F::Addr::ANY { uplink.addr::<F>() } else { veth.host::<F>() };
    if src == F::Addr::ANY && veth.flags & veth_flag::MASQUERADE != 0 {
        return decision::drop(Reason::NoUplink);
    }
    opening.begin(key);
    opening.owner = veth.endpoint;
    // As under Docker with ip-masq=false: out with its own address; how answers find the way is up to the routers.
    opening.src = if veth.flags & veth_flag::MASQUERADE == 0 { key.src } else { src };
    opening.reply_zone = ZONE_OUTSIDE;
    opening.ifindex = found.ifindex;
    opening.hop = hop::UPLINK;
    opening.dst_mac = found.dst_mac;
    opening.src_mac = found.src_mac;
    opening.mtu = if uplink.mtu > 0xffff { 0 } else { uplink.mtu as u16 };
    opening.flags = flag::ROUTED;
    opening.reply_flags = flag::ROUTED | flag::INBOUND;
    let full_cone = veth_flag::FULL_CONE | veth_flag::MASQUERADE;
    let way_back = publish::find_way_back::<F, T>(tables, key);
    // Without masquerade, an uplink may have no address that the way back could lead by.
    if let Some(published) = way_back.filter(|back| back.addr != F::Addr::ANY || src != F::Addr::ANY) {
        // As if whoever it talks to had spoken first.
        opening.src = if published.addr == F::Addr::ANY { src } else { published.addr };
        opening.sport = published.container_port(key.sport);
        opening.publish = published.id;
        opening.generation = published.generation;
        opening.table = table::NEW;
        opening.keeps_port = 1;
    } else if key.proto == UDP && veth.flags & full_cone == full_cone {
        opening.flags |= flag::CONE;
        opening.keeps_port = 1;
    }
    opening.reply_to(veth.endpoint, key.zone, veth.mac, veth.gateway_mac);
    decision::OPEN
}
