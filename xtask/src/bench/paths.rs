//! The ways that packets of containers take, and what is measured on each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A way from a client to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// From a container to another one on the same network.
    Container,
    /// From outside to a published port.
    Published,
    /// From a container to outside.
    Masquerade,
    /// From a process of the host to a published port, at the loopback address.
    Loopback,
    /// From a process of the host to the container's own address, which [`Self::Loopback`] is compared with.
    Direct,
    /// From a container to a published port at the host's address, and back to another container.
    Hairpin,
}

impl Path {
    pub const ALL: [Self; 6] =
        [Self::Container, Self::Published, Self::Masquerade, Self::Loopback, Self::Direct, Self::Hairpin];

    /// As it is called in figures.
    pub fn label(self) -> &'static str {
        match self {
            Self::Container => "container to container",
            Self::Published => "inbound published",
            Self::Masquerade => "masquerade",
            Self::Loopback => "host to 127.0.0.1",
            Self::Direct => "host to the container's address",
            Self::Hairpin => "hairpin",
        }
    }

    /// The path that one must name to have this one measured.
    pub fn section(self) -> Self {
        if self == Self::Direct { Self::Loopback } else { self }
    }
}

/// An IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// As it is called in figures.
    pub fn label(self) -> &'static str {
        self.pick("IPv4", "IPv6")
    }

    /// One of two.
    pub fn pick<T>(self, four: T, six: T) -> T {
        match self {
            Self::V4 => four,
            Self::V6 => six,
        }
    }

    pub fn loopback(self) -> IpAddr {
        self.pick(Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into())
    }
}
