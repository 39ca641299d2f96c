//! IP versions, the addresses that machines have in each, and checks for every one.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use anyhow::{Context, Result};

/// An IP version, and the addresses that machines have in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The host's address on its uplink.
    pub fn host(self) -> IpAddr {
        self.pick(Ipv4Addr::new(192, 0, 2, 1), Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1))
    }

    /// The address of the machine outside.
    pub fn outside(self) -> IpAddr {
        self.pick(Ipv4Addr::new(192, 0, 2, 2), Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2))
    }

    /// The host's address on its second uplink, if [`Topology::second_uplink`] made one.
    pub fn second_host(self) -> IpAddr {
        self.pick(Ipv4Addr::new(198, 51, 100, 1), Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1))
    }

    /// The address of the machine outside on the second uplink.
    pub fn second_outside(self) -> IpAddr {
        self.pick(Ipv4Addr::new(198, 51, 100, 2), Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2))
    }

    /// Loopback.
    pub fn loopback(self) -> IpAddr {
        self.pick(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)
    }

    /// No address in particular.
    pub fn any(self) -> IpAddr {
        self.pick(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED)
    }

    /// One of two.
    pub fn pick(self, four: Ipv4Addr, six: Ipv6Addr) -> IpAddr {
        match self {
            Self::V4 => four.into(),
            Self::V6 => six.into(),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::V4 { "over IPv4" } else { "over IPv6" })
    }
}

/// Both transport protocols, as `peer` and `-p` spell them.
pub const PROTOS: [&str; 2] = ["tcp", "udp"];

/// Address and port.
pub fn at(address: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}

/// Runs the check for TCP and UDP over IPv4 and IPv6; an error says which it was.
///
/// # Errors
/// The check's.
pub fn each(mut check: impl FnMut(Family, &'static str) -> Result<()>) -> Result<()> {
    for family in Family::BOTH {
        for proto in PROTOS {
            check(family, proto).with_context(|| format!("{proto} {family}"))?;
        }
    }
    Ok(())
}

/// Runs the check over IPv4 and IPv6; an error says which it was.
///
/// # Errors
/// The check's.
pub fn both(mut check: impl FnMut(Family) -> Result<()>) -> Result<()> {
    Family::BOTH.into_iter().try_for_each(|family| check(family).with_context(|| family.to_string()))
}
