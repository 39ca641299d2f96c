//! Where a packet of a known flow goes.

use portlane_common::flow::{Flow, hop};

use crate::{
    header::Mac,
    verdict::{self, Verdict},
};

/// Whether the MAC addresses of the next hop are in the entry.
#[inline(always)]
pub fn is_cached<A>(flow: &Flow<A>) -> bool {
    bytemuck::cast::<_, Mac>(flow.dst_mac) != [0; 3]
}

/// The way out. Once a second (`stale`) the kernel's own neighbour table is asked instead of the cache, which keeps
/// the neighbour entry in use and so confirmed.
#[inline(always)]
pub fn out<A>(flow: &Flow<A>, stale: bool) -> Verdict {
    match flow.hop {
        hop::ENDPOINT => Verdict::to(verdict::ENDPOINT, flow.ifindex),
        hop::UPLINK if is_cached(flow) && !stale => Verdict::to(verdict::UPLINK, flow.ifindex),
        hop::UPLINK => Verdict::to(verdict::NEIGHBOUR, flow.ifindex),
        _ => Verdict::to(verdict::HOST, 0),
    }
}
