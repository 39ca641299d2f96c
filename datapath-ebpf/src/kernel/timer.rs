//! Time: what clocks say, and the alarm by which conversations that are over are taken away (`bpf_timer`, Linux 5.15).
//!
//! It runs on the clock that counts suspension, so that a host that wakes up forgets what is over before it hears of
//! anything else. A conversation needs no process, and no packet, to come to its end. One alarm serves a whole table: one in
//! each entry would be had for the asking only before Linux 6.18, which allocates them without waiting and often fails to.

use core::ffi::c_void;

use aya_ebpf::helpers::generated;
use portlane_common::{
    cone::ConeKey,
    family::{Family, V4, V6},
    flow::{Flow, FlowKey, RESET_SECONDS, SWEEP_SECONDS, Sweep, ZONE_OUTSIDE, age, flag, state::is_closed},
};

use super::{maps, tables::Maps};
use crate::{
    packet::table,
    stage::{
        flow::{forget, in_time, is_current},
        transfer::retire,
    },
};

/// `CLOCK_BOOTTIME`.
const BOOT_TIME: u64 = 7;
const NANOSECONDS: u64 = 1_000_000_000;
/// Between two sweeps.
const PERIOD: u64 = SWEEP_SECONDS as u64 * NANOSECONDS;

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

/// Takes a conversation out of an endpoint's share; false if none is left. Nobody, endpoint 0, has no limit.
#[inline(never)]
pub fn hold(endpoint: u32) -> bool {
    if endpoint == 0 {
        return true;
    }
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
    if endpoint == 0 {
        return true;
    }
    let Some(share) = maps::SHARE.get_ptr_mut(endpoint) else { return false };
    // SAFETY: as in `hold`.
    unsafe {
        let lock = (&raw mut (*share).lock).cast();
        generated::bpf_spin_lock(lock);
        let held = (&raw const (*share).held).read_volatile();
        (&raw mut (*share).held).write_volatile(held - u32::from(held != 0));
        generated::bpf_spin_unlock(lock);
    }
    true
}

macro_rules! sweepers {
    ($family:ty, $flow:ident, $cone:ident, $place:literal, $watch:ident, $sweep:ident, $look:ident) => {
        /// Sets the alarm, if this load of the programs has not yet.
        #[inline(never)]
        pub fn $watch() -> i32 {
            let Some(slot) = maps::SWEEP.get_ptr_mut($place) else { return 0 };
            let load = maps::PORT_SECRET.load() | 1;
            // SAFETY: a slot of an array, which stays; another CPU may do the same, to the same effect.
            unsafe {
                if (&raw const (*slot).set_by).read_volatile() == load {
                    return 0;
                }
                let timer = (&raw mut (*slot).timer).cast();
                let map = (&raw const maps::SWEEP).cast_mut().cast();
                // Another load's alarm is there already, and serves as well.
                generated::bpf_timer_init(timer, map, BOOT_TIME);
                let callback: unsafe extern "C" fn(*mut c_void, *mut u32, *mut Sweep) -> i64 = $sweep;
                if generated::bpf_timer_set_callback(timer, callback as *mut c_void) == 0
                    && generated::bpf_timer_start(timer, PERIOD, 0) == 0
                {
                    (&raw mut (*slot).set_by).write_volatile(load);
                }
            }
            0
        }

        /// The alarm: looks at every entry, and sets itself again.
        unsafe extern "C" fn $sweep(_map: *mut c_void, _place: *mut u32, slot: *mut Sweep) -> i64 {
            let callback: unsafe extern "C" fn(
                *mut c_void,
                *mut FlowKey<<$family as Family>::Addr>,
                *mut Flow<<$family as Family>::Addr>,
                *mut c_void,
            ) -> i64 = $look;
            // SAFETY: the callback has the helper's signature; the slot is the one whose alarm it is.
            unsafe {
                let map = (&raw const maps::$flow).cast_mut().cast();
                generated::bpf_for_each_map_elem(map, callback as *mut c_void, core::ptr::null_mut(), 0);
                generated::bpf_timer_start((&raw mut (*slot).timer).cast(), PERIOD, 0);
            }
            0
        }

        /// Looks at an entry: takes an opener's away, with its mirror, if the conversation's time is over, and moves it to
        /// where the longest unused makes room if it was closed.
        unsafe extern "C" fn $look(
            _map: *mut c_void,
            key: *mut FlowKey<<$family as Family>::Addr>,
            flow: *mut Flow<<$family as Family>::Addr>,
            _context: *mut c_void,
        ) -> i64 {
            // SAFETY: an entry, which stays allocated while it is looked at.
            let (opener, entry) = unsafe { (&*key, &*flow) };
            if entry.flags & flag::REPLY != 0 {
                return 0;
            }
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
            let tables = Maps { context: core::ptr::null_mut() };
            // The entry's own key goes with it.
            let key = *opener;
            if !is_current::<$family, _>(&tables, entry)
                || !in_time::<$family, _>(&tables, opener.proto, entry.state, entry.seen)
            {
                forget::<$family, _>(&tables, &key, table::MAIN);
            } else if entry.owner != 0 && is_closed(entry.state) && age(clock(), entry.seen) >= RESET_SECONDS {
                retire::<$family, _>(&tables, &key);
            }
            0
        }
    };
}

sweepers!(V4, FLOW4, CONE4, 0, watch4, sweep4, look4);
sweepers!(V6, FLOW6, CONE6, 1, watch6, sweep6, look6);
