//! A machine behind the machine outside, which is the router to it.
//!
//! ```text
//!   far 203.0.113.2 ──── far0 203.0.113.1  outside 192.0.2.2 ──── up0 192.0.2.1  the host
//!       2001:db8:3::2         2001:db8:3::1     2001:db8:1::2     2001:db8:1::1
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::{Family, Place, Topology, ip, netns_entry};

/// The machine behind. Dropped, it is taken away.
#[derive(Debug)]
pub struct Far<'t> {
    topology: &'t Topology,
    netns: String,
}

impl Family {
    /// The address of the machine behind the machine outside; nobody's, unless [`Topology::far`] puts one there.
    pub fn far(self) -> IpAddr {
        self.pick(Ipv4Addr::new(203, 0, 113, 2), Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, 2))
    }

    /// The router's on the cable to that machine.
    fn near_far(self) -> IpAddr {
        self.pick(Ipv4Addr::new(203, 0, 113, 1), Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, 1))
    }

    /// Bytes of an IP header and that of UDP or an echo.
    pub fn headers(self) -> usize {
        if self == Self::V4 { 20 + 8 } else { 40 + 8 }
    }
}

impl Topology {
    /// Puts a machine behind the machine outside, with a cable for packets of so many bytes. It claims that it takes
    /// packets as large as everybody's, as a server does that doesn't know what is on the way: only the router's word
    /// tells how large they may be.
    ///
    /// # Errors
    /// iproute2 fails.
    pub fn far(&self, mtu: u16) -> Result<Far<'_>> {
        let netns = format!("{}-far", self.name);
        ip(&format!("netns add {netns}"))?;
        let far = Far { topology: self, netns };
        let (place, router) = (far.place(), self.outside());
        let settings = "cd /proc/sys/net; echo 1 > ipv4/ip_forward; echo 1 > ipv6/conf/all/forwarding; \
                        echo 0 > ipv6/conf/default/accept_dad; \
                        echo 0 > ipv4/icmp_ratelimit; echo 0 > ipv6/icmp/ratelimit";
        for machine in [&place, &router] {
            machine.run(&["sh", "-c", settings])?;
        }
        ip(&format!("-n {} link set lo up", far.netns))?;
        self.connect(
            [(&router, &self.outside_netns()), (&place, &far.netns)],
            ["far0", "eth0"],
            [Family::near_far, Family::far],
        )?;
        ip(&format!("-n {} link set far0 mtu {mtu}", self.outside_netns()))?;
        ip(&format!("-n {} link set eth0 mtu {mtu}", far.netns))?;
        self.route_to_far()?;
        for (family, segment) in [(Family::V4, 1460), (Family::V6, 1440)] {
            ip(&format!("-n {} route add default via {} advmss {segment}", far.netns, family.near_far()))?;
        }
        Ok(far)
    }

    /// Tells the host that the machine outside is the router to [`Family::far`].
    ///
    /// # Errors
    /// iproute2 fails.
    pub fn route_to_far(&self) -> Result<()> {
        for (family, net) in [(Family::V4, "203.0.113.0/24"), (Family::V6, "2001:db8:3::/64")] {
            ip(&format!("-n {} route add {net} via {}", self.host_netns(), family.outside()))?;
        }
        Ok(())
    }
}

impl<'t> Far<'t> {
    /// There.
    pub fn place(&self) -> Place<'t> {
        Place::new(self.topology, "far", netns_entry(&self.netns))
    }
}

impl Drop for Far<'_> {
    fn drop(&mut self) {
        // After a failed test it may not be there.
        drop(ip(&format!("netns del {}", self.netns)));
    }
}
