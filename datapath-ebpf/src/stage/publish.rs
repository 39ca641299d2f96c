//! Finding the published port, or range, that a packet asks for.

use portlane_common::{
    family::Address,
    publish::{Publish, PublishKey},
};

use crate::packet::{Net, Tables};

/// The entry that publishes `port` on `addr`: one for this address before one for every address.
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
    let specific = tables.publish(&key, port);
    if specific.is_some() || !wildcard {
        return specific;
    }
    key.addr = F::Addr::ANY;
    tables.publish(&key, port)
}
