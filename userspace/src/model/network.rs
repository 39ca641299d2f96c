//! Making networks and taking them away.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::{
    error::{ModelError, outside},
    ipam,
    publish::{self, HostView},
    settings as configured,
    state::{DEFAULT_NETWORK, DefaultNetwork, Network, State, network_key},
    tuning::{LinkSettings, MOST_MTU},
};

/// The least MTU for IPv4 (RFC 791), in bytes.
pub const LEAST_MTU: u32 = 68;
/// The least MTU for IPv6 (RFC 8200 §5), in bytes.
pub const LEAST_MTU6: u32 = 1280;

/// `portlane network create`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkRequest {
    /// As the user will call it.
    pub name: String,
    /// A free pool if none.
    pub subnet4: Option<Ipv4Net>,
    /// The subnet's first host if none.
    pub gateway4: Option<Ipv4Addr>,
    /// Whether containers get IPv6 addresses; also true if `subnet6` is given.
    pub ipv6: bool,
    /// Derived from the host's seed and the name if none.
    pub subnet6: Option<Ipv6Net>,
    /// The address with the IPv4 gateway's host number if none.
    pub gateway6: Option<Ipv6Addr>,
    /// Whether containers reach each other without a link.
    pub icc: bool,
    /// Whether what leaves the host takes the host's address.
    pub masquerade: bool,
    /// Whether the network reaches nothing outside.
    pub internal: bool,
    /// Bytes; the uplink's if none.
    pub mtu: Option<u32>,
    /// The part of the subnet that IPv4 addresses are given out of.
    pub range4: Option<Ipv4Net>,
    /// The part of the subnet that IPv6 addresses are given out of.
    pub range6: Option<Ipv6Net>,
    /// Where containers' default route leads instead of the bridge.
    pub router4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub router6: Option<Ipv6Addr>,
    /// The host address of ports that are published without one.
    pub host_binding: Option<IpAddr>,
    /// What masqueraded packets leave with.
    pub host4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub host6: Option<Ipv6Addr>,
    /// How its links carry packets.
    pub links: LinkSettings,
    /// The user's own notes.
    pub labels: BTreeMap<String, String>,
}

/// Without a name, which none can do without.
impl Default for NetworkRequest {
    fn default() -> Self {
        Self {
            name: String::new(),
            subnet4: None,
            gateway4: None,
            ipv6: false,
            subnet6: None,
            gateway6: None,
            icc: true,
            masquerade: true,
            internal: false,
            mtu: None,
            range4: None,
            range6: None,
            router4: None,
            router6: None,
            host_binding: None,
            host4: None,
            host6: None,
            links: LinkSettings::default(),
            labels: BTreeMap::new(),
        }
    }
}

impl NetworkRequest {
    /// A network for which nothing but its name was asked.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// Makes a network whose subnet overlaps no other network's, and takes over none that the host uses.
///
/// # Errors
/// A name that is taken, reserved or malformed; a subnet that overlaps, is too small, or is not left; a gateway
/// outside it; an MTU out of range. The state is unchanged then.
pub fn add_network(state: &mut State, request: NetworkRequest, view: &HostView<'_>) -> Result<(), ModelError> {
    let name = &request.name;
    if [DEFAULT_NETWORK, "bridge", "default", "host", "none", "container"].contains(&name.as_str()) {
        return Err(ModelError::ReservedName { name: name.clone() });
    }
    check_name(name)?;
    let bridge = ipam::bridge_name(name);
    insert(state, request, bridge, view)
}

/// The name under which the network is kept; the default network is made if it is meant and not there.
///
/// # Errors
/// [`ModelError::NoSuchNetwork`]; for the default network, as [`add_network`].
pub fn ensure_network(state: &mut State, name: &str, view: &HostView<'_>) -> Result<String, ModelError> {
    let key = network_key(name);
    if key == DEFAULT_NETWORK && !state.networks.contains_key(key) {
        let settings = &state.default_network;
        let request = NetworkRequest {
            subnet4: settings.bip.or(settings.range4).map(|net| net.trunc()),
            gateway4: settings.bip.map(|bip| bip.addr()).filter(|address| Some(*address) != network_of(settings.bip)),
            ipv6: settings.ipv6,
            subnet6: settings.subnet6.filter(|_| settings.ipv6),
            icc: settings.icc,
            masquerade: settings.masquerade,
            mtu: settings.mtu,
            range4: settings.range4,
            router4: settings.router4,
            router6: settings.router6.filter(|_| settings.ipv6),
            host_binding: settings.host_binding,
            links: settings.links,
            ..NetworkRequest::named(key)
        };
        let made_with = Some(settings.clone());
        insert(state, request, DEFAULT_NETWORK.to_owned(), view)?;
        if let Some(network) = state.networks.get_mut(key) {
            network.made_with = made_with;
        }
    }
    state.network(name).map(|network| network.name.clone())
}

/// Takes over other settings for the default network: at once what concerns packets, the rest when its last container is
/// gone and it is made anew.
pub fn set_default(state: &mut State, settings: DefaultNetwork) {
    let differs = state.default_network != settings;
    state.default_network = settings;
    if state.live_on(DEFAULT_NETWORK).next().is_none() {
        if differs || !configured::waiting(state).is_empty() {
            state.networks.remove(DEFAULT_NETWORK);
        }
    } else if let Some(network) = state.networks.get_mut(DEFAULT_NETWORK) {
        let settings = &state.default_network;
        network.icc = settings.icc;
        network.masquerade = settings.masquerade;
        network.host_binding = settings.host_binding;
    }
}

/// Takes a network away that no container uses.
///
/// # Errors
/// [`ModelError::NoSuchNetwork`], [`ModelError::NetworkInUse`].
pub fn remove_network(state: &mut State, name: &str) -> Result<Network, ModelError> {
    let key = state.network(name)?.name.clone();
    let users: Vec<String> = state.live_on(&key).map(|(container, _)| container.name.clone()).collect();
    if !users.is_empty() {
        return Err(ModelError::NetworkInUse { name: key, users });
    }
    state.networks.remove(&key).ok_or(ModelError::NoSuchNetwork { name: key })
}

/// Takes every created network away that no container uses; returns their names.
pub fn prune(state: &mut State) -> Vec<String> {
    let unused = |name: &&String| *name != DEFAULT_NETWORK && state.live_on(name).next().is_none();
    let names: Vec<String> = state.networks.keys().filter(unused).cloned().collect();
    state.networks.retain(|name, _| !names.contains(name));
    names
}

/// What networks do with addresses that the host does not have, and what to do about it: a sentence each.
pub fn absent_addresses(state: &State, addresses: &[(IpAddr, u32)]) -> Vec<String> {
    let uses = state.networks.values().flat_map(|network| {
        let masks = [network.host4.map(IpAddr::from), network.host6.map(IpAddr::from)];
        let masks = masks.into_iter().flatten().map(move |address| (network, "masquerades packets as", address));
        masks.chain(network.host_binding.map(|address| (network, "publishes ports on", address)))
    });
    let absent = uses.filter(|(.., address)| !publish::is_hosts(*address, addresses));
    let sentence = |(network, does, address): (&Network, _, _)| {
        let name = &network.name;
        format!(
            "network `{name}` {does} {address}, which this host does not have: give it to an interface, or name another"
        )
    };
    absent.map(sentence).collect()
}

/// Names that containers and networks can have; Docker's rule.
pub(super) fn check_name(name: &str) -> Result<(), ModelError> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) && name.bytes().all(inner) {
        Ok(())
    } else {
        Err(ModelError::BadName { name: name.to_owned() })
    }
}

fn network_of(net: Option<Ipv4Net>) -> Option<Ipv4Addr> {
    net.map(|net| net.network())
}

fn insert(state: &mut State, request: NetworkRequest, bridge: String, view: &HostView<'_>) -> Result<(), ModelError> {
    let (name, used) = (&request.name, view.used);
    // Two names whose bridges would have one name are one in four thousand million; the second one is told so.
    if state.networks.values().any(|network| network.name == *name || network.bridge == bridge) {
        return Err(ModelError::NetworkExists { name: name.clone() });
    }
    let taken: Vec<IpNet> = used.iter().copied().chain(state.networks.values().flat_map(subnets)).collect();
    let subnet4 = match request.subnet4 {
        Some(subnet) => {
            checked_subnet(state, subnet.trunc().into(), used, ipam::check_subnet4(subnet)).map(|()| subnet.trunc())?
        }
        None => ipam::free_subnet4(&state.pools, &taken)?,
    };
    let gateway4 = request.gateway4.unwrap_or_else(|| Ipv4Addr::from_bits(subnet4.network().to_bits() + 1));
    if !ipam::check4(subnet4, gateway4) {
        return Err(outside(gateway4, subnet4, name));
    }
    let subnet6 = match request.subnet6 {
        Some(subnet) => checked_subnet(state, subnet.trunc().into(), used, ipam::check_subnet6(subnet))
            .map(|()| Some(subnet.trunc()))?,
        None => request.ipv6.then(|| ipam::free_subnet6(name, state.seed, &taken)),
    };
    let gateway6 = match (subnet6, request.gateway6) {
        (Some(subnet), None) => Some(gateway_of(subnet, subnet4, gateway4)),
        (Some(subnet), Some(gateway)) if !ipam::check6(subnet, gateway) => {
            let (address, subnet) = (gateway.into(), subnet.into());
            return Err(ModelError::OutsideSubnet { address, subnet, network: name.clone() });
        }
        (None, Some(gateway)) => {
            return Err(ModelError::NoIpv6 { network: name.clone(), what: format!("the gateway {gateway}") });
        }
        (_, gateway) => gateway,
    };
    let routers: [Option<IpAddr>; 2] = [request.router4.map(Into::into), request.router6.map(Into::into)];
    for (router, subnet) in routers.into_iter().zip([Some(IpNet::V4(subnet4)), subnet6.map(IpNet::V6)]) {
        match (router, subnet) {
            (Some(router), Some(subnet)) if !subnet.contains(&router) => {
                return Err(ModelError::OutsideSubnet { address: router, subnet, network: name.clone() });
            }
            (Some(router), None) => {
                return Err(ModelError::NoIpv6 { network: name.clone(), what: format!("the gateway {router}") });
            }
            _ => {}
        }
    }
    let ranges: [Option<IpNet>; 2] = [request.range4.map(Into::into), request.range6.map(Into::into)];
    for (range, subnet) in ranges.into_iter().zip([Some(IpNet::V4(subnet4)), subnet6.map(IpNet::V6)]) {
        if let Some(range) = range.filter(|range| !subnet.is_some_and(|subnet| subnet.contains(range))) {
            return Err(ModelError::RangeOutside { range, subnet, network: name.clone() });
        }
    }
    let least = if subnet6.is_some() { LEAST_MTU6 } else { LEAST_MTU };
    let mtu = request.mtu.unwrap_or_else(|| view.mtu.max(least));
    if !(least..=MOST_MTU).contains(&mtu) {
        return Err(ModelError::BadMtu { mtu, least });
    }
    if let Some(link_mtu) = request.links.mtu.filter(|link_mtu| !(mtu..=MOST_MTU).contains(link_mtu)) {
        return Err(ModelError::BadLinkMtu { link_mtu, mtu });
    }
    let numbers = state.networks.values().map(|network| network.id);
    let network = Network {
        id: ipam::lowest_free(numbers, u32::MAX).unwrap_or(u32::MAX),
        name: name.clone(),
        bridge_mac: ipam::bridge_mac(name),
        bridge,
        subnet4,
        gateway4,
        subnet6,
        gateway6,
        icc: request.icc,
        masquerade: request.masquerade,
        internal: request.internal,
        mtu,
        range4: request.range4.map(|range| range.trunc()),
        range6: request.range6.map(|range| range.trunc()),
        last4: None,
        router4: request.router4,
        router6: request.router6,
        host_binding: request.host_binding,
        host4: request.host4,
        host6: request.host6,
        links: request.links,
        labels: request.labels,
        made_with: None,
    };
    state.networks.insert(request.name, network);
    Ok(())
}

/// The IPv6 address with the host number of the IPv4 gateway, or the first host where that number does not fit.
fn gateway_of(subnet: Ipv6Net, subnet4: Ipv4Net, gateway4: Ipv4Addr) -> Ipv6Addr {
    let address = ipam::same_host6(subnet, subnet4, gateway4);
    if ipam::check6(subnet, address) { address } else { Ipv6Addr::from_bits(subnet.network().to_bits() + 1) }
}

fn subnets(network: &Network) -> impl Iterator<Item = IpNet> {
    [Some(network.subnet4.into()), network.subnet6.map(Into::into)].into_iter().flatten()
}

/// A subnet that the user named may lie inside one that the host has a route to, but not swallow one.
fn checked_subnet(state: &State, subnet: IpNet, used: &[IpNet], usable: bool) -> Result<(), ModelError> {
    if !usable {
        return Err(ModelError::BadSubnet { subnet });
    }
    let networks =
        state.networks.values().flat_map(|n| subnets(n).map(move |net| (net, format!("network `{}`", n.name))));
    let overlapping = networks.into_iter().find(|(other, _)| ipam::overlaps(subnet, *other));
    let swallowed = used.iter().find(|other| other.prefix_len() != 0 && subnet.contains(*other));
    match overlapping.or(swallowed.map(|other| (*other, "the host".to_owned()))) {
        Some((other, holder)) => Err(ModelError::SubnetOverlaps { subnet, other, holder }),
        None => Ok(()),
    }
}
