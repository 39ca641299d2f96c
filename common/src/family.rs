//! The two address families. Code generic over [`Family`] serves both; nothing is written twice.

use core::{fmt, hash::Hash};

use bytemuck::Pod;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::V4 {}
    impl Sealed for super::V6 {}
}

/// What the packet core needs to know about an address family.
pub trait Family: sealed::Sealed + Copy + fmt::Debug + Eq + Hash + Ord + 'static {
    /// An address of the family.
    type Addr: Address;
    /// `AF_INET` or `AF_INET6`.
    const AF: u8;
    /// The Ethernet type of its packets.
    const ETHERTYPE: u16;
    /// Bytes of the fixed IP header (RFC 791, RFC 8200).
    const HEADER_LEN: usize;
    /// The protocol number of its ICMP.
    const ICMP: u8;
    /// ICMP type of an echo request (RFC 792, RFC 4443).
    const ECHO_REQUEST: u8;
    /// ICMP type of an echo reply.
    const ECHO_REPLY: u8;
    /// Whether its ICMP checksum covers a pseudo header (RFC 4443 §2.3: yes for ICMPv6).
    const ICMP_PSEUDO_HEADER: bool;
    /// The family's one of two addresses.
    fn pick<'a>(v4: &'a Addr4, v6: &'a Addr6) -> &'a Self::Addr;
}

/// An address of one family: octets in network order.
pub trait Address: Pod + Eq + Ord + Hash + fmt::Debug + Default {
    /// The address that matches any other in a publish entry.
    const ANY: Self;
    /// The one's-complement sum of the address's 16-bit words as they lie in memory.
    fn sum(&self) -> u32;
    /// Multicast, and for IPv4 the limited broadcast address.
    fn is_multicast(&self) -> bool;
    /// An address of the loopback network.
    fn is_loopback(&self) -> bool;
    /// Valid on one link only: 169.254.0.0/16, fe80::/10.
    fn is_link_local(&self) -> bool;
    /// Whether both begin alike, as addresses of one network mostly do: the first 16 bits, of IPv6's 64.
    fn is_akin(&self, other: &Self) -> bool;
}

/// IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct V4;

/// IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct V6;

/// An IPv4 address. Aligned to a word, so that the packet path moves it with one instruction.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::derived_hash_with_manual_eq, reason = "the same equality, by words instead of octets")]
pub struct Addr4 {
    /// In network order, as written: `[172, 17, 0, 2]`.
    pub octets: [u8; 4],
}

/// An IPv6 address. Aligned to a word, so that the packet path moves it with four instructions.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::derived_hash_with_manual_eq, reason = "the same equality, by words instead of octets")]
pub struct Addr6 {
    /// In network order.
    pub octets: [u8; 16],
}

impl PartialEq for Addr4 {
    /// By words: octet by octet costs a BPF program 16 stack slots.
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        bytemuck::cast::<_, u32>(*self) == bytemuck::cast::<_, u32>(*other)
    }
}

impl Family for V4 {
    type Addr = Addr4;
    const AF: u8 = 2;
    const ETHERTYPE: u16 = 0x0800;
    const HEADER_LEN: usize = 20;
    const ICMP: u8 = 1;
    const ECHO_REQUEST: u8 = 8;
    const ECHO_REPLY: u8 = 0;
    const ICMP_PSEUDO_HEADER: bool = false;

    #[inline(always)]
    fn pick<'a>(v4: &'a Addr4, _v6: &'a Addr6) -> &'a Addr4 {
        v4
    }
}

impl PartialEq for Addr6 {
    /// By words: octet by octet costs a BPF program 16 stack slots.
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        bytemuck::cast::<_, [u32; 4]>(*self) == bytemuck::cast::<_, [u32; 4]>(*other)
    }
}

impl Family for V6 {
    type Addr = Addr6;
    const AF: u8 = 10;
    const ETHERTYPE: u16 = 0x86dd;
    const HEADER_LEN: usize = 40;
    const ICMP: u8 = 58;
    const ECHO_REQUEST: u8 = 128;
    const ECHO_REPLY: u8 = 129;
    const ICMP_PSEUDO_HEADER: bool = true;

    #[inline(always)]
    fn pick<'a>(_v4: &'a Addr4, v6: &'a Addr6) -> &'a Addr6 {
        v6
    }
}

impl Address for Addr4 {
    const ANY: Self = Self { octets: [0; 4] };

    #[inline(always)]
    fn sum(&self) -> u32 {
        let word: u32 = bytemuck::cast(*self);
        (word & 0xffff) + (word >> 16)
    }

    #[inline(always)]
    fn is_multicast(&self) -> bool {
        self.octets[0] >= 224 && (self.octets[0] < 240 || self.octets == [255; 4])
    }

    #[inline(always)]
    fn is_loopback(&self) -> bool {
        self.octets[0] == 127
    }

    #[inline(always)]
    fn is_link_local(&self) -> bool {
        self.octets[0] == 169 && self.octets[1] == 254
    }

    #[inline(always)]
    fn is_akin(&self, other: &Self) -> bool {
        let [ours, theirs]: [[u16; 2]; 2] = bytemuck::cast([*self, *other]);
        ours[0] == theirs[0]
    }
}

impl Address for Addr6 {
    const ANY: Self = Self { octets: [0; 16] };

    #[inline(always)]
    fn sum(&self) -> u32 {
        let words: [u32; 4] = bytemuck::cast(*self);
        (words[0] & 0xffff)
            + (words[0] >> 16)
            + (words[1] & 0xffff)
            + (words[1] >> 16)
            + (words[2] & 0xffff)
            + (words[2] >> 16)
            + (words[3] & 0xffff)
            + (words[3] >> 16)
    }

    #[inline(always)]
    fn is_multicast(&self) -> bool {
        self.octets[0] == 0xff
    }

    #[inline(always)]
    fn is_loopback(&self) -> bool {
        let words: [u32; 4] = bytemuck::cast(*self);
        words[0] == 0 && words[1] == 0 && words[2] == 0 && words[3] == 1u32.to_be()
    }

    #[inline(always)]
    fn is_link_local(&self) -> bool {
        self.octets[0] == 0xfe && self.octets[1] & 0xc0 == 0x80
    }

    #[inline(always)]
    fn is_akin(&self, other: &Self) -> bool {
        let [ours, theirs]: [[u32; 4]; 2] = bytemuck::cast([*self, *other]);
        ours[0] == theirs[0] && ours[1] == theirs[1]
    }
}

impl From<[u8; 4]> for Addr4 {
    fn from(octets: [u8; 4]) -> Self {
        Self { octets }
    }
}

impl From<[u8; 16]> for Addr6 {
    fn from(octets: [u8; 16]) -> Self {
        Self { octets }
    }
}

impl From<core::net::Ipv4Addr> for Addr4 {
    fn from(address: core::net::Ipv4Addr) -> Self {
        Self { octets: address.octets() }
    }
}

impl From<core::net::Ipv6Addr> for Addr6 {
    fn from(address: core::net::Ipv6Addr) -> Self {
        Self { octets: address.octets() }
    }
}

impl From<Addr4> for core::net::IpAddr {
    fn from(address: Addr4) -> Self {
        Self::from(address.octets)
    }
}

impl From<Addr6> for core::net::IpAddr {
    fn from(address: Addr6) -> Self {
        Self::from(address.octets)
    }
}
