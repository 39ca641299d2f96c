//! Published ports: `pl_publish4` and `pl_publish6`, one entry for a port or a whole range of them.

use crate::span::Span;

/// [`PublishKey::proto`] of the way back of UDP: the key has a container's address and ports, the entry those of the
/// host that its answers come from. No IP protocol has the number.
pub const UDP_BACK: u8 = 17 | 0x80;

/// [`Publish::flags`].
pub mod flag {
    /// Only the prefixes of [`crate::source`] may use it, and of another family nobody.
    pub const SOURCES: u16 = 1;
    /// On this address the port stays the host's own, though it is published on every address: the entry leads nowhere.
    pub const HOST: u16 = 2;
}

/// Where a published port, or range, is filed. See [`crate::span`] for `class` and `block`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublishKey<A> {
    /// Host address; zero for every address of the host.
    pub addr: A,
    /// IP protocol number: 6, 17 or 132; or [`UDP_BACK`].
    pub proto: u8,
    /// Class of the range: its size is at least `2^class` and below `2^(class+1)`.
    pub class: u8,
    /// First multiple of `2^class` in the range, divided by `2^class`.
    pub block: u16,
}

impl<A> PublishKey<A> {
    /// The key of a range.
    pub const fn new(addr: A, proto: u8, span: Span) -> Self {
        Self { addr, proto, class: span.class(), block: span.block() }
    }
}

/// A published port, or range; or the way back from one, in which host and container change places.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Publish<A> {
    /// The container's address.
    pub addr: A,
    /// First host port.
    pub first: u16,
    /// Last host port.
    pub last: u16,
    /// Container port that the first host port leads to; the following ones follow.
    pub target: u16,
    /// [`flag`] bits.
    pub flags: u16,
    /// Number of the publish entry, index of its counters and its generation; 0 only where it leads nowhere.
    pub id: u32,
    /// Grows with each change of the entry: flows of an older generation are over.
    pub generation: u32,
}

impl<A> Publish<A> {
    /// The container port behind a host port of the range.
    #[inline(always)]
    pub const fn container_port(&self, host_port: u16) -> u16 {
        self.target.wrapping_add(host_port.wrapping_sub(self.first))
    }

    /// The host port in front of a container port, the inverse of [`Self::container_port`].
    #[inline(always)]
    pub const fn span(&self) -> Span {
        Span { first: self.first, last: self.last }
    }
}
