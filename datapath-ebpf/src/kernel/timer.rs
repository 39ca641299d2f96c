//! Time: what clocks say, and the timers that take conversations away when they are over (`bpf_timer`, Linux 5.15).
//!
//! They run on the clock that counts suspension, so that a host that wakes up forgets what is over before it hears of
//! anything else. A conversation needs no process, and no packet, to come to its end.

use core::ffi::c_void;

use aya_ebpf::helpers::generated;
use portlane_common::{
    cone::ConeKey,
    family::{Addr4, Addr6},
    flow::{FlowKey, LOOK_SECONDS, TimedFlow, ZONE_OUTSIDE, age, flag},
};

use super::maps;
use crate::stage::flow::pair;

/// `CLOCK_BOOTTIME`.
const BOOT_TIME: u64 = 7;
const NANOSECONDS: u64 = 1_000_000_000;

/// Seconds since boot, suspension included.
#[inline(always)]
pub fn clock() -> u32 {
    // SAFETY: takes nothing, returns a number.
    (unsafe { generated::bpf_ktime_get_boot_ns() } / NANOSECONDS) as u32
}

/// Seconds without a packet after which a flow of `proto` in `state` is over.
#[inline(always)]
pub fn timeout(proto: u8, state: u8) -> u32 {
    maps::CONFIG.get(0).map_or(0, |config| config.timeouts.of(proto, state))
}

/// Takes a conversation out of an endpoint's share; false if none is left.
#[inline(never)]
pub fn hold(endpoint: u32) -> bool {
    let limit = maps::CONFIG.get(0).map_or(0, |config| config.flow_share);
    let Some(share) = maps::SHARE.get_ptr_mut(endpoint) else { return false };
    // SAFETY: a slot of an array, which stays; the lock is its own, and nothing is called while it is held.
    unsafe {
        let lock = (&raw mut (*share).lock).cast();
        generated::bpf_spin_lock(lock);
        let held = (&raw const (*share).held).read_volatile();
        let fits = held < limit;
        (&raw mut (*share).held).write_volatile(held + u32::from(fits));
        generated::bpf_spin_unlock(lock);
        fits
    }
}

/// Gives a conversation back to an endpoint's share.
#[inline(never)]
pub fn release(endpoint: u32) -> bool {
    let Some(share) = maps::SHARE.get_ptr_mut(endpoint) else { return false };
    // SAFETY: as in `hold`.
    unsafe {
        let lock = (&raw mut (*share).lock).cast();
        generated::bpf_spin_lock(lock);
        let held = (&raw const (*share).held).read_volatile();
        // User space sets it to zero when it has taken an endpoint's conversations away.
        (&raw mut (*share).held).write_volatile(held - u32::from(held != 0));
        generated::bpf_spin_unlock(lock);
    }
    true
}

/// Seconds until a timer should look again.
#[inline(always)]
fn pause(left: u32) -> u64 {
    u64::from(if left < LOOK_SECONDS { left } else { LOOK_SECONDS }) * NANOSECONDS
}

macro_rules! timers {
    ($addr:ty, $flow:ident, $cone:ident, $watch:ident, $look:ident) => {
        /// Arms the timer in an opener's entry.
        #[inline(never)]
        pub fn $watch(key: &FlowKey<$addr>) -> i32 {
            let Some(flow) = maps::$flow.get_ptr_mut(key) else { return 0 };
            let callback: unsafe extern "C" fn(*mut c_void, *mut FlowKey<$addr>, *mut TimedFlow<$addr>) -> i64 = $look;
            // SAFETY: the slot stays allocated while the program runs, and the callback has the helper's signature.
            unsafe {
                let timer = (&raw mut (*flow).timer).cast();
                let map = (&raw const maps::$flow).cast_mut().cast();
                if generated::bpf_timer_init(timer, map, BOOT_TIME) == 0 {
                    generated::bpf_timer_set_callback(timer, callback as *mut c_void);
                    generated::bpf_timer_start(timer, pause(timeout(key.proto, (*flow).flow.state)), 0);
                }
            }
            0
        }

        /// Looks at a conversation: takes it away if it is over, or looks again when it may be.
        unsafe extern "C" fn $look(_map: *mut c_void, key: *mut FlowKey<$addr>, flow: *mut TimedFlow<$addr>) -> i64 {
            // SAFETY: the entry whose timer it is.
            let (opener, entry) = unsafe { (&*key, &(*flow).flow) };
            let idle = age(clock(), entry.seen);
            let left = timeout(opener.proto, entry.state).saturating_sub(idle);
            if entry.flags & flag::CONE != 0 {
                for key in [
                    ConeKey::new(opener.src, opener.sport, opener.zone),
                    ConeKey::new(entry.src, entry.sport, ZONE_OUTSIDE),
                ] {
                    if let Some(cone) = maps::$cone.get_ptr_mut(&key) {
                        // SAFETY: the slot stays allocated while the program runs.
                        unsafe { (&raw mut (*cone).seen).write_volatile(entry.seen) };
                    }
                }
            }
            let replaced = entry.publish != 0
                && maps::GENERATION.get(entry.publish).copied().unwrap_or_default() != entry.generation;
            if left != 0 && !replaced {
                // SAFETY: as above.
                unsafe { generated::bpf_timer_start((&raw mut (*flow).timer).cast(), pause(left), 0) };
                return 0;
            }
            let (mirror, owner) = (pair(opener, entry), entry.owner);
            let _ = maps::$flow.remove(&mirror);
            let opener = *opener;
            if maps::$flow.remove(&opener).is_ok() && owner != 0 {
                release(owner);
            }
            0
        }
    };
}

timers!(Addr4, FLOW4, CONE4, watch4, look4);
timers!(Addr6, FLOW6, CONE6, watch6, look6);
