//! What the user asked for, as it is stored.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use portlane_common::span::Span;
use serde::{Deserialize, Serialize};

use super::{
    attach::NetnsIdentity,
    error::ModelError,
    tables::side_by_side,
    tuning::LinkSettings,
    words::{dense, mac_text, span_text},
};
pub use super::{
    configured::{DefaultNetwork, FlowSettings, Pool, ResolverSettings, TimeoutSettings, Xdp},
    proto::Proto,
    words::{Before, Mac, Ports, Sources},
};

/// Version of [`State`] as it is stored.
pub const SCHEMA: u32 = 6;
/// [`Container::network`] of a container on bridge networks.
pub const BRIDGED: &str = "bridge";
/// The default network, and the interface of its bridge.
pub const DEFAULT_NETWORK: &str = "portlane0";
/// Largest IP packet of a network for which nothing else was asked, in bytes.
pub const DEFAULT_MTU: u32 = 1500;
/// Digits of a container's identifier that people see.
pub const SHORT_ID: usize = 12;

/// Everything that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Drawn once for a host: what its IPv6 prefixes are derived from.
    pub seed: u64,
    /// How the default network is made on its first use.
    pub default_network: DefaultNetwork,
    /// Where subnets come from that nobody chose; Docker's own pools if empty.
    #[serde(default)]
    pub pools: Vec<Pool>,
    /// By name.
    pub networks: BTreeMap<String, Network>,
    /// By full identifier. A state that a change leads to shares those that it leaves alone with the one before it.
    pub containers: BTreeMap<Arc<str>, Arc<Container>>,
    /// Generation of the next publish entry; never 0.
    pub next_generation: u32,
    /// Which uplinks have an XDP program.
    #[serde(default)]
    pub xdp: Xdp,
    /// How long conversations live, and how many a container may hold.
    #[serde(default)]
    pub flows: FlowSettings,
    /// What containers are told of names outside.
    #[serde(default)]
    pub resolver: ResolverSettings,
}

/// How a container's UDP sockets are mapped to ports outside, and who may send to those (RFC 4787 §4.1, §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nat {
    /// As the kernel's: for each peer by itself, and only that peer answers.
    #[default]
    PerPeer,
    /// One port for all peers, and anybody may send to it.
    FullCone,
}

impl Default for State {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            seed: 0,
            default_network: DefaultNetwork::default(),
            pools: Vec::new(),
            networks: BTreeMap::new(),
            containers: BTreeMap::new(),
            next_generation: 1,
            xdp: Xdp::default(),
            flows: FlowSettings::default(),
            resolver: ResolverSettings::default(),
        }
    }
}

/// A bridge network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The lowest number that was free, from 1.
    pub id: u32,
    /// As the user calls it.
    pub name: String,
    /// Interface name of the bridge.
    pub bridge: String,
    /// Where its containers' IPv4 addresses come from.
    pub subnet4: Ipv4Net,
    /// The bridge's IPv4 address.
    pub gateway4: Ipv4Addr,
    /// Where its containers' IPv6 addresses come from.
    pub subnet6: Option<Ipv6Net>,
    /// The bridge's IPv6 address; present exactly if `subnet6` is.
    pub gateway6: Option<Ipv6Addr>,
    /// The bridge's MAC.
    #[serde(with = "mac_text")]
    pub bridge_mac: [u8; 6],
    /// Whether its containers reach each other without a link.
    pub icc: bool,
    /// Whether what leaves the host takes the host's address.
    pub masquerade: bool,
    /// Whether it reaches nothing outside.
    pub internal: bool,
    /// Bytes.
    pub mtu: u32,
    /// The part of the subnet that IPv4 addresses are given out of; all of it if none.
    pub range4: Option<Ipv4Net>,
    /// The part of the subnet that IPv6 addresses are given out of; all of it if none.
    pub range6: Option<Ipv6Net>,
    /// The last IPv4 address that was given out: the next one is sought behind it, so that none comes back at once.
    pub last4: Option<Ipv4Addr>,
    /// Where containers' default route leads instead of the bridge.
    pub router4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub router6: Option<Ipv6Addr>,
    /// The host address of ports that are published without one.
    pub host_binding: Option<IpAddr>,
    /// What masqueraded packets leave with; the uplink's address if none.
    pub host4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub host6: Option<Ipv6Addr>,
    /// The user's own notes.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How its links carry packets.
    #[serde(default)]
    pub links: LinkSettings,
    /// What the default network was made with.
    #[serde(default)]
    pub made_with: Option<DefaultNetwork>,
}

/// A container, whatever its network is: some of the networks, `host`, `none`, or `container:<full id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: Arc<str>,
    /// As the user calls it.
    pub name: String,
    /// [`BRIDGED`] for the networks of its endpoints, `host`, `none`, or `container:<full id>`.
    pub network: String,
    /// Its places on bridge networks, the first one first.
    pub endpoints: Vec<Endpoint>,
    /// Name under `/run/netns`, or path; empty if it shares the host's.
    pub netns: String,
    /// Which namespace that is, if somebody else made it: portlane never makes or deletes it.
    #[serde(default)]
    pub foreign: Option<NetnsIdentity>,
    /// What `hostname` says inside; empty for what it says on the host.
    pub hostname: String,
    /// Name servers instead of the host's.
    pub dns: Vec<IpAddr>,
    /// Search domains instead of the host's.
    pub dns_search: Vec<String>,
    /// Options of `/etc/resolv.conf` instead of the host's.
    pub dns_options: Vec<String>,
    /// Lines of `/etc/hosts` that the user added.
    pub extra_hosts: Vec<(String, IpAddr)>,
    /// Containers that it knows by an alias, and whose ports are open to it.
    pub links: Vec<Link>,
    /// Ports that links to it open.
    pub exposed: Vec<PortSpec>,
    /// Ports of the host that lead to it.
    #[serde(with = "dense")]
    pub publishes: Vec<Publish>,
    /// What it runs.
    pub command: Vec<String>,
    /// Whether it runs.
    pub status: Status,
    /// Whether it goes away when it ends.
    pub auto_remove: bool,
    /// How its UDP sockets are mapped to ports outside.
    #[serde(default)]
    pub nat: Nat,
}

/// A container's place on a bridge network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The lowest number that was free on the host, from 1.
    pub number: u32,
    /// Name of the network.
    pub network: String,
    /// Interface name inside: `eth0`, `eth1` and so on.
    pub interface: String,
    /// Its IPv4 address.
    pub addr4: Ipv4Addr,
    /// Its IPv6 address, if the network has any.
    pub addr6: Option<Ipv6Addr>,
    /// MAC of the interface inside.
    #[serde(with = "mac_text")]
    pub mac: [u8; 6],
    /// Interface name of the host's end.
    pub veth: String,
    /// Names that others on the network know it by, beside its own.
    pub aliases: Vec<String>,
    /// The default route leads to the network with the highest; among equals to the first.
    pub priority: i32,
}

/// A container's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its network is being made; it does not run yet.
    Creating,
    /// Its first process runs.
    Running {
        /// The process.
        pid: u32,
        /// Its start time in clock ticks since boot: the number alone may be somebody else's by then.
        start_time: u64,
        /// What the kernel knows it by and no other process ever, quickly asked for; none where the kernel has no such number.
        #[serde(default)]
        identity: Option<u64>,
    },
    /// Its network namespace is somebody else's, and is there.
    Attached,
    /// Its first process ended, or the namespace that it was attached to is gone: it holds no address and no port any more.
    Exited {
        /// Exit status, 128 + the signal's number if a signal ended it; none if nobody was there to see it.
        code: Option<i32>,
    },
}

/// A port or a range of them, of one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortSpec {
    /// Protocol.
    pub proto: Proto,
    /// Ports.
    #[serde(with = "span_text")]
    pub span: Span,
}

/// A container known to another by an alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Full identifier of the container linked to.
    pub target: String,
    /// What the linking container calls it.
    pub alias: String,
}

/// Ports of the host that lead to a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// The lowest number that was free, from 1: the index of its counters.
    pub id: u32,
    /// Unlike that of any earlier entry with the same number.
    pub generation: u32,
    /// Protocol.
    pub proto: Proto,
    /// None: every address of the host, in each family that the container has. Unspecified: every one of that family.
    pub host_addr: Option<IpAddr>,
    /// Ports of the host.
    #[serde(with = "span_text")]
    pub host: Span,
    /// Container port behind the first host port; the following ones follow.
    pub container_first: u16,
    /// Who may use them, in order; everybody if none. A state without it is of a time when that was so.
    #[serde(default)]
    pub sources: Vec<IpNet>,
}

impl State {
    /// The container with this name, identifier, or unambiguous beginning of one.
    ///
    /// # Errors
    /// [`ModelError::NoSuchContainer`], [`ModelError::AmbiguousContainer`].
    pub fn container(&self, name: &str) -> Result<&Container, ModelError> {
        if let Some(found) = self.containers.get(name).or_else(|| self.containers.values().find(|c| c.name == name)) {
            return Ok(found);
        }
        let mut begins = self.containers.values().filter(|c| !name.is_empty() && c.id.starts_with(name));
        match (begins.next(), begins.next()) {
            (Some(found), None) => Ok(found),
            (Some(_), Some(_)) => Err(ModelError::AmbiguousContainer { name: name.to_owned() }),
            (None, _) => Err(ModelError::NoSuchContainer { name: name.to_owned() }),
        }
    }

    /// As [`Self::container`], to change it.
    ///
    /// # Errors
    /// As there.
    pub fn container_mut(&mut self, name: &str) -> Result<&mut Container, ModelError> {
        let id = self.container(name)?.id.clone();
        let container = self.containers.get_mut(&id).map(Arc::make_mut);
        container.ok_or_else(|| ModelError::NoSuchContainer { name: name.to_owned() })
    }

    /// The network with this name; `bridge` and `default` are the default network.
    ///
    /// # Errors
    /// [`ModelError::NoSuchNetwork`].
    pub fn network(&self, name: &str) -> Result<&Network, ModelError> {
        self.networks.get(network_key(name)).ok_or_else(|| ModelError::NoSuchNetwork { name: name.to_owned() })
    }

    /// Containers that hold an address and their ports.
    pub fn live(&self) -> impl Iterator<Item = &Container> {
        self.containers.values().map(Arc::as_ref).filter(|container| container.is_live())
    }

    /// Containers that are otherwise in another state, or not there, with what is there.
    pub fn unlike<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (&'a Container, Option<&'a Container>)> {
        let differ = side_by_side(&self.containers, &other.containers).filter(|(_, ours, theirs)| ours != theirs);
        differ.filter_map(|(_, ours, theirs)| Some((ours?.as_ref(), theirs.map(Arc::as_ref))))
    }

    /// Every place that a container has on a bridge network.
    pub fn endpoints(&self) -> impl Iterator<Item = (&Container, &Endpoint)> {
        self.live().flat_map(|container| container.endpoints.iter().map(move |endpoint| (container, endpoint)))
    }

    /// Containers that hold an address of this network.
    pub fn live_on<'a>(&'a self, network: &'a str) -> impl Iterator<Item = (&'a Container, &'a Endpoint)> {
        self.endpoints().filter(move |(_, endpoint)| endpoint.network == network)
    }

    /// Where a container's default route leads, one for each family, and with it where its published ports lead to: not
    /// to an internal network, if there is another.
    pub fn gateways<'a>(&self, container: &'a Container) -> (Option<&'a Endpoint>, Option<&'a Endpoint>) {
        let leads =
            |endpoint: &&Endpoint| self.networks.get(&endpoint.network).is_some_and(|network| !network.internal);
        let best = |six: bool| {
            let fits = |endpoint: &&'a Endpoint| !six || endpoint.addr6.is_some();
            let rank = |endpoint: &&'a Endpoint| (leads(endpoint), endpoint.priority);
            // The last of equals is the greatest: from behind, that is the first.
            container.endpoints.iter().filter(fits).rev().max_by_key(rank)
        };
        (best(false), best(true))
    }

    /// Publish entries that are in force, and whose they are.
    pub fn publishes(&self) -> impl Iterator<Item = (&Container, &Publish)> {
        self.live().flat_map(|container| container.publishes.iter().map(move |publish| (container, publish)))
    }
}

/// The name under which a network is kept.
pub fn network_key(name: &str) -> &str {
    match name {
        "bridge" | "default" => DEFAULT_NETWORK,
        other => other,
    }
}

impl Container {
    /// What people see of the identifier.
    pub fn short_id(&self) -> &str {
        self.id.get(..SHORT_ID).unwrap_or(&self.id)
    }

    /// Whether it holds an address and its ports: it is being made, or runs.
    pub const fn is_live(&self) -> bool {
        !matches!(self.status, Status::Exited { .. })
    }

    /// Whether it is for bridge networks, and not on `host`, `none` or another container's.
    pub fn is_bridged(&self) -> bool {
        self.network == BRIDGED
    }

    /// Whether it stands for a network namespace that somebody else made, and is or was attached to; who joins that one is
    /// a process of portlane's.
    pub fn is_attachment(&self) -> bool {
        self.foreign.is_some() && self.is_bridged()
    }

    /// Whether it is in a network namespace that portlane made, and deletes.
    pub fn owns_netns(&self) -> bool {
        !self.netns.is_empty() && self.foreign.is_none()
    }

    /// Its place on a network.
    pub fn on(&self, network: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.network == network)
    }

    /// Names of its networks.
    pub fn networks(&self) -> String {
        if self.endpoints.is_empty() && !self.is_bridged() {
            return self.network.clone();
        }
        self.endpoints.iter().map(|endpoint| endpoint.network.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Whether it has an IPv6 address.
    pub fn has_ipv6(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.addr6.is_some())
    }

    /// Container ports that a link to it opens: exposed ones, and those behind published ones.
    pub fn open_ports(&self) -> impl Iterator<Item = PortSpec> {
        let published = self.publishes.iter().map(|p| PortSpec { proto: p.proto, span: p.container_span() });
        self.exposed.iter().copied().chain(published)
    }
}

impl Publish {
    /// The container's ports.
    pub const fn container_span(&self) -> Span {
        Span { first: self.container_first, last: self.container_first + (self.host.last - self.host.first) }
    }

    /// The host address as it comes before the port, `*:` for every one.
    pub fn place(&self) -> String {
        self.host_addr.map_or_else(|| "*:".to_owned(), |address| Before(address).to_string())
    }

    /// The container port behind a host port; none if the entry does not hold it.
    pub fn container_port(&self, host_port: u16) -> Option<u16> {
        self.host.contains(host_port).then(|| self.container_first + (host_port - self.host.first))
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ports(self.span), self.proto)
    }
}

/// `0.0.0.0:10080->80/tcp`, as `docker ps` writes it, and who may use it as `-p` takes it.
impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, host) = (self.place(), Ports(self.host));
        write!(f, "{place}{host}->{}/{}{}", Ports(self.container_span()), self.proto, Sources(&self.sources))
    }
}
