//! Endpoint-independent mapping and filtering (RFC 4787 REQ-1, REQ-8): the one port that a full-cone container's UDP
//! socket has outside, whoever it talks to and whoever talks to it.
//!
//! The entries live as long as a conversation that uses them: who sweeps the flows stamps them.

use portlane_common::{
    cone::{Cone, ConeKey},
    config::PORT_TRIES,
    flow::{SWEEP_SECONDS, ZONE_OUTSIDE, age, state},
};

use crate::{
    header::UDP,
    packet::{Net, Tables},
    stage::nat::{self, Scratch},
};

/// What a socket is on the other side, while it counts.
#[inline(always)]
pub fn find<'a, F: Net, T: Tables<F>>(tables: &'a T, key: &ConeKey<F::Addr>) -> Option<&'a Cone<F::Addr>> {
    let lives = tables.timeout(UDP, state::ANSWERED) + SWEEP_SECONDS;
    tables.cone(key).filter(|cone| age(tables.clock(), cone.seen) < lives)
}

/// Whether a full-cone socket has a port of a host's address.
#[inline(always)]
pub fn holds<F: Net, T: Tables<F>>(tables: &T, addr: F::Addr, port: u16) -> bool {
    find::<F, T>(tables, &ConeKey::new(addr, port, ZONE_OUTSIDE)).is_some()
}

/// The port that the opener's socket has outside at `opening.src`, where it gets one if it has none; 0 if none is free.
///
/// The steps run one after the other, not one inside the other: together they would not fit the stack.
#[inline(never)]
pub fn port<F: Net, T: Tables<F>>(tables: &T, scratch: &mut Scratch<F::Addr>) -> u32 {
    let known = known::<F, T>(tables, scratch);
    if known != 0 {
        return known;
    }
    let start = nat::draw_for_socket(&scratch.key, tables.secret());
    let found = tables.repeat(PORT_TRIES + 1, |n| {
        let port = nat::nth_port(scratch.key.sport, start, n);
        nat::is_free::<F, T>(tables, scratch, port)
    });
    if found { enter::<F, T>(tables, scratch) } else { 0 }
}

/// The port that it has, 0 if none.
#[inline(never)]
fn known<F: Net, T: Tables<F>>(tables: &T, scratch: &Scratch<F::Addr>) -> u32 {
    let inner = ConeKey::new(scratch.key.src, scratch.key.sport, scratch.key.zone);
    match find::<F, T>(tables, &inner) {
        Some(cone) if cone.addr == scratch.opening.src => cone.port,
        _ => 0,
    }
}

/// Enters the port that was found last; 0 if that cannot be.
#[inline(never)]
fn enter<F: Net, T: Tables<F>>(tables: &T, scratch: &Scratch<F::Addr>) -> u32 {
    let (host, port, seen) = (scratch.opening.src, scratch.reply_key.dport, tables.clock());
    let key = &scratch.key;
    let inside = Cone { addr: key.src, port: u32::from(key.sport), seen };
    let outside = Cone { addr: host, port: u32::from(port), seen };
    let entered = tables.put_cone(&ConeKey::new(host, port, ZONE_OUTSIDE), &inside)
        && tables.put_cone(&ConeKey::new(key.src, key.sport, key.zone), &outside);
    if entered { u32::from(port) } else { 0 }
}
