//! Finding the published port, or range, that a packet asks for, and where it leads; and the way back.

use portlane_common::{
    cone::ConeKey,
    family::Address,
    flow::{FlowKey, ZONE_OUTSIDE, flag},
    publish::{self, Publish, PublishKey, flag as publish_flag},
    reason::Reason,
};

use crate::{
    header::UDP,
    packet::{Net, Tables},
    stage::{cone, nat::Opening},
    verdict::decision,
};

/// The entry that publishes `port` on `addr`: one for this address before one for every address. Where the one for this
/// address says that the port is the host's own, there is none.
///
/// Wildcard entries answer only if `wildcard` is set: the caller knows that the address is the host's.
#[inline(always)]
pub fn find<'a, F: Net, T: Tables<F>>(
    tables: &'a T,
    addr: &F::Addr,
    proto: u8,
    port: u16,
    wildcard: bool,
) -> Option<&'a Publish<F::Addr>> {
    let mut key = PublishKey { addr: *addr, proto, class: 0, block: 0 };
    if let Some(specific) = tables.publish(&key, port) {
        return if specific.flags & publish_flag::HOST == 0 { Some(specific) } else { None };
    }
    if !wildcard {
        return None;
    }
    key.addr = F::Addr::ANY;
    tables.publish(&key, port)
}

/// The entry by whose host port the answers of a container's UDP port leave.
///
/// A conversation may be over before the container answers, if a flood has pushed it out of its table; then the answer
/// must still come from where the question went.
#[inline(always)]
pub fn find_way_back<'a, F: Net, T: Tables<F>>(tables: &'a T, key: &FlowKey<F::Addr>) -> Option<&'a Publish<F::Addr>> {
    if key.proto != UDP {
        return None;
    }
    tables.publish(&PublishKey { addr: key.src, proto: publish::UDP_BACK, class: 0, block: 0 }, key.sport)
}

/// Describes the flow to the published port, or the full-cone socket, that a packet asks for by an address that is the
/// host's, or is not; the number of a [`decision`]. `confined` is the network that the caller may not leave, 0 if it may.
#[inline(always)]
pub fn lead<F: Net, T: Tables<F>>(
    tables: &T,
    key: &FlowKey<F::Addr>,
    opening: &mut Opening<F::Addr>,
    wildcard: bool,
    confined: u32,
) -> u32 {
    opening.begin(key);
    let mut open = true;
    if let Some(published) = find::<F, T>(tables, &key.dst, key.proto, key.dport, wildcard) {
        opening.dst = published.addr;
        opening.dport = published.container_port(key.dport);
        opening.publish = published.id;
        opening.generation = published.generation;
        open = published.flags & publish_flag::SOURCES == 0;
    } else if key.proto == UDP
        && let Some(cone) = cone::find::<F, T>(tables, &ConeKey::new(key.dst, key.dport, ZONE_OUTSIDE))
    {
        opening.dst = cone.addr;
        opening.dport = cone.port as u16;
    } else {
        return decision::PASS;
    }
    // A host process may have drawn a published number as the source port of its own connection: this is the answer.
    if tables.host_connected(key) {
        return decision::PASS;
    }
    let Some(target) = tables.endpoint(&opening.dst) else { return decision::drop(Reason::NoRoute) };
    // Whoever may leave its network gets here as docker-proxy has it get to another one: as if it were outside.
    if confined != 0 && target.network != confined {
        return decision::drop(Reason::InternalNetwork);
    }
    if !open && !admits::<F, T>(tables, opening.publish, &key.src) {
        return decision::drop(Reason::SourceRefused);
    }
    opening.owner = target.id;
    opening.flags = flag::ROUTED | flag::INBOUND;
    opening.reply_flags = flag::ROUTED;
    opening.to_endpoint(target);
    decision::OPEN
}

/// Whether an entry that has sources is open to an address. The key has a frame of its own.
#[inline(never)]
fn admits<F: Net, T: Tables<F>>(tables: &T, publish: u32, addr: &F::Addr) -> bool {
    tables.admits(publish, addr)
}
