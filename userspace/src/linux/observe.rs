//! What is on the host: interfaces, addresses and routes, in the model's words.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    ffi::{OsStr, OsString},
    fs, io,
    net::IpAddr,
    os::{fd::AsFd as _, unix::net::UnixDatagram},
};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily,
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp},
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType},
};

use portlane_common::span::Span;

use super::{Attempt, Host, LinuxError, addresses::Address, bridge, netlink::Which, netns, sockets, syscall, tuning};
use crate::model::{HostFacts, ObservedBridge, ObservedLinks, Owned, Trains, UplinkFact, state::DEFAULT_MTU};

/// Interfaces whose addresses are asked for one by one: to list them all, the kernel looks at each of hundreds of veths, too.
const FEW: usize = 8;

/// Interfaces, addresses and named namespaces at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    interfaces: BTreeMap<u32, Interface>,
    addresses: Vec<Address>,
    reserved: Vec<Span>,
    netns: BTreeSet<String>,
}

#[derive(Debug)]
struct Interface {
    name: String,
    flags: LinkFlags,
    kind: Option<InfoKind>,
    /// Of a bridge, and its kind not known.
    port: bool,
    ethernet: bool,
    master: Option<u32>,
    mtu: u32,
    mac: [u8; 6],
    /// Of a bridge: multicast goes to all ports.
    floods: bool,
    /// The longest that it carries, and that the kernel knows of.
    trains: [Trains; 2],
}

/// Interfaces by name, those on bridges quickly, in the host's network namespace.
#[derive(Debug)]
pub struct Named {
    on_bridges: HashSet<OsString>,
    asker: UnixDatagram,
}

impl Named {
    /// Those on the bridges, as far as there are such bridges.
    ///
    /// # Errors
    /// The kernel gives no socket.
    pub fn list(bridges: &[String]) -> Result<Self, LinuxError> {
        // Where sysfs shows another namespace's interfaces, no name of portlane's veths is among them.
        let ports = bridges.iter().filter_map(|bridge| fs::read_dir(format!("/sys/class/net/{bridge}/brif")).ok());
        let on_bridges = ports.flatten().flatten().map(|port| port.file_name()).collect();
        Ok(Self { on_bridges, asker: UnixDatagram::unbound().attempt(|| "open a socket".to_owned())? })
    }

    /// Whether there is an interface of this name: on a bridge, or elsewhere, at the price of one short system call.
    pub fn has(&self, name: &str) -> bool {
        self.on_bridges.contains(OsStr::new(name)) || syscall::is_interface(self.asker.as_fd(), name)
    }
}

impl Host {
    /// Uplinks, addresses and interface indices. What is named in `owned` is no uplink.
    ///
    /// # Errors
    /// The kernel refuses to list them.
    pub async fn facts(&self, owned: &Owned) -> Result<HostFacts, LinuxError> {
        Ok(self.snapshot().await?.facts(owned))
    }

    /// All that there is.
    ///
    /// # Errors
    /// The kernel refuses to list it.
    pub async fn look(&self, owned: &Owned) -> Result<Snapshot, LinuxError> {
        let mut netns = netns::list()?;
        netns.extend(owned.foreign.iter().filter(|netns| netns::exists(netns)).cloned());
        Ok(Snapshot { netns, ..self.snapshot().await? })
    }

    /// Uplinks and bridges, and of what is on bridges and in namespaces only what is named in `owned`.
    ///
    /// # Errors
    /// As there.
    pub async fn look_at(&self, owned: &Owned) -> Result<Snapshot, LinuxError> {
        let mut snapshot = self.snapshot_of(false).await?;
        let veths: Vec<&str> = owned.veths.keys().map(String::as_str).collect();
        let netns: Vec<&str> = owned.netns.iter().chain(&owned.foreign).map(String::as_str).collect();
        self.look_again(&mut snapshot, &veths, &netns).await?;
        Ok(snapshot)
    }

    /// Has the snapshot know of interfaces and named namespaces that were made since, and have no address yet.
    ///
    /// # Errors
    /// The kernel refuses to show an interface.
    pub async fn look_again(&self, seen: &mut Snapshot, veths: &[&str], netns: &[&str]) -> Result<(), LinuxError> {
        for name in veths {
            seen.interfaces.retain(|_, interface| interface.name != *name);
            if let Some(link) = self.link(name).await.attempt(|| format!("look at {name}"))? {
                seen.interfaces.insert(link.header.index, Interface::of(&link));
            }
        }
        seen.netns.extend(netns.iter().filter(|name| netns::exists(name)).map(|name| (*name).to_owned()));
        Ok(())
    }

    /// XDP programs: number by the interface's index.
    ///
    /// # Errors
    /// The kernel refuses to list interfaces.
    pub async fn xdp_programs(&self) -> Result<BTreeMap<u32, u32>, LinuxError> {
        let program = |link: &LinkMessage| {
            link.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::Xdp(xdp) => xdp.iter().find_map(|attribute| match attribute {
                    LinkXdp::ProgId(program) if *program != 0 => Some(*program),
                    _ => None,
                }),
                _ => None,
            })
        };
        let found = self.links(Which::All, |link| Some((link.header.index, program(link)?))).await;
        found.attempt(|| "list interfaces".to_owned())
    }

    /// Destinations of the main routing table, those of the interfaces named in `owned` left out: what a subnet had
    /// better not overlap. The default route, multicast and link-local destinations say nothing of that.
    ///
    /// # Errors
    /// The kernel refuses to list them.
    pub async fn routes(&self, owned: &Owned) -> Result<Vec<IpNet>, LinuxError> {
        let ours: BTreeSet<u32> = self
            .snapshot()
            .await?
            .interfaces
            .into_iter()
            .filter(|(_, i)| owns(owned, &i.name))
            .map(|(i, _)| i)
            .collect();
        let mut routes = BTreeSet::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let found = self.main_routes(family).await?;
            routes.extend(found.iter().filter_map(|route| destination(route, &ours)));
        }
        Ok(routes.into_iter().collect())
    }

    /// MTU of the interface that the default route leads out by, IPv4's before IPv6's; Ethernet's if there is none.
    ///
    /// # Errors
    /// The kernel refuses to list routes or interfaces.
    pub async fn mtu_of_way_out(&self) -> Result<u32, LinuxError> {
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let found = self.main_routes(family).await?;
            if let Some(index) = found.iter().filter(|route| tuning::is_default(route)).find_map(tuning::leads_by) {
                let interfaces = self.snapshot().await?.interfaces;
                return Ok(interfaces.get(&index).map_or(DEFAULT_MTU, |interface| interface.mtu));
            }
        }
        Ok(DEFAULT_MTU)
    }

    pub(super) async fn main_routes(&self, family: AddressFamily) -> Result<Vec<RouteMessage>, LinuxError> {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        let routes: Vec<RouteMessage> =
            self.handle().route().get(request).execute().try_collect().await.attempt(|| "list routes".to_owned())?;
        Ok(routes
            .into_iter()
            .filter(|route| in_main_table(route) && route.header.kind != RouteType::Multicast)
            .collect())
    }

    async fn snapshot(&self) -> Result<Snapshot, LinuxError> {
        self.snapshot_of(true).await
    }

    /// With what is on bridges and its addresses, or without.
    async fn snapshot_of(&self, ports: bool) -> Result<Snapshot, LinuxError> {
        let interfaces = self.interfaces(ports).await.attempt(|| "list interfaces".to_owned())?;
        let addresses = if ports || interfaces.len() > FEW {
            self.addresses(0).await?
        } else {
            let mut found = Vec::new();
            for index in interfaces.keys() {
                found.append(&mut self.addresses(*index).await?);
            }
            found
        };
        Ok(Snapshot { interfaces, addresses, reserved: sockets::reserved_ports()?, netns: BTreeSet::new() })
    }

    /// All that can be an uplink, a bridge or on one. Ports of bonds and the like are left out, those of VRFs are not.
    async fn interfaces(&self, ports: bool) -> io::Result<BTreeMap<u32, Interface>> {
        let named = |interface: fn(&LinkMessage) -> Interface| {
            move |link: &LinkMessage| Some((link.header.index, interface(link)))
        };
        // Before the others: what is put on a bridge meanwhile is no uplink, and not missed.
        let mut found: BTreeMap<u32, Interface> =
            if ports { self.links(Which::OnBridges, named(Interface::of_port)).await? } else { BTreeMap::new() };
        found.append(&mut self.links(Which::Apart, named(Interface::of)).await?);
        let is_vrf = |(index, interface): (&u32, &Interface)| (interface.kind == Some(InfoKind::Vrf)).then_some(*index);
        for vrf in found.iter().filter_map(is_vrf).collect::<Vec<_>>() {
            found.append(&mut self.links(Which::PortsOf(vrf), named(Interface::of)).await?);
        }
        Ok(found)
    }
}

impl Snapshot {
    /// Bridges, veths and whatever else is on a bridge, and named namespaces, whoever made them.
    pub fn links(&self) -> ObservedLinks {
        let of_kind = |kind: InfoKind| {
            self.interfaces.iter().filter(move |(_, interface)| interface.kind.as_ref() == Some(&kind))
        };
        let bridges = of_kind(InfoKind::Bridge)
            .map(|(index, interface)| (interface.name.clone(), self.bridge(*index, interface)));
        let ends = || of_kind(InfoKind::Veth).chain(self.interfaces.iter().filter(|(_, interface)| interface.port));
        let veths = ends().map(|(_, interface)| {
            let master = interface.master.and_then(|master| self.interfaces.get(&master));
            (interface.name.clone(), master.map(|master| master.name.clone()))
        });
        let up = ends().filter(|(_, interface)| interface.flags.contains(LinkFlags::Up));
        let up = up.map(|(_, interface)| interface.name.clone());
        ObservedLinks {
            bridges: bridges.collect(),
            veths: veths.collect(),
            up: up.collect(),
            netns: self.netns.clone(),
            nameless: BTreeMap::new(),
        }
    }

    fn bridge(&self, index: u32, interface: &Interface) -> ObservedBridge {
        let addresses = self.addresses.iter().filter(|address| address.ifindex == index);
        ObservedBridge {
            mac: interface.mac,
            mtu: if interface.flags.contains(LinkFlags::Up) { interface.mtu } else { 0 },
            addresses: addresses.map(|address| (address.address, address.prefix_length)).collect(),
            floods: interface.floods,
        }
    }

    /// Uplinks, addresses and interface indices. What is named in `owned` is no uplink.
    pub fn facts(&self, owned: &Owned) -> HostFacts {
        let uplinks = self.interfaces.iter().filter(|(_, interface)| self.is_uplink(interface, owned));
        let addresses = self.addresses.iter().filter(|address| !address.address.is_loopback());
        let lo = self.interfaces.values().find(|interface| interface.flags.contains(LinkFlags::Loopback));
        HostFacts {
            uplinks: uplinks.map(|(index, interface)| self.uplink(*index, interface)).collect(),
            addresses: addresses.map(|address| (address.address, address.ifindex)).collect(),
            ifindex: self.interfaces.iter().map(|(index, interface)| (interface.name.clone(), *index)).collect(),
            reserved: self.reserved.clone(),
            trains: lo.map_or(Trains::default(), |lo| lo.trains[1]),
        }
    }

    /// A bridge or bond is an uplink, its ports are not; of a VRF it is the other way round, for there the ports see
    /// the packets.
    fn is_uplink(&self, interface: &Interface, owned: &Owned) -> bool {
        let vrf = |interface: &Interface| interface.kind == Some(InfoKind::Vrf);
        let master = interface.master.and_then(|master| self.interfaces.get(&master));
        !interface.flags.contains(LinkFlags::Loopback)
            && !interface.port
            && !owns(owned, &interface.name)
            && !vrf(interface)
            && master.is_none_or(vrf)
    }

    fn uplink(&self, index: u32, interface: &Interface) -> UplinkFact {
        let addresses = || self.addresses.iter().filter(move |address| address.ifindex == index);
        UplinkFact {
            name: interface.name.clone(),
            ifindex: index,
            hardware: interface.kind.is_none(),
            mtu: interface.mtu,
            ethernet: interface.ethernet,
            trains: interface.trains[0],
            addr4: addresses().filter_map(Address::source4).min_by_key(|(rank, _)| *rank).map(|(_, address)| address),
            addr6: addresses().filter_map(Address::source6).min_by_key(|(rank, _)| *rank).map(|(_, address)| address),
        }
    }
}

fn owns(owned: &Owned, name: &str) -> bool {
    owned.bridges.contains(name) || owned.veths.contains_key(name)
}

impl Interface {
    /// Of a bridge's port, whose kind the kernel does not say in [`Which::OnBridges`].
    fn of_port(link: &LinkMessage) -> Self {
        let interface = Self::of(link);
        Self { port: interface.master.is_some(), ..interface }
    }

    fn of(link: &LinkMessage) -> Self {
        let mut interface = Self {
            name: String::new(),
            flags: link.header.flags,
            kind: kind(link),
            port: false,
            ethernet: link.header.link_layer_type == LinkLayerType::Ether,
            master: master(link),
            mtu: 0,
            mac: [0; 6],
            floods: !bridge::snoops(link),
            trains: [tuning::trains(link), tuning::known_trains(link)],
        };
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::IfName(name) => interface.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
                LinkAttribute::Address(mac) => interface.mac = mac.as_slice().try_into().unwrap_or_default(),
                _ => {}
            }
        }
        interface
    }
}

/// What the kernel says of an interface's kind: nothing of hardware.
pub(super) fn infos(link: &LinkMessage) -> impl Iterator<Item = &LinkInfo> {
    let infos = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    infos.flatten()
}

/// What made an interface: none for hardware.
pub(super) fn kind(link: &LinkMessage) -> Option<InfoKind> {
    infos(link).find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind.clone()),
        _ => None,
    })
}

/// Index of the bridge, bond or VRF that an interface is a port of.
pub(super) fn master(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Controller(index) if *index != 0 => Some(*index),
        _ => None,
    })
}

fn in_main_table(route: &RouteMessage) -> bool {
    let table = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    table.unwrap_or_else(|| route.header.table.into()) == u32::from(RouteHeader::RT_TABLE_MAIN)
}

pub(super) fn destination(route: &RouteMessage, ours: &BTreeSet<u32>) -> Option<IpNet> {
    let is_ours = |attribute: &RouteAttribute| matches!(attribute, RouteAttribute::Oif(index) if ours.contains(index));
    if route.attributes.iter().any(is_ours) {
        return None;
    }
    let address = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })?;
    let local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_multicast(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_multicast(),
    };
    let length = route.header.destination_prefix_length;
    if local || length == 0 { None } else { IpNet::new(address, length).ok() }
}
