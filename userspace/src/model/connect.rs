//! Connecting containers to networks, and disconnecting them.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use portlane_common::config::MAX_ENDPOINTS;
use serde::{Deserialize, Serialize};

use super::{
    attach::check_routes,
    desired::exceeds_policies,
    error::{ModelError, outside},
    ipam,
    network::ensure_network,
    publish::{HostView, following},
    spec::is_host_word,
    state::{Container, Endpoint, Network, State, network_key},
    words::mac_asked,
};

/// Interfaces that a container can have.
const MAX_INTERFACES: usize = 64;

/// A place on a network: `portlane network connect`, and each `--network` of `portlane run` and `attach`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectRequest {
    /// The network's name.
    pub network: String,
    /// The next free address if none.
    pub addr4: Option<Ipv4Addr>,
    /// The address with the IPv4 address's host number if none.
    pub addr6: Option<Ipv6Addr>,
    /// Made from the IPv4 address if none.
    #[serde(with = "mac_asked")]
    pub mac: Option<[u8; 6]>,
    /// Names that others on the network know it by, beside its own.
    pub aliases: Vec<String>,
    /// The default route leads to the network with the highest; among equals to the first.
    pub priority: i32,
}

impl ConnectRequest {
    /// A place on this network, of which nothing else is asked.
    pub fn to(network: &str) -> Self {
        Self { network: network.to_owned(), ..Self::default() }
    }
}

/// Connects a running container to one more network.
///
/// # Errors
/// The container does not run, or is on no bridge network; it is on this one already; an unknown network; an address,
/// MAC or alias that is taken or has no meaning; routes of an attached namespace's own; a full table. The state is unchanged
/// then.
pub fn connect(state: &mut State, name: &str, request: &ConnectRequest, view: &HostView<'_>) -> Result<(), ModelError> {
    let mut next = state.clone();
    let mut container = next.container(name)?.clone();
    if !container.is_live() {
        return Err(ModelError::NotRunning { name: container.name });
    }
    if !container.is_bridged() {
        return Err(ModelError::NeedsBridge { network: container.network, what: "further networks" });
    }
    let before = state.gateways(state.container(name)?);
    place(&mut next, &mut container, request, view)?;
    check_routes(&next, &container, view.inside)?;
    let id = container.id.clone();
    next.containers.insert(id.clone(), Arc::new(container));
    follow_gateway(&mut next, &id, numbers(before));
    if exceeds_policies(&next) {
        return Err(ModelError::PoliciesFull);
    }
    *state = next;
    Ok(())
}

/// Disconnects a container from a network. What it publishes leads to another of its networks from then on, or nowhere.
///
/// # Errors
/// [`ModelError::NoSuchContainer`], [`ModelError::NoSuchNetwork`], [`ModelError::NotConnected`].
pub fn disconnect(state: &mut State, name: &str, network: &str) -> Result<(), ModelError> {
    let network = state.network(network)?.name.clone();
    let before = numbers(state.gateways(state.container(name)?));
    let container = state.container_mut(name)?;
    if container.on(&network).is_none() {
        return Err(ModelError::NotConnected { name: container.name.clone(), network });
    }
    container.endpoints.retain(|endpoint| endpoint.network != network);
    let id = container.id.clone();
    follow_gateway(state, &id, before);
    Ok(())
}

fn numbers((four, six): (Option<&Endpoint>, Option<&Endpoint>)) -> [Option<u32>; 2] {
    [four, six].map(|endpoint| endpoint.map(|endpoint| endpoint.number))
}

/// What is published leads where the default route does: conversations that it led elsewhere are over.
fn follow_gateway(state: &mut State, id: &str, before: [Option<u32>; 2]) {
    let Some(container) = state.containers.get(id) else { return };
    if numbers(state.gateways(container)) == before {
        return;
    }
    let mut generation = state.next_generation;
    let container = state.containers.get_mut(id).map(Arc::make_mut);
    for publish in container.into_iter().flat_map(|container| &mut container.publishes) {
        publish.generation = generation;
        generation = following(generation, 1);
    }
    state.next_generation = generation;
}

/// Gives a container, which may not be part of the state yet, a place on a network. The default network is made if it is
/// meant.
pub(super) fn place(
    state: &mut State,
    container: &mut Container,
    request: &ConnectRequest,
    view: &HostView<'_>,
) -> Result<(), ModelError> {
    let key = ensure_network(state, &request.network, view)?;
    let network = state.network(&key)?;
    if container.on(&network.name).is_some() {
        return Err(ModelError::AlreadyConnected { name: container.name.clone(), network: key });
    }
    if let Some(alias) = request.aliases.iter().find(|alias| !is_host_word(alias)) {
        return Err(ModelError::BadAlias { alias: alias.clone() });
    }
    let own = || container.endpoints.iter();
    let numbers = state.endpoints().map(|(_, endpoint)| endpoint).chain(own()).map(|endpoint| endpoint.number);
    let number = ipam::lowest_free(numbers, MAX_ENDPOINTS).ok_or(ModelError::EndpointsFull)?;
    let inside = &view.inside.interfaces;
    let free = |name: &String| !inside.contains(name) && own().all(|endpoint| endpoint.interface != *name);
    let interface = (0..MAX_INTERFACES).map(|n| format!("eth{n}")).find(free).ok_or(ModelError::EndpointsFull)?;
    let addr4 = address4(state, network, request.addr4)?;
    let addr6 = address6(state, network, request.addr6, addr4)?;
    let endpoint = Endpoint {
        number,
        network: network.name.clone(),
        interface,
        addr4,
        addr6,
        mac: mac(state, network, request.mac.unwrap_or_else(|| ipam::mac_of(addr4)))?,
        veth: veth(state, container)?,
        aliases: request.aliases.clone(),
        priority: request.priority,
    };
    if let Some(network) = state.networks.get_mut(network_key(&key))
        && request.addr4.is_none()
    {
        network.last4 = Some(addr4);
    }
    container.endpoints.push(endpoint);
    Ok(())
}

fn address4(state: &State, network: &Network, asked: Option<Ipv4Addr>) -> Result<Ipv4Addr, ModelError> {
    let subnet = network.subnet4;
    let routers: Vec<Ipv4Addr> = [Some(network.gateway4), network.router4].into_iter().flatten().collect();
    match asked {
        Some(address) if !ipam::check4(subnet, address) => Err(outside(address, subnet, &network.name)),
        Some(address) if routers.contains(&address) => Err(taken(address, "the gateway".to_owned())),
        Some(address) => match state.live_on(&network.name).find(|(_, other)| other.addr4 == address) {
            Some((holder, _)) => Err(taken(address, format!("container `{}`", holder.name))),
            None => Ok(address),
        },
        None => {
            let used: BTreeSet<Ipv4Addr> =
                state.live_on(&network.name).map(|(_, other)| other.addr4).chain(routers).collect();
            ipam::next4(subnet, network.range4.unwrap_or(subnet), network.last4, &used)
                .ok_or_else(|| ModelError::SubnetFull { subnet: subnet.into(), network: network.name.clone() })
        }
    }
}

fn address6(
    state: &State,
    network: &Network,
    asked: Option<Ipv6Addr>,
    addr4: Ipv4Addr,
) -> Result<Option<Ipv6Addr>, ModelError> {
    let name = &network.name;
    let (Some(subnet), Some(gateway)) = (network.subnet6, network.gateway6) else {
        return match asked {
            Some(address) => Err(ModelError::NoIpv6 { network: name.clone(), what: format!("the address {address}") }),
            None => Ok(None),
        };
    };
    let routers: Vec<Ipv6Addr> = [Some(gateway), network.router6].into_iter().flatten().collect();
    match asked {
        Some(address) if !ipam::check6(subnet, address) => {
            Err(ModelError::OutsideSubnet { address: address.into(), subnet: subnet.into(), network: name.clone() })
        }
        Some(address) if routers.contains(&address) => Err(taken(address, "the gateway".to_owned())),
        Some(address) => match state.live_on(name).find(|(_, other)| other.addr6 == Some(address)) {
            Some((holder, _)) => Err(taken(address, format!("container `{}`", holder.name))),
            None => Ok(Some(address)),
        },
        None => {
            let used: BTreeSet<Ipv6Addr> =
                state.live_on(name).filter_map(|(_, other)| other.addr6).chain(routers).collect();
            ipam::next6((subnet, network.range6.unwrap_or(subnet)), &used, network.subnet4, addr4)
                .map(Some)
                .ok_or_else(|| ModelError::SubnetFull { subnet: subnet.into(), network: name.clone() })
        }
    }
}

fn taken(address: impl Into<IpAddr>, holder: String) -> ModelError {
    ModelError::AddressTaken { address: address.into(), holder }
}

fn mac(state: &State, network: &Network, mac: [u8; 6]) -> Result<[u8; 6], ModelError> {
    let holder = match state.live_on(&network.name).find(|(_, other)| other.mac == mac) {
        Some((other, _)) => format!("container `{}`", other.name),
        None if mac == network.bridge_mac => "the gateway".to_owned(),
        None => return Ok(mac),
    };
    Err(ModelError::MacTaken { mac, holder })
}

/// `veth` and seven digits of the identifier: the first ones that no other interface is named by.
fn veth(state: &State, container: &Container) -> Result<String, ModelError> {
    let id = &container.id;
    let others = || state.containers.values().flat_map(|other| &other.endpoints).chain(&container.endpoints);
    (0..=id.len() - 7)
        .map(|from| format!("veth{}", &id[from..from + 7]))
        .find(|name| others().all(|other| other.veth != *name))
        .ok_or_else(|| ModelError::BadId { id: id.to_string() })
}
