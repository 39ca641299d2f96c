//! What the host and the maps must hold for the state to be in force.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use portlane_common::{
    config::{Config, MAX_POLICIES, SCHEMA},
    endpoint::{Endpoint, Veth, veth},
    family::{Addr4, Addr6, Address},
    network::{HostAddr, Uplink},
    policy::{Policy, PolicyKey},
    reason::Hook,
    span::Span,
};

use super::{
    lead::{DefaultRoute, Lead},
    published,
    state::{self, Container, Mac, Nat, Network, Proto, State, Xdp},
    tables::Tables,
    tuning::Trains,
};

/// What the host is found to be: the part of the desired state that nobody asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Interfaces that face a network.
    pub uplinks: Vec<UplinkFact>,
    /// The host's addresses and the interfaces that hold them, bridges included.
    pub addresses: Vec<(IpAddr, u32)>,
    /// Index of every interface, by name.
    pub ifindex: BTreeMap<String, u32>,
    /// Ports that the administrator keeps for himself (`ip_local_reserved_ports`).
    pub reserved: Vec<Span>,
    /// The longest TCP trains that the kernel can make: ordinary ones where it has no BIG TCP.
    pub trains: Trains,
}

/// An interface that faces a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkFact {
    /// Interface name.
    pub name: String,
    /// Interface index.
    pub ifindex: u32,
    /// Whether a driver of hardware, real or virtual, is behind it, and not the kernel's own software.
    pub hardware: bool,
    /// Bytes.
    pub mtu: u32,
    /// Whether its packets have Ethernet headers: those of tun and of most VPNs have none.
    pub ethernet: bool,
    /// What masqueraded packets leave with.
    pub addr4: Option<Ipv4Addr>,
    /// What masqueraded packets leave with: a global or unique local address.
    pub addr6: Option<Ipv6Addr>,
    /// The longest TCP trains that it carries.
    pub trains: Trains,
}

/// The programs on the host's end of a veth pair.
pub const VETH_HOOKS: [Hook; 2] = [Hook::FromContainer, Hook::ToContainer];

/// What the host and the maps must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// One for each network.
    pub bridges: Vec<Bridge>,
    /// Network namespaces, by name: one for each live container that has one of portlane's making.
    pub netns: BTreeSet<String>,
    /// One for each place of a live container on a bridge network.
    pub endpoints: Vec<EndpointLink>,
    /// Where the default routes of containers lead that are on several networks, or on none any more.
    pub routes: Vec<DefaultRoute>,
    /// Content of the control maps. Rows that need an interface's index are there once the interface is.
    pub tables: Tables,
    /// Programs on interfaces. Those of a veth are there once the veth is.
    pub attach: BTreeSet<Attachment>,
}

/// A network's bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// Interface name.
    pub name: String,
    /// MAC.
    pub mac: [u8; 6],
    /// Gateway address and prefix length.
    pub addr4: (Ipv4Addr, u8),
    /// Gateway address and prefix length.
    pub addr6: Option<(Ipv6Addr, u8)>,
    /// Bytes.
    pub mtu: u32,
}

/// A container's veth pair: `veth` in the host on `bridge`, `interface` in `netns`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointLink {
    /// Name under `/run/netns`, or path.
    pub netns: String,
    /// Interface name of the host's end.
    pub veth: String,
    /// Interface name inside.
    pub interface: String,
    /// Interface name of the bridge that it is put on.
    pub bridge: String,
    /// MAC of the interface inside.
    pub mac: [u8; 6],
    /// Address of the interface inside and prefix length.
    pub addr4: (Ipv4Addr, u8),
    /// Address of the interface inside and prefix length.
    pub addr6: Option<(Ipv6Addr, u8)>,
    /// Default route; none on an internal network, or where it leads to another one.
    pub gateway4: Option<Ipv4Addr>,
    /// Default route; none on an internal network, or where it leads to another one.
    pub gateway6: Option<Ipv6Addr>,
    /// Bytes of the largest IP packet that the link carries.
    pub mtu: u32,
    /// Bytes of the largest IP packet that leaves by the default route, if the link carries larger ones.
    pub mtu_outside: Option<u32>,
}

/// A program on an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attachment {
    /// Interface name.
    pub interface: String,
    /// The program, and where on the interface it sits.
    pub hook: Hook,
}

/// What the host and the maps must hold for `state` to be in force on a host of which `facts` are true.
pub fn desired(state: &State, facts: &HostFacts) -> Desired {
    desired_part(state, state, facts, 0)
}

/// The part of it that is about some of the containers, or about no container at all: `part` is `whole` with these alone.
/// `others` are the [`classes`](published::classes) of the rest.
pub fn desired_part(part: &State, whole: &State, facts: &HostFacts, others: u32) -> Desired {
    let placed = placed(part);
    let (tables, attach) = (tables(part, whole, &placed, facts, others), attachments(part, &placed, facts));
    Desired { tables, attach, ..links(part, &placed) }
}

/// The part of it that depends on no facts: bridges, namespaces, interfaces and routes. No tables, no attachments.
pub fn desired_links(state: &State) -> Desired {
    links(state, &placed(state))
}

fn links(state: &State, placed: &[Placed<'_>]) -> Desired {
    Desired {
        bridges: state.networks.values().map(bridge).collect(),
        netns: state.live().filter(|c| c.owns_netns()).map(|c| c.netns.clone()).collect(),
        endpoints: placed.iter().map(Placed::link).collect(),
        routes: state.live().filter_map(|container| default_route(state, container)).collect(),
        ..Desired::default()
    }
}

fn placed(state: &State) -> Vec<Placed<'_>> {
    state.live().flat_map(|container| Placed::all(state, container)).collect()
}

/// A container and one of the networks that it is on.
pub(super) struct Placed<'a> {
    container: &'a Container,
    pub(super) endpoint: &'a state::Endpoint,
    network: &'a Network,
    /// Whether its default routes lead there: the IPv4 one, the IPv6 one.
    pub(super) leads: [bool; 2],
}

/// Where the default routes of a container lead.
fn default_route(state: &State, container: &Container) -> Option<DefaultRoute> {
    if !container.is_bridged() {
        return None;
    }
    let (mut v4, mut v6) = (None, None);
    for placed in Placed::all(state, container) {
        let link = placed.link();
        v4 = v4.or(link.lead4());
        v6 = v6.or(link.lead6());
    }
    Some(DefaultRoute { netns: container.netns.clone(), v4, v6 })
}

pub(super) fn bridge(network: &Network) -> Bridge {
    Bridge {
        name: network.bridge.clone(),
        mac: network.bridge_mac,
        addr4: (network.gateway4, network.subnet4.prefix_len()),
        addr6: network.gateway6.zip(network.subnet6).map(|(address, subnet)| (address, subnet.prefix_len())),
        mtu: network.links.mtu.unwrap_or(network.mtu),
    }
}

impl<'a> Placed<'a> {
    pub(super) fn all(state: &'a State, container: &'a Container) -> impl Iterator<Item = Self> {
        let (four, six) = state.gateways(container);
        container.endpoints.iter().filter_map(move |endpoint| {
            let leads = [four, six].map(|best| best.is_some_and(|best| best.number == endpoint.number));
            Some(Self { container, endpoint, network: state.networks.get(&endpoint.network)?, leads })
        })
    }

    fn link(&self) -> EndpointLink {
        let Self { container, endpoint, network, leads } = self;
        let leads = leads.map(|leads| leads && !network.internal);
        EndpointLink {
            netns: container.netns.clone(),
            veth: endpoint.veth.clone(),
            interface: endpoint.interface.clone(),
            bridge: network.bridge.clone(),
            mac: endpoint.mac,
            addr4: (endpoint.addr4, network.subnet4.prefix_len()),
            addr6: endpoint.addr6.zip(network.subnet6).map(|(address, subnet)| (address, subnet.prefix_len())),
            gateway4: leads[0].then_some(network.router4.unwrap_or(network.gateway4)),
            gateway6: network.router6.or(network.gateway6).filter(|_| leads[1] && endpoint.addr6.is_some()),
            mtu: network.links.mtu.unwrap_or(network.mtu),
            mtu_outside: network.links.mtu.map(|_| network.mtu),
        }
    }

    fn endpoint(&self, ifindex: u32) -> Endpoint {
        Endpoint {
            id: self.endpoint.number,
            network: self.network.id,
            ifindex,
            mac: self.endpoint.mac,
            gateway_mac: self.network.bridge_mac,
        }
    }

    fn veth(&self, bridge: u32) -> Veth {
        let Self { container, endpoint, network, .. } = self;
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        Veth {
            endpoint: endpoint.number,
            network: network.id,
            bridge,
            addr4: endpoint.addr4.into(),
            addr6: endpoint.addr6.map_or(Addr6::ANY, Into::into),
            host4: network.host4.map_or(Addr4::ANY, Into::into),
            host6: network.host6.map_or(Addr6::ANY, Into::into),
            mac: endpoint.mac,
            gateway_mac: network.bridge_mac,
            flags: flag(!network.icc, veth::ICC_OFF)
                | flag(network.masquerade, veth::MASQUERADE)
                | flag(network.internal, veth::INTERNAL)
                | flag(container.nat == Nat::FullCone, veth::FULL_CONE),
            pad: [0; 3],
        }
    }
}

fn tables(state: &State, whole: &State, placed: &[Placed<'_>], facts: &HostFacts, others: u32) -> Tables {
    let mut tables = Tables { policy: policies(whole), ..Tables::default() };
    for (address, ifindex) in facts.addresses.iter().filter(|(address, _)| !address.is_loopback()) {
        let host = HostAddr { ifindex: *ifindex };
        match *address {
            IpAddr::V4(address) => {
                tables.host4.entry(address.into()).or_insert(host);
            }
            IpAddr::V6(address) if Addr6::from(address).is_link_local() => {}
            IpAddr::V6(address) => {
                tables.host6.entry(address.into()).or_insert(host);
            }
        }
    }
    // A bridge that is about to go may have the address too: the one that stays is meant.
    for network in state.networks.values() {
        if let Some(ifindex) = facts.ifindex.get(&network.bridge).copied() {
            tables.host4.insert(network.gateway4.into(), HostAddr { ifindex });
            tables.host6.extend(network.gateway6.map(|address| (address.into(), HostAddr { ifindex })));
        }
    }
    for uplink in &facts.uplinks {
        let row = Uplink {
            addr4: uplink.addr4.map_or(Addr4::ANY, Into::into),
            addr6: uplink.addr6.map_or(Addr6::ANY, Into::into),
            mtu: uplink.mtu,
            pad: 0,
        };
        tables.uplink.insert(uplink.ifindex, row);
    }
    for place in placed {
        let Placed { container, endpoint, leads, .. } = place;
        let index = |name: &str| facts.ifindex.get(name).copied();
        if let (Some(ifindex), Some(bridge)) = (index(&endpoint.veth), index(&place.network.bridge)) {
            tables.veth.insert(ifindex, place.veth(bridge));
            tables.endpoint4.insert(endpoint.addr4.into(), place.endpoint(ifindex));
            if let Some(address) = endpoint.addr6 {
                tables.endpoint6.insert(address.into(), place.endpoint(ifindex));
            }
        }
        // Where the default route leads: the answers must come back that way.
        for publish in &container.publishes {
            published::rows(endpoint, *leads, publish, &mut tables);
        }
    }
    published::leave_to_name_servers(state, &mut tables);
    for port in facts.reserved.iter().flat_map(|span| span.first..=span.last) {
        let block = tables.reserved.entry(u32::from(port / 256)).or_default();
        block[usize::from(port / 64 % 4)] |= 1 << (port % 64);
    }
    tables.config = config(state, &tables, others);
    tables
}

/// What links open on networks whose containers otherwise do not reach each other.
fn policies(state: &State) -> BTreeMap<PolicyKey, Policy> {
    let mut rows = BTreeMap::new();
    if state.networks.values().all(|network| network.icc) {
        return rows;
    }
    let apart = |endpoint: &state::Endpoint| state.networks.get(&endpoint.network).is_some_and(|network| !network.icc);
    for (container, from) in state.endpoints().filter(|(_, endpoint)| apart(endpoint)) {
        let targets = container.links.iter().filter_map(|link| state.containers.get(link.target.as_str()));
        for target in targets.filter(|target| target.is_live()) {
            let Some(to) = target.on(&from.network) else { continue };
            for proto in Proto::ALL {
                let open = target.open_ports().filter(|port| port.proto == proto).map(|port| port.span);
                for span in merged(open.collect()) {
                    let key = PolicyKey::new(from.number, to.number, proto.number(), span);
                    rows.insert(key, Policy { first: span.first, last: span.last });
                }
            }
        }
    }
    rows
}

/// Whether links open more than the table holds.
pub(super) fn exceeds_policies(state: &State) -> bool {
    policies(state).len() > MAX_POLICIES as usize
}

/// The same ports in as few ranges as can be: the keys of a table are unique only if its ranges do not overlap.
fn merged(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut merged: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match merged.last_mut() {
            Some(previous) if u32::from(span.first) <= u32::from(previous.last) + 1 => {
                previous.last = previous.last.max(span.last);
            }
            _ => merged.push(span),
        }
    }
    merged
}

/// The tables may be those of a few containers: `others` are the classes of the rest.
fn config(state: &State, tables: &Tables, others: u32) -> Config {
    let bits = |classes: &mut dyn Iterator<Item = u8>| classes.fold(0, |bits, class| bits | 1 << class);
    let (four, six) = (tables.publish4.keys().map(|key| key.class), tables.publish6.keys().map(|key| key.class));
    let all = others | published::classes_of(state, state.live());
    Config {
        schema: SCHEMA,
        publish_classes: bits(&mut four.chain(six)) | all,
        policy_classes: bits(&mut tables.policy.keys().map(|key| key.class)),
        flow_share: state.flows.share,
        timeouts: state.flows.timeouts.into(),
    }
}

fn attachments(state: &State, placed: &[Placed<'_>], facts: &HostFacts) -> BTreeSet<Attachment> {
    let veths = placed.iter().map(|place| &place.endpoint.veth).filter(|veth| facts.ifindex.contains_key(*veth));
    let containers = veths.map(|veth| (veth, VETH_HOOKS));
    let with_xdp = |uplink: &&UplinkFact| match state.xdp {
        Xdp::Auto => uplink.hardware && uplink.ethernet,
        Xdp::Native => uplink.ethernet,
        Xdp::Off => false,
    };
    let ethernet = facts.uplinks.iter().filter(|uplink| uplink.ethernet);
    let uplinks = ethernet.map(|uplink| {
        let from = if with_xdp(&uplink) { Hook::BehindXdp } else { Hook::FromUplink };
        (&uplink.name, [from, Hook::ToUplink])
    });
    let others = facts.uplinks.iter().filter(|uplink| !uplink.ethernet);
    let others = others.map(|uplink| Attachment { interface: uplink.name.clone(), hook: Hook::FromUplinkL3 });
    let xdp = facts
        .uplinks
        .iter()
        .filter(with_xdp)
        .map(|uplink| Attachment { interface: uplink.name.clone(), hook: Hook::FromUplinkXdp });
    containers
        .chain(uplinks)
        .flat_map(|(interface, hooks)| hooks.map(|hook| Attachment { interface: interface.clone(), hook }))
        .chain(others)
        .chain(xdp)
        .collect()
}

impl Bridge {
    /// Its addresses and their prefix lengths.
    pub fn addresses(&self) -> impl Iterator<Item = (IpAddr, u8)> + use<> {
        let six = self.addr6.map(|(address, length)| (address.into(), length));
        [(self.addr4.0.into(), self.addr4.1)].into_iter().chain(six)
    }
}

impl EndpointLink {
    /// Its IPv4 default route.
    pub fn lead4(&self) -> Option<Lead<Ipv4Addr>> {
        self.lead(self.gateway4)
    }

    /// Its IPv6 default route.
    pub fn lead6(&self) -> Option<Lead<Ipv6Addr>> {
        self.lead(self.gateway6)
    }

    fn lead<A>(&self, router: Option<A>) -> Option<Lead<A>> {
        router.map(|router| Lead { router, interface: self.interface.clone(), mtu: self.mtu_outside })
    }
}

impl fmt::Display for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bridge {} ({}, {}/{}", self.name, Mac(self.mac), self.addr4.0, self.addr4.1)?;
        if let Some((address, length)) = self.addr6 {
            write!(f, ", {address}/{length}")?;
        }
        write!(f, ", MTU {})", self.mtu)
    }
}

impl fmt::Display for EndpointLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {} for {} of {} ({}", self.veth, self.bridge, self.interface, self.netns, self.addr4.0)?;
        if let Some((address, _)) = self.addr6 {
            write!(f, ", {address}")?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.hook.name(), self.interface)
    }
}
