//! Fragments that came before the first of their datagram: kept in a map, and put back on their interface as clones of
//! the first, with other bytes.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_INGRESS, BPF_F_RECOMPUTE_CSUM},
    check_bounds_signed,
    helpers::generated,
};
use portlane_common::fragment::{HELD_BYTES, Held};

use super::maps;

/// Whether a packet of this length fits into [`Held`]. Compared as it is handed to the helpers: kernels before 6.8 forget
/// that a number is not 0, and LLVM would compare another one.
#[inline(always)]
fn fits(length: u32) -> bool {
    check_bounds_signed(length.into(), 1, HELD_BYTES as i64)
}

/// A copy of the packet, in a slot of this CPU's; none if it is too large.
#[inline(always)]
pub fn copy<'a>(context: *mut c_void, length: u32) -> Option<&'a Held> {
    let frame = maps::FRAME.get_ptr_mut(0)?;
    // Volatile: read where it is compared and handed on. Fetched from the stack a second time, for the helper, it would be
    // another number to kernels before 6.8.
    // SAFETY: a per-CPU slot.
    let length = unsafe {
        (*frame).length = length;
        (&raw const (*frame).length).read_volatile()
    };
    if !fits(length) {
        return None;
    }
    // SAFETY: as above; the length is within it.
    unsafe {
        let bytes = (&raw mut (*frame).bytes).cast();
        (generated::bpf_skb_load_bytes(context, 0, bytes, length) == 0).then_some(&*frame)
    }
}

/// Makes the packet at hand have these bytes; whether it does.
#[inline(always)]
pub fn restore(context: *mut c_void, frame: &Held) -> bool {
    let skb: *mut __sk_buff = context.cast();
    let length = frame.length;
    if !fits(length) {
        return false;
    }
    // SAFETY: the program's own context, which is an sk_buff's: XDP leaves fragments to tc.
    unsafe {
        generated::bpf_skb_change_tail(skb, length, 0) == 0
            && generated::bpf_skb_store_bytes(skb, 0, frame.bytes.as_ptr().cast(), length, BPF_F_RECOMPUTE_CSUM.into())
                == 0
    }
}

/// Puts a packet with these bytes on an interface, as if it arrived there now.
#[inline(always)]
pub fn send(context: *mut c_void, frame: &Held, ifindex: u32) {
    if restore(context, frame) {
        // SAFETY: as in `restore`.
        unsafe { generated::bpf_clone_redirect(context.cast(), ifindex, BPF_F_INGRESS.into()) };
    }
}
