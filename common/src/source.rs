//! Who may use a published port: `pl_source4` and `pl_source6`, one entry for a prefix. Only publish entries that say
//! so ([`crate::publish::flag::SOURCES`]) have any, and are asked for when a flow is opened.

/// Bits of a prefix that are the publish entry's number.
const NUMBER_BITS: u32 = 32;

/// Whom a publish entry is asked about. All of it counts as one string of bits, so the number comes in network order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sender<A> {
    /// Number of the publish entry, the highest octet first.
    pub publish: [u8; 4],
    /// The sender's address, or the beginning of a prefix.
    pub addr: A,
}

/// A prefix of a [`Sender`]. The longest that matches is found (`BPF_MAP_TYPE_LPM_TRIE`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceKey<A> {
    /// Bits that count: 32 of the number, and the prefix's length.
    pub bits: u32,
    /// What must be the same in them.
    pub sender: Sender<A>,
}

/// What is said of a prefix.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Always 1.
    pub admits: u32,
}

impl Source {
    /// The senders may use the port.
    pub const ADMITTED: Self = Self { admits: 1 };
}

impl<A> SourceKey<A> {
    /// The key of a prefix, whose further bits are zero.
    pub const fn new(publish: u32, addr: A, length: u8) -> Self {
        Self { bits: NUMBER_BITS + length as u32, sender: Sender { publish: publish.to_be_bytes(), addr } }
    }

    /// The key that an address is looked up with.
    #[inline(always)]
    pub const fn whole(publish: u32, addr: A) -> Self {
        Self::new(publish, addr, 8 * size_of::<A>() as u8)
    }

    /// Number of the publish entry.
    pub const fn publish(&self) -> u32 {
        u32::from_be_bytes(self.sender.publish)
    }

    /// Length of the prefix.
    pub const fn length(&self) -> u32 {
        self.bits.saturating_sub(NUMBER_BITS)
    }
}
