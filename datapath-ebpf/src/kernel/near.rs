//! Rows of `pl_veth`, `pl_endpoint4` and `pl_endpoint6` that this CPU was asked for last, for what every packet of a container asks.
//!
//! A hash table is four calls away, an array none (from Linux 6.10 on for one per CPU): on a processor that guards its returns
//! that is half of what portlane takes for a packet between neighbours (docs/performance.md).
//!
//! A row counts while `pl_epoch` is what it was before the row was looked up. Who changes those tables clears its lowest bit first,
//! and nothing is kept or found while that is so; killed half-way, he leaves it like that.

use core::{hint::black_box, ptr};

use aya_ebpf::btf_maps::{HashMap, PerCpuArray};
use portlane_common::endpoint::EPOCH_SETTLED;

use super::maps;

/// Rows that each CPU keeps of each table.
pub const PLACES: usize = 256;

/// A row, its key, and when it was looked up.
#[repr(C)]
pub struct Near<K, V> {
    epoch: u32,
    key: K,
    row: V,
}

/// The row of a table under a key, kept by this CPU at the place of a number. It stays until the next one is asked for.
#[inline(always)]
pub fn find<'a, K: Copy + PartialEq, V: Copy, const N: usize>(
    near: &'a PerCpuArray<Near<K, V>, PLACES>,
    table: &'a HashMap<K, V, N>,
    number: u32,
    key: &K,
) -> Option<&'a V> {
    // An address's last byte is, as it lies in memory, the upper one of 16 bits.
    let place = near.get_ptr_mut((number ^ number >> 8) & (PLACES as u32 - 1))?;
    // SAFETY: a per-CPU slot, and the hooks of one CPU do not interrupt each other.
    let kept = unsafe { &mut *place };
    if kept.epoch == epoch() && kept.key == *key {
        return Some(&kept.row);
    }
    // The key waits where it is looked up from: on the stack of the program it would need room.
    kept.epoch = 0;
    kept.key = *key;
    learn(place, table)
}

/// The number under which rows are found; that of an empty place while somebody changes them.
#[inline(always)]
fn epoch() -> u32 {
    // SAFETY: a number of 32 bits, read at once.
    maps::EPOCH.get_ptr(0).map_or(0, |epoch| unsafe { epoch.read_volatile() })
}

/// Looks the row up whose key waits at a place, and keeps it.
#[inline(never)]
fn learn<'a, K: Copy, V: Copy, const N: usize>(place: *mut Near<K, V>, table: &'a HashMap<K, V, N>) -> Option<&'a V> {
    let epoch = epoch();
    // A processor that may read in another order than the program does not look where it does not know yet.
    let ahead = black_box(0) & epoch as usize;
    // SAFETY: the place's own key; otherwise as in `Maps::veth`.
    let row = unsafe { table.get(&*(&raw const (*place).key).byte_add(ahead)) }?;
    if epoch & EPOCH_SETTLED != 0 {
        // SAFETY: as in `find`; a table's row lies elsewhere.
        unsafe {
            ptr::copy_nonoverlapping(row, &raw mut (*place).row, 1);
            (*place).epoch = epoch;
        }
    }
    Some(row)
}
