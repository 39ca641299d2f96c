//! A network's bridge: made, or set right.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage},
    link::{InfoBridge, InfoData, InfoKind, LinkFlags, LinkInfo, LinkMessage},
};
use rtnetlink::{AddressMessageBuilder, LinkBridge, LinkMessageBuilder, LinkUnspec};

use super::{Attempt, Fallback, Host, LinuxError, netlink::IfThere, observe, sysctl};
use crate::model::Bridge;

/// How often, and how long apart, a bridge is looked at until it is up.
const LOOKS: usize = 1000;
const LOOK: Duration = Duration::from_millis(2);

impl Host {
    /// Makes the bridge, or gives an existing one the MAC, MTU and addresses, and brings it up. Addresses that somebody
    /// else gave it stay.
    ///
    /// # Errors
    /// The kernel refuses, or there is another interface of that name.
    pub async fn create_bridge(&self, bridge: &Bridge) -> Result<(), LinuxError> {
        let attempt = || format!("set up {bridge}");
        let index = match self.link(&bridge.name).await.attempt(attempt)? {
            Some(link) => existing(&link, bridge)?,
            None => {
                let add = RouteNetlinkMessage::NewLink(new(bridge));
                self.send(add, IfThere::Refuse).await.attempt(attempt)?;
                let made = self.link(&bridge.name).await.attempt(attempt)?;
                made.map(|link| link.header.index).ok_or(nix::errno::Errno::ENODEV).attempt(attempt)?
            }
        };
        // First: below IPv6's least MTU, an interface has no IPv6 settings (RFC 8200 §5). And not as the bridge is made: it keeps
        // an MTU only if that was changed (`BR_MTU_SET_BY_USER`), and else has that of its ports, and 1500 without any.
        // And it does not listen for who wants which multicast: of what containers say of that (RFC 3810), the host hears all
        // and the bridge's ports nothing (the packet path, `guard`), so a bridge that went by it would reach nobody.
        let change = LinkMessageBuilder::<LinkBridge>::new(&bridge.name).mtu(bridge.mtu).mcast_snooping(false).build();
        self.send(RouteNetlinkMessage::NewLink(change), IfThere::Change).await.attempt(attempt)?;
        settings(bridge)?;
        let up = LinkUnspec::new_with_index(index).address(bridge.mac.to_vec()).up().build();
        let up = self.send(RouteNetlinkMessage::NewLink(up), IfThere::Change);
        let addr4 = address(index, bridge.addr4.0.into(), bridge.addr4.1);
        let addr4 = self.send(RouteNetlinkMessage::NewAddress(addr4), IfThere::Replace);
        let addr6 = bridge.addr6.map(|(addr6, length)| {
            self.send(RouteNetlinkMessage::NewAddress(address(index, addr6.into(), length)), IfThere::Replace)
        });
        up.await.attempt(attempt)?;
        addr4.await.attempt(attempt)?;
        match addr6 {
            Some(addr6) => addr6.await.attempt(attempt),
            None => Ok(()),
        }
    }
}

impl Host {
    /// Takes an address from a bridge, if it has it. Others of its subnet stay: without `promote_secondaries`, the kernel takes
    /// those with it that were added later.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn delete_address(&self, bridge: &str, own: IpAddr, length: u8) -> Result<(), LinuxError> {
        let attempt = || format!("delete {own}/{length} from bridge {bridge}");
        let Some(link) = self.link(bridge).await.attempt(attempt)? else { return Ok(()) };
        sysctl::set_if_present(&format!("net/ipv4/conf/{bridge}/promote_secondaries"), "1")?;
        let gone = RouteNetlinkMessage::DelAddress(address(link.header.index, own, length));
        match self.send(gone, IfThere::Change).await {
            Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => Ok(()),
            result => result.attempt(attempt),
        }
    }

    /// Waits until an interface carries packets. The kernel takes note of a bridge's first port, or of a cable's other end,
    /// in the background, and drops what is sent until then; usually that is over before it is looked at.
    ///
    /// # Errors
    /// The kernel refuses to show the interface. One that is still not up after two seconds is no error.
    pub async fn wait_until_running(&self, name: &str) -> Result<(), LinuxError> {
        for _ in 0..LOOKS {
            let found = self.link(name).await.attempt(|| format!("look at {name}"))?;
            if found.is_none_or(|link| link.header.flags.contains(LinkFlags::Running)) {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

fn new(bridge: &Bridge) -> LinkMessage {
    LinkMessageBuilder::<LinkBridge>::new(&bridge.name).address(bridge.mac.to_vec()).build()
}

fn existing(link: &LinkMessage, bridge: &Bridge) -> Result<u32, LinuxError> {
    match observe::kind(link) {
        Some(InfoKind::Bridge) => Ok(link.header.index),
        kind => Err(LinuxError::Unusable {
            attempt: format!("set up {bridge}"),
            problem: format!(
                "an interface of that name is there and is {}: rename it, or give the network another name",
                kind.map_or_else(|| "hardware".to_owned(), |kind| format!("a {kind}"))
            ),
        }),
    }
}

/// Whether it sends multicast only to those ports behind which somebody has asked for it.
pub(super) fn snoops(link: &LinkMessage) -> bool {
    observe::infos(link).any(|info| match info {
        LinkInfo::Data(InfoData::Bridge(bridge)) => bridge.contains(&InfoBridge::MulticastSnooping(true)),
        _ => false,
    })
}

/// The containers' router: it forwards, listens to no other router, and never waits to see whether somebody else has
/// its address.
fn settings(bridge: &Bridge) -> Result<(), LinuxError> {
    let name = &bridge.name;
    sysctl::set(&format!("net/ipv4/conf/{name}/forwarding"), "1")?;
    let conf = format!("net/ipv6/conf/{name}");
    if bridge.addr6.is_some() {
        sysctl::set(&format!("{conf}/disable_ipv6"), "0")?;
    }
    for (setting, value) in [("forwarding", "1"), ("accept_ra", "0"), ("accept_dad", "0")] {
        sysctl::set_if_present(&format!("{conf}/{setting}"), value)?;
    }
    // This interface alone. Before Linux 6.17 all forward or none: that is the administrator's to say, and without it nobody
    // tells a container that its hop limit ran out, or how large packets may be.
    if !Fallback::ForceForwarding.is_declared_missing() {
        sysctl::set_if_present(&format!("{conf}/{}", Fallback::ForceForwarding.name()), "1")?;
    }
    Ok(())
}

/// An address that is there at once: portlane gave it out, so nobody else has it (IFA_F_NODAD).
pub(super) fn address(index: u32, address: IpAddr, prefix_length: u8) -> AddressMessage {
    match address {
        IpAddr::V4(address) => {
            AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(address, prefix_length).build()
        }
        IpAddr::V6(address) => {
            let mut message =
                AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(address, prefix_length).build();
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Permanent));
            message
        }
    }
}
