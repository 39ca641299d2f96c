//! Fragments: the first of a datagram has the ports and leads the way, the others follow it.
//!
//! No fragment waits for another, unless it overtook the first: that one is kept, and put back on its interface when the
//! first comes. What the receiver reassembles is what was sent: a fragment that repeats or overlaps another is refused.

use portlane_common::{
    family::Address,
    flow::FlowKey,
    fragment::{Datagram, FRAGMENT_SECONDS, HELD_PER_DATAGRAM, HeldKey, SEEN_WORDS},
};

use crate::{
    header::Piece,
    packet::{Net, Tables},
    stage::parse::Parsed,
};

/// What a fragment is to its datagram: [`note`]'s answer, in its low byte.
pub mod part {
    /// Set beside [`FIRST`] and [`LATER`]: it was the one that was missing.
    pub const COMPLETE: u32 = 1 << 24;
    /// The first one. Above it lie, in sixteen bits, those that are kept.
    pub const FIRST: u32 = 0;
    /// A later one, whose datagram's tuple is known.
    pub const LATER: u32 = 1;
    /// One that came before the first. Above it lies the slot to keep it in.
    pub const EARLY: u32 = 2;
    /// One that repeats or overlaps another.
    pub const OVERLAP: u32 = 3;
    /// One that contradicts itself or another.
    pub const MALFORMED: u32 = 4;
    /// One for which there is no room.
    pub const NO_ROOM: u32 = 5;
}

/// A fragment, in a place that [`Tables::with_fragment`] lends: together its keys would not fit the stack.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Fragment<A> {
    /// Of its datagram, and the slot to keep it in.
    pub key: HeldKey<A>,
    /// The tuple of the datagram.
    pub tuple: FlowKey<A>,
    /// The fragment's headers, but for the addresses.
    pub parsed: Parsed<()>,
    /// First unit of eight bytes that it holds.
    pub start: u32,
    /// Units that it holds.
    pub units: u32,
    /// 1 if it is the last one.
    pub last: u32,
    /// Always zero.
    pub pad: u32,
}

impl<A: Address> Fragment<A> {
    /// Fills the place in for a fragment of `bytes` bytes of payload; false if it contradicts itself (RFC 8200 §4.5: all
    /// but the last hold whole units, and none reaches beyond 65,535 bytes).
    #[inline(always)]
    pub fn fill(&mut self, parsed: &Parsed<A>, zone: u32, piece: &Piece, bytes: u32) -> bool {
        let key = &mut self.key.datagram;
        key.src = parsed.src;
        key.dst = parsed.dst;
        key.id = piece.id;
        key.zone = zone;
        key.proto = u32::from(piece.proto);
        self.key.slot = 0;
        self.tuple.set([&parsed.src, &parsed.dst], [parsed.sport, parsed.dport], zone, piece.proto);
        self.parsed = parsed.rest();
        self.start = u32::from(piece.offset);
        self.units = bytes.div_ceil(8);
        self.last = u32::from(!piece.more);
        let whole = !piece.more || bytes.is_multiple_of(8);
        bytes != 0 && self.start * 8 + bytes <= 65_535 && whole
    }
}

/// Enters a fragment into its datagram's record: one of [`part`].
#[inline(never)]
pub fn note<F: Net, T: Tables<F>>(tables: &T, fragment: &Fragment<F::Addr>) -> u32 {
    let (now, key) = (tables.clock(), &fragment.key.datagram);
    if tables.datagram(key, |datagram| u32::from(now.wrapping_sub(datagram.since) >= FRAGMENT_SECONDS)) == 1 {
        tables.remove_datagram(key);
    }
    tables.begin_datagram(key);
    tables.datagram(key, |datagram| enter::<F, T>(tables, datagram, fragment, now))
}

#[inline(always)]
fn enter<F: Net, T: Tables<F>>(
    tables: &T,
    datagram: &mut Datagram<F::Addr>,
    fragment: &Fragment<F::Addr>,
    now: u32,
) -> u32 {
    let end = fragment.start + fragment.units;
    let beyond = datagram.total != 0 && (end > datagram.total || fragment.last != 0);
    if beyond || (fragment.last != 0 && datagram.received > end) {
        return if beyond && fragment.last != 0 { part::OVERLAP } else { part::MALFORMED };
    }
    if datagram.since == 0 {
        datagram.since = now.max(1);
    }
    // All words first: one that is refused leaves nothing behind.
    let (first, words) = (fragment.start / 64, fragment.units / 64 + 2);
    if tables.repeat(words, |nth| *seen(datagram, first + nth) & bits(fragment, first + nth) != 0) {
        return part::OVERLAP;
    }
    tables.repeat(words, |nth| {
        *seen(datagram, first + nth) |= bits(fragment, first + nth);
        false
    });
    datagram.received += fragment.units;
    if fragment.last != 0 {
        datagram.total = end;
    }
    let complete = if datagram.received == datagram.total { part::COMPLETE } else { 0 };
    if fragment.start == 0 {
        datagram.tuple = fragment.tuple;
        datagram.begun = 1;
        let held = datagram.held;
        datagram.held = 0;
        return part::FIRST | (held & 0xffff) << 8 | complete;
    }
    if datagram.begun != 0 {
        return part::LATER | complete;
    }
    let slot = datagram.held.trailing_ones();
    if slot >= HELD_PER_DATAGRAM {
        return part::NO_ROOM;
    }
    datagram.held |= 1 << slot;
    // Put back on its interface, it is to find its place free.
    tables.repeat(words, |nth| {
        *seen(datagram, first + nth) &= !bits(fragment, first + nth);
        false
    });
    datagram.received -= fragment.units;
    if fragment.last != 0 {
        datagram.total = 0;
    }
    part::EARLY | slot << 8
}

/// The bits of a fragment in a word.
#[inline(always)]
fn bits<A>(fragment: &Fragment<A>, word: u32) -> u64 {
    let (first, end) = (word * 64, word * 64 + 64);
    let (from, to) = (fragment.start.max(first), (fragment.start + fragment.units).min(end));
    if from >= to {
        return 0;
    }
    let below = |count: u32| if count >= 64 { u64::MAX } else { (1 << (count & 63)) - 1 };
    below(to - first) & !below(from - first)
}

/// A word of what is there of a datagram. A fragment that ends with the last has no bits in those that follow, which
/// are the first again.
#[inline(always)]
fn seen<A>(datagram: &mut Datagram<A>, word: u32) -> &mut u64 {
    &mut datagram.seen[word as usize & (SEEN_WORDS - 1)]
}
