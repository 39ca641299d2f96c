//! What `--link` opens between containers of a network with `icc=false`.

use portlane_common::policy::PolicyKey;

use crate::packet::Shared;

/// Whether endpoint `from` may open flows to `port` of endpoint `to`.
#[inline(always)]
pub fn linked<T: Shared>(tables: &T, from: u32, to: u32, proto: u8, port: u16) -> bool {
    tables.opens(&PolicyKey { from, to, proto, class: 0, block: 0 }, port)
}
