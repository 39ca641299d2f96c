//! Which ports are published, by every peer alike.

use std::net::SocketAddr;

use crate::bench::{
    paths::Family,
    topology::{Place, container, served},
};

/// The port of the host at which the server in [`Place::A`] is called, TCP and UDP.
pub const PUBLISHED: u16 = 8080;
/// The first of the others, for which nobody asks.
const OTHERS: u16 = 10_000;

/// A published TCP port, in one family. The one that is called has UDP too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    pub host: u16,
    pub to: SocketAddr,
}

impl Port {
    /// The protocols in which it is published.
    pub fn protocols(self) -> &'static [&'static str] {
        if self.host == PUBLISHED { &["tcp", "udp"] } else { &["tcp"] }
    }
}

/// So many ports, in the order in which they were published. The one that is called is in the middle: where rules are gone
/// through one by one, that is what a port costs on average. The others are of that container too, or of one each.
pub fn ports(count: usize, family: Family, of_one: bool) -> Vec<Port> {
    (0..count)
        .map(|number| {
            // The host has the network's address 1, and `Place::B` 3.
            let number = u16::try_from(number).unwrap_or(u16::MAX);
            if usize::from(number) == count / 2 {
                return Port { host: PUBLISHED, to: served(Place::A.address(family)) };
            }
            let address = if of_one { Place::A.address(family) } else { container(4 + number, family) };
            Port { host: OTHERS + number, to: served(address) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_that_is_called_is_in_the_middle() {
        for family in Family::BOTH {
            let hosts = |count| ports(count, family, false).iter().map(|port| port.host).collect::<Vec<_>>();
            assert_eq!(hosts(1), [PUBLISHED]);
            assert_eq!(hosts(3), [10_000, PUBLISHED, 10_002]);
        }
    }

    #[test]
    fn the_others_are_of_a_container_each_or_of_the_one_that_is_called() {
        let addresses =
            |of_one| ports(3, Family::V4, of_one).iter().map(|port| port.to.to_string()).collect::<Vec<_>>();
        assert_eq!(addresses(false), ["172.17.0.4:80", "172.17.0.2:80", "172.17.0.6:80"]);
        assert_eq!(addresses(true), ["172.17.0.2:80"; 3]);
    }
}
