//! Where packets are met and come out, and whose addresses they have: for [`super::promises`].

use std::net::IpAddr;

use super::world::{Interfaces, MEMBERS, Member, Version};

/// Where packets are met and come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// At the uplink's far end.
    Outside,
    /// On the host itself.
    Host,
    /// Behind the veth with this number.
    Container(u32),
}

impl Place {
    /// Whether from here to there is from a container of one network to one of another.
    pub fn crosses_to(self, out: Self) -> bool {
        let (Self::Container(from), Self::Container(to)) = (self, out) else { return false };
        member(from).network != member(to).network
    }
}

/// Who is behind a veth of [`Interfaces::ANY`]. Panics if nobody is.
pub fn member(veth: u32) -> Member {
    MEMBERS.into_iter().find(|member| Interfaces::ANY.veth(*member) == veth).expect("every veth is a member's")
}

/// An address's IP version.
pub const fn version(address: IpAddr) -> Version {
    if address.is_ipv4() { Version::Four } else { Version::Six }
}

/// Whether it is a container's address.
pub fn is_inside(address: IpAddr) -> bool {
    MEMBERS.iter().any(|member| member.address(version(address)) == address)
}
