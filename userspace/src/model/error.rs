//! Why a request is refused. Each sentence says what is wrong and what to do.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use portlane_common::{
    config::{MAX_ENDPOINTS, MAX_POLICIES, MAX_PUBLISHES, MAX_SOURCES},
    span::Span,
};

use super::state::{Mac, Ports, Proto};

/// Why a request is refused; the state is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// No such container.
    #[error("there is no container `{name}`: `portlane ps` lists them")]
    NoSuchContainer {
        /// As it was asked for.
        name: String,
    },
    /// The beginning of several identifiers.
    #[error("`{name}` is the beginning of more than one container's identifier: give more of it, or the name")]
    AmbiguousContainer {
        /// As it was asked for.
        name: String,
    },
    /// No such network.
    #[error("there is no network `{name}`: `portlane network ls` lists them, `portlane network create` makes one")]
    NoSuchNetwork {
        /// As it was asked for.
        name: String,
    },
    /// Another container has the name.
    #[error("the name `{name}` is in use by container {holder}: remove that one, or choose another name")]
    ContainerExists {
        /// The name.
        name: String,
        /// Short identifier of the container that has it.
        holder: String,
    },
    /// Another network has the name.
    #[error("there is a network `{name}` already: remove that one, or choose another name")]
    NetworkExists {
        /// The name.
        name: String,
    },
    /// A name with other characters.
    #[error("`{name}` cannot be a name: use letters, digits, `_`, `.` and `-`, and begin with a letter or digit")]
    BadName {
        /// The name.
        name: String,
    },
    /// A name that means something else.
    #[error("`{name}` is a name with a meaning of its own: choose another name for the network")]
    ReservedName {
        /// The name.
        name: String,
    },
    /// An identifier that the caller drew badly.
    #[error("`{id}` cannot be a container's identifier: it takes 64 hexadecimal digits, unlike any other container's")]
    BadId {
        /// The identifier.
        id: String,
    },
    /// A container's host name with other characters.
    #[error("`{name}` cannot be a host name: use at most 63 letters, digits, `-` and `.`")]
    BadHostname {
        /// The name.
        name: String,
    },
    /// The network has containers.
    #[error("network `{name}` is in use by {users}: stop or remove them first", users = users.join(", "))]
    NetworkInUse {
        /// The network.
        name: String,
        /// Names of its containers.
        users: Vec<String>,
    },
    /// Subnets overlap.
    #[error("{subnet} overlaps {other} of {holder}: choose another subnet")]
    SubnetOverlaps {
        /// What was asked for.
        subnet: IpNet,
        /// What it overlaps.
        other: IpNet,
        /// `network x`, or `the host`.
        holder: String,
    },
    /// Every pool is taken.
    #[error(
        "no free subnet is left in the address pools: name one with --subnet, or give daemon.json more `default-address-pools`"
    )]
    NoFreeSubnet,
    /// A subnet that no container has room in.
    #[error("{subnet} is too small or not for hosts: a network takes a unicast subnet with room for two hosts or more")]
    BadSubnet {
        /// The subnet.
        subnet: IpNet,
    },
    /// An address that is not in the network's subnet.
    #[error("{address} is not a host's address in {subnet}, the subnet of network `{network}`: choose one of there")]
    OutsideSubnet {
        /// The address.
        address: IpAddr,
        /// The subnet.
        subnet: IpNet,
        /// The network.
        network: String,
    },
    /// Somebody has the address.
    #[error("{address} is taken by {holder}: choose another address")]
    AddressTaken {
        /// The address.
        address: IpAddr,
        /// `container x`, or `the gateway`.
        holder: String,
    },
    /// Somebody on the network has the MAC.
    #[error("MAC {} is taken by {holder}: choose another one", Mac(*mac))]
    MacTaken {
        /// The MAC.
        mac: [u8; 6],
        /// `container x`, or `the gateway`.
        holder: String,
    },
    /// The subnet is full.
    #[error("no address is left in {subnet} of network `{network}`: remove a container, or use a larger network")]
    SubnetFull {
        /// The subnet.
        subnet: IpNet,
        /// The network.
        network: String,
    },
    /// The network has no IPv6.
    #[error("network `{network}` has no IPv6: create one with --ipv6, or leave out {what}")]
    NoIpv6 {
        /// The network.
        network: String,
        /// What asked for it.
        what: String,
    },
    /// Something that takes a bridge network.
    #[error("a container on `{network}` cannot have {what}: use a bridge network, or leave that out")]
    NeedsBridge {
        /// `host`, `none` or `container:…`.
        network: String,
        /// What it cannot have.
        what: &'static str,
    },
    /// Something that takes a process, or files, of portlane's own.
    #[error("a namespace that somebody else made cannot have {what}: leave that out")]
    NeedsOwnNetns {
        /// What it cannot have.
        what: &'static str,
    },
    /// A route of the namespace's own in the way of a network.
    #[error("{holder} has a route to {other}, which overlaps {subnet} of network `{network}`: use another network")]
    RouteInside {
        /// The network's.
        subnet: IpNet,
        /// The network.
        network: String,
        /// Where the route leads.
        other: IpNet,
        /// `network namespace x`.
        holder: String,
    },
    /// A default route of the namespace's own.
    #[error("{holder} has an {family} default route of its own: delete that one, or use an internal network")]
    LedElsewhere {
        /// `network namespace x`.
        holder: String,
        /// "IPv4", "IPv6".
        family: &'static str,
    },
    /// An address range that is no part of the subnet.
    #[error(
        "{range} is no part of {} of network `{network}`: addresses are given out of the subnet",
        subnet.map_or_else(|| "an IPv6 subnet".to_owned(), |subnet| format!("the subnet {subnet}"))
    )]
    RangeOutside {
        /// The range.
        range: IpNet,
        /// The subnet; none if the network has no IPv6.
        subnet: Option<IpNet>,
        /// The network.
        network: String,
    },
    /// A container has one place on a network.
    #[error("container `{name}` is on network `{network}` already")]
    AlreadyConnected {
        /// The container.
        name: String,
        /// The network.
        network: String,
    },
    /// It has no place there.
    #[error("container `{name}` is not on network `{network}`")]
    NotConnected {
        /// The container.
        name: String,
        /// The network.
        network: String,
    },
    /// An alias that is no host name.
    #[error("`{alias}` cannot be an alias: use letters, digits, `-`, `_` and `.`")]
    BadAlias {
        /// As it was given.
        alias: String,
    },
    /// A MTU that the family, or Linux, does not allow.
    #[error(
        "a network{} cannot have an MTU of {mtu}: choose one from {least} to 65535",
        if *least == super::network::LEAST_MTU6 { " with IPv6" } else { "" }
    )]
    BadMtu {
        /// Bytes.
        mtu: u32,
        /// The least that the network can have, in bytes.
        least: u32,
    },
    /// A link MTU that no link has, or that is smaller than what leaves.
    #[error("a network whose MTU is {mtu} cannot have a link MTU of {link_mtu}: choose one from {mtu} to 65535")]
    BadLinkMtu {
        /// Bytes.
        link_mtu: u32,
        /// Of the network, in bytes.
        mtu: u32,
    },
    /// A link to a container that does not run.
    #[error("cannot link to `{target}`, which does not run: start it first")]
    LinkNotRunning {
        /// Name of the container.
        target: String,
    },
    /// A link across networks.
    #[error("cannot link to `{target}`, which is on network `{theirs}` and not on `{ours}`: a link needs one network")]
    LinkElsewhere {
        /// Name of the container.
        target: String,
        /// Its network.
        theirs: String,
        /// The network of the container that wants the link.
        ours: String,
    },
    /// `container:` of a container that has no namespace.
    #[error("cannot join the network of `{target}`, which does not run: start it first")]
    JoinNotRunning {
        /// Name of the container.
        target: String,
    },
    /// The container ended.
    #[error("container `{name}` does not run: its ports are closed")]
    NotRunning {
        /// The container.
        name: String,
    },
    /// Two publishes overlap.
    #[error(
        "port {}/{proto} is already published by {holder}; {name} cannot also map {}",
        Ports(*held),
        Ports(*wanted)
    )]
    PortPublished {
        /// Ports that both want.
        held: Span,
        /// Protocol.
        proto: Proto,
        /// Name of the container that has them.
        holder: String,
        /// Name of the container that wants them.
        name: String,
        /// What was asked for.
        wanted: Span,
    },
    /// A process of the host has the port.
    #[error("port {port}/{proto} is in use on this host by {holder}: stop that, or publish another port")]
    PortListened {
        /// The port.
        port: u16,
        /// Protocol.
        proto: Proto,
        /// What the caller knows of the holder.
        holder: String,
    },
    /// No dynamic port is left.
    #[error("no {count} free {proto} port(s) in a row are left in {}: name a host port", Ports(*range))]
    NoFreePort {
        /// Ports in a row that were wanted.
        count: u32,
        /// Protocol.
        proto: Proto,
        /// Where they were looked for.
        range: Span,
    },
    /// Nothing of the kind is published.
    #[error("container `{name}` does not publish {what}: `portlane port {name}` lists what it does")]
    NotPublished {
        /// The container.
        name: String,
        /// As it was asked for.
        what: String,
    },
    /// An IPv6 link-local address, which is ambiguous without an interface.
    #[error("{address} cannot be published on: name an address that is valid beyond one link")]
    BadHostAddress {
        /// The address.
        address: IpAddr,
    },
    /// An address that the host does not have.
    #[error("{address} is not an address of this host: `ip address` lists them")]
    NotHostAddress {
        /// The address.
        address: IpAddr,
    },
    /// No number is left for an endpoint.
    #[error("{} containers are on networks of this host, which is the limit: remove one", MAX_ENDPOINTS - 1)]
    EndpointsFull,
    /// No number is left for a publish entry.
    #[error("{} ports and ranges are published on this host, which is the limit: use ranges", MAX_PUBLISHES - 1)]
    PublishesFull,
    /// Ports are open to too many prefixes.
    #[error(
        "published ports are open to more than {MAX_SOURCES} prefixes of a family, which is the limit: use shorter ones"
    )]
    SourcesFull,
    /// Links would open too many ports.
    #[error("links would open more than {MAX_POLICIES} ports and ranges, which is the limit: expose ranges")]
    PoliciesFull,
    /// A command line value that does not parse.
    #[error("`{text}` is no {what}: {problem}")]
    BadSpec {
        /// What it should be.
        what: &'static str,
        /// As it was given.
        text: String,
        /// What is wrong, and what to write.
        problem: String,
    },
}

/// Where a gateway must be.
pub(super) fn outside(address: Ipv4Addr, subnet: impl Into<IpNet>, network: &str) -> ModelError {
    ModelError::OutsideSubnet { address: address.into(), subnet: subnet.into(), network: network.to_owned() }
}
