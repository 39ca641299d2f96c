//! Which of the two tables a conversation is in: the main one keeps it until its time is over, and takes it from its
//! container's share; the other forgets the longest unused first, and asks nobody for room.

use portlane_common::flow::{FlowKey, flag};

use crate::packet::{Added, Net, Tables, table};

/// Moves a conversation to the main table. Without room there, or beyond the container's share, it stays where it is.
#[inline(never)]
pub fn promote<F: Net, T: Tables<F>>(tables: &T, key: &FlowKey<F::Addr>) -> bool {
    let Some(flow) = tables.flow(table::NEW, key) else { return false };
    let owner = flow.owner;
    if !tables.hold(owner) {
        return false;
    }
    if !transfer::<F, T>(tables, key, table::NEW, table::MAIN) {
        tables.release(owner);
        return false;
    }
    tables.watch();
    true
}

/// Moves a conversation that is over out of the main table, and gives it back to the container's share. What still comes
/// for it, as long as there is room or until its time is over, goes its way, and no other conversation gets its tuple.
#[inline(never)]
pub fn retire<F: Net, T: Tables<F>>(tables: &T, key: &FlowKey<F::Addr>) -> u32 {
    u32::from(transfer::<F, T>(tables, key, table::MAIN, table::NEW))
}

/// Moves both entries of a conversation to another table; none of them if one is there, or does not fit. Whoever takes the
/// opener's out of the main table gives its part of a share back.
#[inline(never)]
fn transfer<F: Net, T: Tables<F>>(tables: &T, key: &FlowKey<F::Addr>, from: u32, to: u32) -> bool {
    let Some(flow) = tables.flow(from, key) else { return false };
    let mirror_key = key.mirror(flow);
    let Some(mirror) = tables.flow(from, &mirror_key) else { return false };
    let (owner, reply) = (flow.owner, flow.flags & flag::REPLY != 0);
    if tables.add_flow(to, &mirror_key, mirror) != Added::Entered {
        return false;
    }
    if tables.add_flow(to, key, flow) != Added::Entered {
        tables.remove_flow(to, &mirror_key);
        return false;
    }
    let (own, other) = (tables.remove_flow(from, key), tables.remove_flow(from, &mirror_key));
    if from == table::MAIN && if reply { other } else { own } {
        tables.release(owner);
    }
    true
}
