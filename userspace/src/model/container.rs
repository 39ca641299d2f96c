//! Making containers and taking them away.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use portlane_common::config::MAX_ENDPOINTS;
use serde::{Deserialize, Serialize};

use super::{
    desired::exceeds_policies,
    error::{ModelError, outside},
    ipam,
    network::{check_name, ensure_network},
    publish::{self, HostView},
    spec::{PublishRequest, is_host_word},
    state::{Container, Link, Nat, Network, PortSpec, SHORT_ID, State, Status},
    words::{each_text, hosts_text, mac_asked},
};

/// The longest host name that Linux takes (`HOST_NAME_MAX` is 64, of which DNS allows a label 63).
const MAX_HOSTNAME: usize = 63;

/// `portlane run`, or `portlane attach`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContainerRequest {
    /// 64 hexadecimal digits, drawn by the caller.
    #[serde(skip)]
    pub id: String,
    /// As the user will call it; drawn by the caller if the user chose none.
    pub name: String,
    /// A network's name, `host`, `none`, or `container:<name or id>`.
    #[serde(default = "bridge")]
    pub network: String,
    /// The lowest free address if none.
    pub addr4: Option<Ipv4Addr>,
    /// The address with the IPv4 address's host number if none.
    pub addr6: Option<Ipv6Addr>,
    /// Made from the IPv4 address if none.
    #[serde(with = "mac_asked")]
    pub mac: Option<[u8; 6]>,
    /// The short identifier if none; on the host's network the host's, on another container's that one's.
    pub hostname: Option<String>,
    /// Name servers instead of the host's.
    pub dns: Vec<IpAddr>,
    /// Search domains instead of the host's.
    pub dns_search: Vec<String>,
    /// Lines to add to `/etc/hosts`.
    #[serde(with = "hosts_text")]
    pub extra_hosts: Vec<(String, IpAddr)>,
    /// Containers to know by an alias.
    #[serde(with = "each_text")]
    pub links: Vec<LinkRequest>,
    /// Ports that links open.
    #[serde(with = "each_text")]
    pub exposed: Vec<PortSpec>,
    /// Ports of the host that lead to it.
    #[serde(with = "each_text")]
    pub publishes: Vec<PublishRequest>,
    /// What it runs.
    pub command: Vec<String>,
    /// Whether it goes away when it ends.
    pub auto_remove: bool,
    /// How its UDP sockets are mapped to ports outside.
    pub nat: Nat,
}

fn bridge() -> String {
    "bridge".to_owned()
}

/// One `--link`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRequest {
    /// Name or identifier of the container linked to.
    pub target: String,
    /// What the linking container calls it.
    pub alias: String,
}

/// Adds a container in [`Status::Creating`]; returns its identifier. The default network is made if it is meant.
///
/// # Errors
/// A name, address, MAC or port that is taken or has no meaning; an unknown network; a link to a container that is
/// unknown, does not run, or is on another network; a full table. The state is unchanged then.
pub fn add_container(state: &mut State, request: ContainerRequest, view: &HostView<'_>) -> Result<String, ModelError> {
    check_words(state, &request)?;
    let mut next = state.clone();
    let mut container = match request.network.as_str() {
        "host" | "none" => unbridged(&request, request.network.clone(), own_netns(&request.id))?,
        name => match name.strip_prefix("container:") {
            Some(target) => sharing(state, &request, target)?,
            None => {
                let key = ensure_network(&mut next, name, view.used)?;
                bridged(&next, next.network(&key)?, &request)?
            }
        },
    };
    if container.network == "host" {
        container.netns.clear();
    }
    container.publishes = publish::entries(&next, &container, &request.publishes, view)?;
    next.next_generation = publish::following(next.next_generation, container.publishes.len());
    next.containers.insert(request.id.clone(), container);
    if exceeds_policies(&next) {
        return Err(ModelError::PoliciesFull);
    }
    *state = next;
    Ok(request.id)
}

/// Takes a container away, whatever its status; links to it come to nothing.
///
/// # Errors
/// [`ModelError::NoSuchContainer`], [`ModelError::AmbiguousContainer`].
pub fn remove_container(state: &mut State, name: &str) -> Result<Container, ModelError> {
    let id = state.container(name)?.id.clone();
    state.containers.remove(&id).ok_or(ModelError::NoSuchContainer { name: id })
}

fn check_words(state: &State, request: &ContainerRequest) -> Result<(), ModelError> {
    let ContainerRequest { id, name, .. } = request;
    let digits = id.len() == 64 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !digits || state.containers.values().any(|other| other.short_id() == &id[..SHORT_ID]) {
        return Err(ModelError::BadId { id: id.clone() });
    }
    check_name(name)?;
    if let Some(holder) = state.containers.values().find(|other| other.name == *name) {
        return Err(ModelError::ContainerExists { name: name.clone(), holder: holder.short_id().to_owned() });
    }
    match &request.hostname {
        Some(name) if name.len() > MAX_HOSTNAME || !is_host_word(name) => {
            Err(ModelError::BadHostname { name: name.clone() })
        }
        _ => Ok(()),
    }
}

fn own_netns(id: &str) -> String {
    format!("pl-{}", &id[..SHORT_ID])
}

/// A container on `host`, on `none`, or in another's network namespace.
fn unbridged(request: &ContainerRequest, network: String, netns: String) -> Result<Container, ModelError> {
    let cannot = [
        (request.addr4.is_some() || request.addr6.is_some(), "an address"),
        (request.mac.is_some(), "a MAC address"),
        (!request.links.is_empty(), "links"),
    ];
    if let Some((_, what)) = cannot.into_iter().find(|(asked, _)| *asked) {
        return Err(ModelError::NeedsBridge { network, what });
    }
    Ok(Container {
        id: request.id.clone(),
        name: request.name.clone(),
        endpoint: 0,
        network,
        addr4: Ipv4Addr::UNSPECIFIED,
        addr6: None,
        mac: [0; 6],
        veth: String::new(),
        netns,
        hostname: match &request.hostname {
            Some(hostname) => hostname.clone(),
            None if request.network == "host" => String::new(),
            None => request.id[..SHORT_ID].to_owned(),
        },
        dns: request.dns.clone(),
        dns_search: request.dns_search.clone(),
        extra_hosts: request.extra_hosts.clone(),
        links: Vec::new(),
        exposed: request.exposed.clone(),
        publishes: Vec::new(),
        command: request.command.clone(),
        status: Status::Creating,
        auto_remove: request.auto_remove,
        nat: request.nat,
    })
}

fn sharing(state: &State, request: &ContainerRequest, target: &str) -> Result<Container, ModelError> {
    let target = state.container(target)?;
    if !target.is_live() {
        return Err(ModelError::JoinNotRunning { target: target.name.clone() });
    }
    let network = format!("container:{}", target.id);
    let own_names = request.hostname.is_some()
        || !(request.dns.is_empty() && request.dns_search.is_empty() && request.extra_hosts.is_empty());
    if own_names {
        return Err(ModelError::NeedsBridge { network: request.network.clone(), what: "names of its own" });
    }
    let shared = unbridged(request, network, target.netns.clone())?;
    Ok(Container { hostname: target.hostname.clone(), ..shared })
}

fn bridged(state: &State, network: &Network, request: &ContainerRequest) -> Result<Container, ModelError> {
    let numbers = state.live().map(|container| container.endpoint).collect();
    let endpoint = ipam::lowest_free(&numbers, MAX_ENDPOINTS).ok_or(ModelError::EndpointsFull)?;
    let addr4 = address4(state, network, request.addr4)?;
    let addr6 = address6(state, network, request.addr6, addr4)?;
    let plain = ContainerRequest { addr4: None, addr6: None, mac: None, links: Vec::new(), ..request.clone() };
    Ok(Container {
        endpoint,
        addr4,
        addr6,
        mac: mac(state, network, request.mac.unwrap_or_else(|| ipam::mac_of(addr4)))?,
        veth: veth(state, &request.id)?,
        links: request.links.iter().map(|link| linked(state, network, link)).collect::<Result<_, _>>()?,
        ..unbridged(&plain, network.name.clone(), own_netns(&request.id))?
    })
}

fn address4(state: &State, network: &Network, asked: Option<Ipv4Addr>) -> Result<Ipv4Addr, ModelError> {
    let subnet = network.subnet4;
    match asked {
        Some(address) if !ipam::check4(subnet, address) => Err(outside(address, subnet, &network.name)),
        Some(address) if address == network.gateway4 => Err(taken(address, "the gateway".to_owned())),
        Some(address) => match state.live_on(&network.name).find(|other| other.addr4 == address) {
            Some(holder) => Err(taken(address, format!("container `{}`", holder.name))),
            None => Ok(address),
        },
        None => {
            let used: BTreeSet<Ipv4Addr> = state.live_on(&network.name).map(|other| other.addr4).collect();
            ipam::next4(subnet, network.gateway4, &used)
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
    match asked {
        Some(address) if !ipam::check6(subnet, address) => {
            Err(ModelError::OutsideSubnet { address: address.into(), subnet: subnet.into(), network: name.clone() })
        }
        Some(address) if address == gateway => Err(taken(address, "the gateway".to_owned())),
        Some(address) => match state.live_on(name).find(|other| other.addr6 == Some(address)) {
            Some(holder) => Err(taken(address, format!("container `{}`", holder.name))),
            None => Ok(Some(address)),
        },
        None => {
            let used: BTreeSet<Ipv6Addr> = state.live_on(name).filter_map(|other| other.addr6).collect();
            ipam::next6(subnet, gateway, &used, network.subnet4, addr4)
                .map(Some)
                .ok_or_else(|| ModelError::SubnetFull { subnet: subnet.into(), network: name.clone() })
        }
    }
}

fn taken(address: impl Into<IpAddr>, holder: String) -> ModelError {
    ModelError::AddressTaken { address: address.into(), holder }
}

fn mac(state: &State, network: &Network, mac: [u8; 6]) -> Result<[u8; 6], ModelError> {
    let holder = match state.live_on(&network.name).find(|other| other.mac == mac) {
        Some(other) => format!("container `{}`", other.name),
        None if mac == network.bridge_mac => "the gateway".to_owned(),
        None => return Ok(mac),
    };
    Err(ModelError::MacTaken { mac, holder })
}

/// `veth` and seven digits of the identifier: the first ones that no other container's interface is named by.
fn veth(state: &State, id: &str) -> Result<String, ModelError> {
    (0..=id.len() - 7)
        .map(|from| format!("veth{}", &id[from..from + 7]))
        .find(|name| state.containers.values().all(|other| other.veth != *name))
        .ok_or_else(|| ModelError::BadId { id: id.to_owned() })
}

fn linked(state: &State, network: &Network, link: &LinkRequest) -> Result<Link, ModelError> {
    let target = state.container(&link.target)?;
    if !target.is_live() {
        return Err(ModelError::LinkNotRunning { target: target.name.clone() });
    }
    if target.network != network.name {
        return Err(ModelError::LinkElsewhere {
            target: target.name.clone(),
            theirs: target.network.clone(),
            ours: network.name.clone(),
        });
    }
    Ok(Link { target: target.id.clone(), alias: link.alias.clone() })
}
