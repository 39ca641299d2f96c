//! Looking a port up among ranges (see [`portlane_common::span`]).
//!
//! The classes are walked with `bpf_loop` (Linux 5.17): the verifier looks at one step, not at every combination.

use core::ffi::c_void;

use aya_ebpf::helpers::generated;
use portlane_common::span::{CLASSES, block_of};

/// A map key whose class and block can be set.
pub trait Ranges {
    /// Looks up the range filed there: whether it holds `port`.
    fn holds(&mut self, class: u8, block: u16, port: u16) -> bool;
}

/// What the steps share.
#[repr(C)]
struct Search<K> {
    key: K,
    classes: u32,
    port: u16,
    found: u16,
}

/// The key of the range that holds `port`, among the classes in use.
#[inline(always)]
pub fn find<K: Ranges + Copy>(mut key: K, classes: u32, port: u16) -> Option<K> {
    // Single ports are the common case, and have one place to be.
    if classes & 1 != 0 && key.holds(0, port, port) {
        return Some(key);
    }
    if classes >> 1 == 0 {
        return None;
    }
    let mut search = Search { key, classes, port, found: 0 };
    let step: unsafe extern "C" fn(u64, *mut Search<K>) -> i64 = step::<K>;
    // SAFETY: the callback has the signature that the helper calls, and its context outlives the call.
    unsafe { generated::bpf_loop(u32::from(CLASSES - 1), step as *mut c_void, (&raw mut search).cast(), 0) };
    if search.found != 0 { Some(search.key) } else { None }
}

/// One class: 0 goes on, 1 ends the search.
unsafe extern "C" fn step<K: Ranges>(index: u64, search: *mut Search<K>) -> i64 {
    // SAFETY: the context that `find` handed in.
    let search = unsafe { &mut *search };
    let class = (index as u8 & 15) + 1;
    if search.classes >> class & 1 == 0 {
        return 0;
    }
    let port = search.port;
    let block = block_of(port, class);
    let found = search.key.holds(class, block, port)
        || search.key.holds(class, block.wrapping_add(1), port)
        || search.key.holds(class, block.wrapping_sub(1), port);
    search.found = u16::from(found);
    i64::from(found)
}
