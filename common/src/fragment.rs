//! Fragments: what is known of a datagram that arrives in pieces, and pieces that came before the first.
//!
//! Only the first fragment has ports. It leads the way, and the others follow it by their identification; those that
//! overtake it are kept until it comes. Memory is bounded: [`MAX_DATAGRAMS`] and [`MAX_HELD`] per family, and the longest
//! unused makes room.

use crate::flow::FlowKey;

/// Datagrams in pieces that are remembered, per family.
pub const MAX_DATAGRAMS: u32 = 1024;
/// Fragments that are kept until the first of their datagram comes, per family.
pub const MAX_HELD: u32 = 512;
/// Fragments that are kept of one datagram.
pub const HELD_PER_DATAGRAM: u32 = 16;
/// Bytes of the largest frame that is kept.
pub const HELD_BYTES: usize = 2048;
/// Seconds after the first of its fragments to come that a datagram is given up (Linux's `ipfrag_time`).
pub const FRAGMENT_SECONDS: u32 = 30;
/// Words of [`Datagram::seen`]: a bit for eight bytes of a datagram of 65,536.
pub const SEEN_WORDS: usize = 128;

/// What all fragments of a datagram have in common (RFC 791 §3.2, RFC 8200 §4.5), and where they were seen.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatagramKey<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Identification.
    pub id: u32,
    /// As in [`FlowKey::zone`].
    pub zone: u32,
    /// IP protocol number.
    pub proto: u32,
}

/// A datagram in pieces (`pl_datagram4`, `pl_datagram6`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<A> {
    /// The tuple that the first fragment told.
    pub tuple: FlowKey<A>,
    /// 1 once the first fragment was there.
    pub begun: u32,
    /// Seconds since boot at which it was first heard of; 0 for an entry that is not in use yet.
    pub since: u32,
    /// Bit `k`: its fragment in slot `k` is kept.
    pub held: u32,
    /// Units of eight bytes that have come.
    pub received: u32,
    /// Units of the whole; 0 until the last fragment told.
    pub total: u32,
    /// Always zero.
    pub pad: u32,
    /// A bit for each unit that has come.
    pub seen: [u64; SEEN_WORDS],
}

impl<A: Default> Default for Datagram<A> {
    fn default() -> Self {
        let tuple = FlowKey::default();
        Self { tuple, begun: 0, since: 0, held: 0, received: 0, total: 0, pad: 0, seen: [0; SEEN_WORDS] }
    }
}

/// Which of a datagram's fragments is kept where.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HeldKey<A> {
    /// The datagram.
    pub datagram: DatagramKey<A>,
    /// Its slot.
    pub slot: u32,
}

/// A fragment that is kept (`pl_held4`, `pl_held6`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Bytes of the frame.
    pub length: u32,
    /// Always zero.
    pub pad: u32,
    /// The frame, from the Ethernet header on.
    pub bytes: [u8; HELD_BYTES],
}
