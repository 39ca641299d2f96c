//! A second cable between host and outside, whose packets have no Ethernet headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::{Family, Topology, ip, tools::Program};

impl Family {
    /// The host's address on the VPN.
    pub fn vpn_host(self) -> IpAddr {
        self.pick(Ipv4Addr::new(10, 8, 0, 1), Ipv6Addr::new(0xfd08, 0, 0, 0, 0, 0, 0, 1))
    }

    /// The address of the machine outside on the VPN.
    pub fn vpn_outside(self) -> IpAddr {
        self.pick(Ipv4Addr::new(10, 8, 0, 2), Ipv6Addr::new(0xfd08, 0, 0, 0, 0, 0, 0, 2))
    }
}

impl Topology {
    /// Connects host and outside by tun interfaces, as long as the program returned lives.
    ///
    /// # Errors
    /// There is no tun, or iproute2 fails.
    pub fn vpn(&self) -> Result<Program> {
        let program = self.host().start_script("tun.py", &[&self.outside_netns()])?;
        let ends = [
            (self.host_netns(), Family::vpn_host as fn(Family) -> IpAddr),
            (self.outside_netns(), Family::vpn_outside),
        ];
        for (netns, address) in &ends {
            ip(&format!("-n {netns} addr add {}/24 dev tun0", address(Family::V4)))?;
            ip(&format!("-n {netns} addr add {}/64 dev tun0 nodad", address(Family::V6)))?;
            ip(&format!("-n {netns} link set tun0 up"))?;
        }
        Ok(program)
    }
}
