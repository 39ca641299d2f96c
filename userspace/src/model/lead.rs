//! Where containers' default routes lead.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

/// Where a container's default route leads, in each family; nowhere if none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultRoute {
    /// Name under `/run/netns`, or path.
    pub netns: String,
    /// IPv4's.
    pub v4: Option<Lead<Ipv4Addr>>,
    /// IPv6's.
    pub v6: Option<Lead<Ipv6Addr>>,
}

/// Where one family's default route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lead<A> {
    /// The router.
    pub router: A,
    /// The interface inside.
    pub interface: String,
    /// Bytes of the largest IP packet that leaves, if the interface carries larger ones.
    pub mtu: Option<u32>,
}

impl DefaultRoute {
    /// Whether it holds packets at less than their interface carries.
    pub fn is_held(&self) -> bool {
        self.mtus() != [None; 2]
    }

    /// What it holds packets at, IPv4's and IPv6's.
    pub fn mtus(&self) -> [Option<u32>; 2] {
        [self.v4.as_ref().and_then(|lead| lead.mtu), self.v6.as_ref().and_then(|lead| lead.mtu)]
    }
}

impl<A: fmt::Display> fmt::Display for Lead<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " {} by {}", self.router, self.interface)?;
        self.mtu.map_or(Ok(()), |mtu| write!(f, " (MTU {mtu})"))
    }
}

impl fmt::Display for DefaultRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the default route of {} lead to", self.netns)?;
        let (four, six) = (self.v4.as_ref().map(Lead::to_string), self.v6.as_ref().map(Lead::to_string));
        match (four, six) {
            (None, None) => f.write_str(" nothing"),
            (four, six) => f.write_str(&[four, six].into_iter().flatten().collect::<Vec<_>>().join(" and")),
        }
    }
}
