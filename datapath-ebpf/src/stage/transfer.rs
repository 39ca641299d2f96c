//! Which of the two tables a conversation is in: the main one keeps it until its time is over, and takes it from its
//! container's share; the other forgets the longest unused first, and asks nobody for room.

use portlane_common::flow::FlowKey;

use crate::{
    packet::{Added, Net, Tables, table},
    stage::flow::forget,
};

/// Moves a conversation to the main table. Without room there, or beyond the container's share, it stays where it is.
#[inline(never)]
pub fn promote<F: Net, T: Tables<F>>(tables: &T, key: &FlowKey<F::Addr>) -> bool {
    let Some(flow) = tables.flow(table::NEW, key) else { return false };
    let owner = flow.owner;
    if !tables.hold(owner) {
        return false;
    }
    if !copy::<F, T>(tables, key, table::NEW, table::MAIN) {
        tables.release(owner);
        return false;
    }
    tables.watch();
    forget::<F, T>(tables, key, table::NEW);
    true
}

/// Moves a conversation that is over out of the main table, and gives it back to the container's share. What still comes
/// for it, as long as there is room or until its time is over, goes its way, and no other conversation gets its tuple.
#[inline(never)]
pub fn retire<F: Net, T: Tables<F>>(tables: &T, key: &FlowKey<F::Addr>) -> u32 {
    if copy::<F, T>(tables, key, table::MAIN, table::NEW) {
        forget::<F, T>(tables, key, table::MAIN);
    }
    0
}

/// Enters both entries of a conversation in another table; none of them if one is there, or does not fit.
#[inline(never)]
fn copy<F: Net, T: Tables<F>>(tables: &T, key: &FlowKey<F::Addr>, from: u32, to: u32) -> bool {
    let Some(flow) = tables.flow(from, key) else { return false };
    let pair_key = key.mirror(flow);
    let Some(mirror) = tables.flow(from, &pair_key) else { return false };
    if tables.add_flow(to, &pair_key, mirror) != Added::Entered {
        return false;
    }
    if tables.add_flow(to, key, flow) == Added::Entered {
        return true;
    }
    tables.remove_flow(to, &pair_key);
    false
}
