//! A container's veth pair: made whole, or not at all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::future::try_join_all;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{InfoData, InfoKind, InfoVeth, LinkMessage},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::{RouteAttribute, RouteMessage, RouteMetric},
};
use nix::{errno::Errno, net::if_::if_nametoindex};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder, sys::Socket};
use std::os::fd::AsRawFd;

use super::{
    Attempt, Host, LinuxError,
    bridge::address,
    netlink::{self, IfThere},
    netns, observe,
    sysctl::{self, Folder},
};
use crate::model::{DefaultRoute, EndpointLink, Lead};

/// Index of `lo` in every network namespace (`LOOPBACK_IFINDEX` of the kernel).
const LOOPBACK: u32 = 1;

impl Host {
    /// Makes the interface with its addresses and routes, in a namespace that is there, on the bridge.
    ///
    /// Putting the host's end on the bridge is the last act: a veth that is on its bridge is complete and is left
    /// alone; one that is not is deleted and made anew. It stays down until [`Self::connect`].
    ///
    /// # Errors
    /// The bridge or the namespace is not there, there is another interface of that name, or the kernel refuses. A pair that
    /// could not be completed is deleted again.
    pub async fn create_endpoint(&self, link: &EndpointLink) -> Result<(), LinuxError> {
        let attempt = || format!("make {link}");
        let bridge = self.link(&link.bridge).await.attempt(attempt)?.ok_or(Errno::ENODEV);
        let bridge = bridge.attempt(|| format!("make {link}: bridge {}", link.bridge))?.header.index;
        if let Some(found) = self.link(&link.veth).await.attempt(attempt)? {
            if observe::kind(&found) != Some(InfoKind::Veth) {
                let problem = format!("an interface {} is there that is no veth: rename it", link.veth);
                return Err(LinuxError::Unusable { attempt: attempt(), problem });
            }
            if observe::master(&found) == Some(bridge) && netns::exists(&link.netns) {
                return Ok(());
            }
            self.delete_link(&link.veth).await?;
        }
        let result = self.create_pair(link, bridge).await;
        if result.is_err() {
            // Best effort; the error that is reported is the first one.
            drop(self.delete_link(&link.veth).await);
        }
        result
    }

    /// Sets the host's end of a veth pair up.
    ///
    /// # Errors
    /// There is no such interface, or the kernel refuses.
    pub async fn connect(&self, veth: &str) -> Result<(), LinuxError> {
        let up = RouteNetlinkMessage::NewLink(LinkUnspec::new_with_name(veth).up().build());
        self.send(up, IfThere::Change).await.attempt(|| format!("set {veth} up"))
    }

    /// Waits until the container's end carries packets: the kernel takes note in the background that the cable is plugged in,
    /// and drops what is sent until then.
    ///
    /// # Errors
    /// There is no such namespace, or the kernel refuses to show the interface.
    pub async fn wait_for_endpoint(&self, link: &EndpointLink) -> Result<(), LinuxError> {
        Self::open_within(&link.netns)?.wait_until_running(&link.interface).await
    }

    /// Where the host remembers another MAC for an address of the container, it has this one from now on.
    ///
    /// Nobody else need be told (ARP announcement, RFC 5227 §2.3; unsolicited neighbour advertisement, RFC 4861 §7.2.6): the
    /// programs deliver between containers by address, whatever MAC a frame is sent to. An announcement would have the
    /// bridge wake every container of the network.
    ///
    /// # Errors
    /// There is no such bridge, or the kernel refuses.
    pub async fn correct_neighbours(&self, link: &EndpointLink) -> Result<(), LinuxError> {
        let attempt = || format!("tell the host the MAC of {}", link.addr4.0);
        let bridge = if_nametoindex(link.bridge.as_str()).attempt(attempt)?;
        let addresses = [Some(IpAddr::V4(link.addr4.0)), link.addr6.map(|(addr6, _)| addr6.into())];
        for message in addresses.into_iter().flatten().map(|address| neighbour(bridge, address, link.mac)) {
            match self.send(RouteNetlinkMessage::NewNeighbour(message), IfThere::Overwrite).await {
                // It has not spoken to the address.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                result => result.attempt(attempt)?,
            }
        }
        Ok(())
    }

    /// Has the default routes of a container lead by other interfaces. What leads nowhere any more goes with its interface.
    ///
    /// # Errors
    /// There is no such namespace or interface, or the kernel refuses.
    pub async fn lead(&self, route: &DefaultRoute) -> Result<(), LinuxError> {
        let attempt = || format!("have {route}");
        let index = |name: &String| if_nametoindex(name.as_str()).attempt(attempt);
        let (messages, socket) = netns::within(&route.netns, || {
            let four = route.v4.as_ref().map(|lead| Ok(default_route4(index(&lead.interface)?, lead))).transpose()?;
            let six = route.v6.as_ref().map(|lead| Ok(default_route6(index(&lead.interface)?, lead))).transpose()?;
            Ok::<_, LinuxError>(([four, six], netlink::socket().attempt(attempt)?))
        })??;
        let inside = Self::over(socket);
        for message in messages.into_iter().flatten() {
            inside.send(RouteNetlinkMessage::NewRoute(message), IfThere::Replace).await.attempt(attempt)?;
        }
        Ok(())
    }

    /// Makes a namespace, unless it is there, in which `lo` is up and, as in Docker, `ping` works for any user without
    /// capabilities.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn create_netns(&self, netns: &str) -> Result<(), LinuxError> {
        netns::create(netns)?;
        let up = RouteNetlinkMessage::NewLink(LinkUnspec::new_with_index(LOOPBACK).up().build());
        let attempt = || format!("set lo up in {netns}");
        let socket = netns::within(netns, || {
            sysctl::set_if_present("net/ipv4/ping_group_range", "0 2147483647")?;
            netlink::socket().attempt(attempt)
        })??;
        Self::over(socket).send(up, IfThere::Change).await.attempt(attempt)
    }

    async fn create_pair(&self, link: &EndpointLink, bridge: u32) -> Result<(), LinuxError> {
        let attempt = || format!("make {link}");
        let netns = std::fs::File::open(netns::path(&link.netns)).attempt(attempt)?;
        let add = RouteNetlinkMessage::NewLink(pair(link, netns.as_raw_fd()));
        self.send(add, IfThere::Refuse).await.attempt(attempt)?;
        // Only tc programs see the host's end: it takes no part in IPv6, not even with a link-local address.
        Folder::own_net()?.set_if_present(&format!("ipv6/conf/{}/disable_ipv6", link.veth), "1")?;

        Self::set_up_inside(link).await?;

        let outside = LinkUnspec::new_with_name(&link.veth).controller(bridge).build();
        self.send(RouteNetlinkMessage::NewLink(outside), IfThere::Change).await.attempt(attempt)
    }

    /// Addresses and routes of the container's end, which is there.
    pub(super) async fn set_up_inside(link: &EndpointLink) -> Result<(), LinuxError> {
        let (eth0, socket) = netns::within(&link.netns, || prepare(link))??;
        let inside = Self::over(socket);
        let answers: Vec<_> =
            inner(link, eth0).into_iter().map(|(message, there)| inside.send(message, there)).collect();
        try_join_all(answers).await.attempt(|| format!("make {link}")).map(drop)
    }
}

/// Both ends in one request, the container's in its namespace from the start: no other name is ever taken on the host.
fn pair(link: &EndpointLink, netns: i32) -> LinkMessage {
    let peer = LinkMessageBuilder::<LinkUnspec>::new()
        .name(link.interface.clone())
        .address(link.mac.to_vec())
        .mtu(link.mtu)
        .setns_by_fd(netns)
        .build();
    LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(link.veth.clone())
        .mtu(link.mtu)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .build()
}

/// Runs in the namespace, while `eth0` is down. Returns its index, and a socket to speak of it.
fn prepare(link: &EndpointLink) -> Result<(u32, Socket), LinuxError> {
    // As in Docker: who has no IPv6 address on the network has no link-local one there either.
    let inside = &link.interface;
    let disable = if link.addr6.is_some() { "0" } else { "1" };
    let conf = [
        ("disable_ipv6", disable),
        ("accept_ra", "0"),
        // portlane gave the addresses out: none need be tried first.
        ("accept_dad", "0"),
        // EUI-64, so that the link-local address follows from the MAC.
        ("addr_gen_mode", "0"),
    ];
    sysctl::set_those_present(&format!("net/ipv6/conf/{inside}"), &conf)?;
    let attempt = || format!("find {inside} in {}", link.netns);
    Ok((if_nametoindex(inside.as_str()).attempt(attempt)?, netlink::socket().attempt(attempt)?))
}

/// What is asked of the container's namespace, in order: routes need their interface up and their gateway on it.
fn inner(link: &EndpointLink, eth0: u32) -> Vec<(RouteNetlinkMessage, IfThere)> {
    let up = |index| (RouteNetlinkMessage::NewLink(LinkUnspec::new_with_index(index).up().build()), IfThere::Change);
    let addr = |addr: IpAddr, length| (RouteNetlinkMessage::NewAddress(address(eth0, addr, length)), IfThere::Replace);
    let route = |message: RouteMessage| (RouteNetlinkMessage::NewRoute(message), IfThere::Replace);
    let mut requests = vec![up(LOOPBACK), addr(link.addr4.0.into(), link.addr4.1)];
    requests.extend(link.addr6.map(|(addr6, length)| addr(addr6.into(), length)));
    requests.push(up(eth0));
    requests.extend(link.lead4().map(|lead| route(default_route4(eth0, &lead))));
    requests.extend(link.lead6().map(|lead| route(default_route6(eth0, &lead))));
    requests
}

fn default_route4(interface: u32, lead: &Lead<Ipv4Addr>) -> RouteMessage {
    held(RouteMessageBuilder::<Ipv4Addr>::new().output_interface(interface).gateway(lead.router).build(), lead.mtu)
}

fn default_route6(interface: u32, lead: &Lead<Ipv6Addr>) -> RouteMessage {
    held(RouteMessageBuilder::<Ipv6Addr>::new().output_interface(interface).gateway(lead.router).build(), lead.mtu)
}

/// The route, with the largest IP packet that it takes (ip-route(8), `mtu`).
fn held(mut route: RouteMessage, mtu: Option<u32>) -> RouteMessage {
    route.attributes.extend(mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])));
    route
}

/// What was true of the address once and is to be asked for again when it matters (`NUD_STALE`).
fn neighbour(interface: u32, address: IpAddr, mac: [u8; 6]) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    let (family, destination) = match address {
        IpAddr::V4(address) => (AddressFamily::Inet, NeighbourAddress::Inet(address)),
        IpAddr::V6(address) => (AddressFamily::Inet6, NeighbourAddress::Inet6(address)),
    };
    message.header.family = family;
    message.header.ifindex = interface;
    message.header.state = NeighbourState::Stale;
    message.attributes =
        vec![NeighbourAttribute::Destination(destination), NeighbourAttribute::LinkLayerAddress(mac.to_vec())];
    message
}
