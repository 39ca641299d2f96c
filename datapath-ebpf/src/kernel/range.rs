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
    let found = repeat(u32::from(CLASSES - 1), |index| {
        let class = (index as u8 & 15) + 1;
        if classes >> class & 1 == 0 {
            return false;
        }
        let block = block_of(port, class);
        key.holds(class, block, port)
            || key.holds(class, block.wrapping_add(1), port)
            || key.holds(class, block.wrapping_sub(1), port)
    });
    if found { Some(key) } else { None }
}

/// A closure, and whether it answered true.
#[repr(C)]
struct Loop<C> {
    step: C,
    done: u64,
}

/// Calls `step` with 0, 1, … until it answers true, at most `times` times; whether it did.
#[inline(always)]
pub fn repeat<C: FnMut(u32) -> bool>(times: u32, step: C) -> bool {
    let mut state = Loop { step, done: 0 };
    let callback: unsafe extern "C" fn(u64, *mut Loop<C>) -> i64 = once::<C>;
    // SAFETY: the callback has the signature that the helper calls, and its context outlives the call.
    unsafe { generated::bpf_loop(times, callback as *mut c_void, (&raw mut state).cast(), 0) };
    state.done != 0
}

/// One call: 0 goes on, 1 ends the loop.
unsafe extern "C" fn once<C: FnMut(u32) -> bool>(index: u64, state: *mut Loop<C>) -> i64 {
    // SAFETY: the context that `repeat` handed in.
    let state = unsafe { &mut *state };
    let done = (state.step)(index as u32);
    state.done = u64::from(done);
    i64::from(done)
}
