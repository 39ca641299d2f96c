//! Functions that the verifier looks at for themselves, once for each program that calls them, with anything at all for
//! arguments: "global" ones (Linux 5.6). Any other function it follows anew from each state in which it is called.
//!
//! Their names lead outside of the object, so that it stays known that they are global.

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use portlane_common::family::{V4, V6};

use super::{tables::Maps, tc::Skb, xdp::Frame};
use crate::stage::{crc, open};

macro_rules! follow {
    ($($name:ident: $packet:ident { $field:ident: $context:ty } of $family:ty;)+) => {$(
        #[doc = "Carries on the packet whose headers and tuple are in the scratch space; answers a verdict's bits."]
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $name($field: *mut $context, table: u32) -> u64 {
            let tables = Maps { context: $field.cast() };
            open::follow::<$family, _, _>(&mut $packet { $field }, &tables, table).bits()
        }
    )+};
}

follow! {
    follow4: Skb { skb: __sk_buff } of V4;
    follow6: Skb { skb: __sk_buff } of V6;
    follow_xdp4: Frame { frame: xdp_md } of V4;
    follow_xdp6: Frame { frame: xdp_md } of V6;
}

/// See [`crc::difference`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn crc_difference(change: u32, behind: u32) -> u32 {
    crc::difference(change, behind)
}
