//! The two ways whose packets are measured, and the packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portlane_common::reason::Hook;
use portlane_datapath::testing::{
    frame::{Body, Frame, Mac},
    world::{Interfaces, OUTSIDE_MAC, UPLINK_MAC, Version, WEB},
};

/// Client ports that a ring uses before it takes the next server port.
const SPREAD: u32 = 60_000;
/// The lowest of them.
const LOWEST: u32 = 1024;

/// Where packets come from, and so the program that meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From outside to a published port.
    Published,
    /// From a container to outside.
    Masquerade,
}

/// Addresses and ports of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub sport: u16,
    pub dport: u16,
}

impl Way {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Published, Self::Masquerade];

    /// As figures name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Masquerade => "masquerade",
        }
    }

    /// The program that meets the packets first.
    pub const fn hook(self) -> Hook {
        match self {
            Self::Published => Hook::FromUplink,
            Self::Masquerade => Hook::FromContainer,
        }
    }

    /// The interface at which they arrive.
    pub const fn interface(self, interfaces: &Interfaces) -> u32 {
        match self {
            Self::Published => interfaces.uplink,
            Self::Masquerade => interfaces.veth(WEB),
        }
    }

    /// A frame as it arrives.
    pub fn frame(self, Tuple { src, dst, sport, dport }: Tuple, flags: u8, ttl: u8) -> Frame {
        let macs = match self {
            Self::Published => (UPLINK_MAC, OUTSIDE_MAC),
            Self::Masquerade => (WEB.gateway(), UPLINK_MAC),
        };
        Frame {
            macs,
            src,
            dst,
            ttl,
            options: 0,
            divisible: false,
            body: Body::Tcp(sport, dport, flags),
            payload: vec![1],
        }
    }

    /// MAC addresses of what leaves: destination, source.
    pub const fn leaves_with(self) -> (Mac, Mac) {
        match self {
            Self::Published => (WEB.mac(), WEB.gateway()),
            Self::Masquerade => (OUTSIDE_MAC, UPLINK_MAC),
        }
    }

    /// The tuple with this number. Those of even and of odd numbers differ in addresses and ports, so that the way from
    /// one to the other is a translation of both.
    pub fn tuple(self, version: Version, number: u32) -> Tuple {
        let even = number.is_multiple_of(2);
        let sport = (LOWEST + number % SPREAD) as u16;
        match self {
            Self::Published => {
                let src = outside(version, number);
                if even {
                    Tuple { src, dst: version.host(), sport, dport: 8080 }
                } else {
                    Tuple { src, dst: WEB.address(version), sport, dport: 80 }
                }
            }
            Self::Masquerade => {
                let dst = if even { version.outside() } else { version.farther() };
                Tuple { src: WEB.address(version), dst, sport, dport: (LOWEST + number / SPREAD) as u16 }
            }
        }
    }
}

/// A machine outside, by number: IPv4 has 16 million, IPv6 all.
pub fn outside(version: Version, number: u32) -> IpAddr {
    let [high, a, b, c] = number.to_be_bytes();
    match version {
        Version::Four => Ipv4Addr::new(10, a, b, c).into(),
        Version::Six => {
            let (high, low) = (u16::from_be_bytes([high, a]), u16::from_be_bytes([b, c]));
            Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, high, low).into()
        }
    }
}
