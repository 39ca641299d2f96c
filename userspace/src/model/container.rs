//! Making containers and taking them away.

use std::{
    mem,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    attach::{Foreign, check_routes},
    connect::{ConnectRequest, place},
    desired::exceeds_policies,
    error::ModelError,
    network::check_name,
    publish::{self, HostView},
    spec::{PublishRequest, is_host_word},
    state::{BRIDGED, Container, DEFAULT_NETWORK, Link, Nat, PortSpec, SHORT_ID, State, Status},
    words::{each_text, hosts_text},
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
    /// Its networks, the first one first, or `host`, `none`, or `container:<name or id>` alone; the default network if none.
    pub networks: Vec<ConnectRequest>,
    /// The namespace that it is attached to; one of its own if none.
    #[serde(skip)]
    pub namespace: Option<Foreign>,
    /// The short identifier if none; on the host's network the host's, on another container's that one's.
    pub hostname: Option<String>,
    /// Name servers instead of the host's.
    pub dns: Vec<IpAddr>,
    /// Search domains instead of the host's.
    pub dns_search: Vec<String>,
    /// Options of `/etc/resolv.conf` instead of the host's.
    pub dns_options: Vec<String>,
    /// Lines to add to `/etc/hosts`; without an address, with that at which the container finds the host.
    #[serde(with = "hosts_text")]
    pub extra_hosts: Vec<(String, Option<IpAddr>)>,
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

impl ContainerRequest {
    /// The networks that it asks for; the default network if those are none.
    pub fn networks(&self) -> Vec<ConnectRequest> {
        if self.networks.is_empty() { vec![ConnectRequest::to(DEFAULT_NETWORK)] } else { self.networks.clone() }
    }

    /// Names or identifiers of containers that it depends on: one whose namespace it shares, and those that it links to.
    pub fn others(&self) -> Vec<&str> {
        let shared = self.networks.iter().filter_map(|first| first.network.strip_prefix("container:"));
        shared.chain(self.links.iter().map(|link| link.target.as_str())).collect()
    }
}

/// One `--link`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRequest {
    /// Name or identifier of the container linked to.
    pub target: String,
    /// What the linking container calls it.
    pub alias: String,
}

/// Adds a container in [`Status::Creating`], or one that is [`Status::Attached`]; returns its identifier. The default network
/// is made if it is meant.
///
/// # Errors
/// A name, address, MAC or port that is taken or has no meaning; an unknown network; a link to a container that is
/// unknown, does not run, or is on another network; routes of an attached namespace's own; a full table. The state is
/// unchanged then.
pub fn add_container(state: &mut State, request: ContainerRequest, view: &HostView<'_>) -> Result<String, ModelError> {
    check_words(state, &request)?;
    // All but the containers, of which there may be hundreds: they change hands, and back where it comes to nothing.
    let mut next = State { containers: mem::take(&mut state.containers), ..state.clone() };
    let added = add(&mut next, &request, view);
    match added {
        Ok(()) => *state = next,
        Err(_) => state.containers = next.containers,
    }
    added.map(|()| request.id)
}

/// Where that fails, what is not a container may be another.
fn add(next: &mut State, request: &ContainerRequest, view: &HostView<'_>) -> Result<(), ModelError> {
    let networks = request.networks();
    let mut container = match networks.first().map(|first| first.network.as_str()) {
        Some(word @ ("host" | "none")) => unbridged(request, word)?,
        Some(word) if word.starts_with("container:") => sharing(next, request, word)?,
        _ => bridged(next, request, &networks, view)?,
    };
    container.extra_hosts = extra_hosts(next, &container, &request.extra_hosts)?;
    container.publishes = publish::entries(next, &container, &request.publishes, view)?;
    next.next_generation = publish::following(next.next_generation, container.publishes.len());
    next.containers.insert(Arc::clone(&container.id), Arc::new(container));
    if exceeds_policies(next) {
        next.containers.remove(request.id.as_str());
        return Err(ModelError::PoliciesFull);
    }
    Ok(())
}

/// Takes a container away, whatever its status; links to it come to nothing.
///
/// # Errors
/// [`ModelError::NoSuchContainer`], [`ModelError::AmbiguousContainer`].
pub fn remove_container(state: &mut State, name: &str) -> Result<Arc<Container>, ModelError> {
    let id = Arc::clone(&state.container(name)?.id);
    state.containers.remove(&id).ok_or_else(|| ModelError::NoSuchContainer { name: id.to_string() })
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

/// A container without a place on any network.
fn blank(request: &ContainerRequest, network: String, netns: String) -> Container {
    Container {
        id: request.id.as_str().into(),
        name: request.name.clone(),
        network,
        endpoints: Vec::new(),
        netns,
        foreign: None,
        hostname: request.hostname.clone().unwrap_or_else(|| request.id[..SHORT_ID].to_owned()),
        dns: request.dns.clone(),
        dns_search: request.dns_search.clone(),
        dns_options: request.dns_options.clone(),
        extra_hosts: Vec::new(),
        links: Vec::new(),
        exposed: request.exposed.clone(),
        publishes: Vec::new(),
        command: request.command.clone(),
        status: Status::Creating,
        auto_remove: request.auto_remove,
        nat: request.nat,
    }
}

/// Refuses what only a container on bridge networks can have; `network` is what the request has instead of one.
fn check_unbridged(request: &ContainerRequest, network: &str) -> Result<(), ModelError> {
    let any = |asks: fn(&ConnectRequest) -> bool| request.networks.iter().any(asks);
    let cannot = [
        (request.namespace.is_some(), "a namespace that somebody else made"),
        (any(|at| at.addr4.is_some() || at.addr6.is_some()), "an address"),
        (any(|at| at.mac.is_some()), "a MAC address"),
        (!request.links.is_empty(), "links"),
        (any(|at| !at.aliases.is_empty()), "aliases"),
        (request.networks.len() > 1, "further networks"),
    ];
    match cannot.into_iter().find(|(asked, _)| *asked) {
        Some((_, what)) => Err(ModelError::NeedsBridge { network: network.to_owned(), what }),
        None => Ok(()),
    }
}

/// A container on `host` or `none`.
fn unbridged(request: &ContainerRequest, network: &str) -> Result<Container, ModelError> {
    check_unbridged(request, network)?;
    let mut container = blank(request, network.to_owned(), own_netns(&request.id));
    if network == "host" {
        container.netns.clear();
        container.hostname = request.hostname.clone().unwrap_or_default();
    }
    Ok(container)
}

/// A container in another's network namespace, which is `container:` and its name or identifier.
fn sharing(state: &State, request: &ContainerRequest, word: &str) -> Result<Container, ModelError> {
    let target = state.container(word.strip_prefix("container:").unwrap_or(word))?;
    if !target.is_live() {
        return Err(ModelError::JoinNotRunning { target: target.name.clone() });
    }
    let own_names = request.hostname.is_some()
        || !(request.dns.is_empty() && request.dns_search.is_empty() && request.extra_hosts.is_empty());
    if own_names {
        return Err(ModelError::NeedsBridge { network: word.to_owned(), what: "names of its own" });
    }
    check_unbridged(request, word)?;
    let shared = blank(request, format!("container:{}", target.id), target.netns.clone());
    Ok(Container { hostname: target.hostname.clone(), foreign: target.foreign.clone(), ..shared })
}

fn bridged(
    state: &mut State,
    request: &ContainerRequest,
    networks: &[ConnectRequest],
    view: &HostView<'_>,
) -> Result<Container, ModelError> {
    let mut container = match &request.namespace {
        Some(namespace) => attached(request, namespace),
        None => blank(request, BRIDGED.to_owned(), own_netns(&request.id)),
    };
    for asked in networks {
        place(state, &mut container, asked, view)?;
    }
    check_routes(state, &container, view.inside)?;
    container.links = request.links.iter().map(|link| linked(state, &container, link)).collect::<Result<_, _>>()?;
    Ok(container)
}

/// Docker's `host-gateway` is the gateway of the container's first network, in each IP version that it has.
fn extra_hosts(
    state: &State,
    container: &Container,
    asked: &[(String, Option<IpAddr>)],
) -> Result<Vec<(String, IpAddr)>, ModelError> {
    let network = container.endpoints.first().and_then(|endpoint| state.networks.get(&endpoint.network));
    let gateways: Vec<IpAddr> = match network {
        Some(network) => {
            let v6 = network.gateway6.filter(|_| container.has_ipv6());
            [Some(network.gateway4.into()), v6.map(IpAddr::from)].into_iter().flatten().collect()
        }
        None if container.network == "host" => vec![Ipv4Addr::LOCALHOST.into()],
        None => Vec::new(),
    };
    let mut lines = Vec::new();
    for (name, address) in asked {
        match address {
            Some(address) => lines.push((name.clone(), *address)),
            None if gateways.is_empty() => {
                let (network, what) = (container.network.clone(), "a way to the host");
                return Err(ModelError::NeedsBridge { network, what });
            }
            None => lines.extend(gateways.iter().map(|gateway| (name.clone(), *gateway))),
        }
    }
    Ok(lines)
}

/// Nothing in it is portlane's but the interfaces, so that it has no host name of its own either.
fn attached(request: &ContainerRequest, namespace: &Foreign) -> Container {
    let plain = blank(request, BRIDGED.to_owned(), namespace.netns.clone());
    let foreign = Some(namespace.identity.clone());
    Container { foreign, hostname: String::new(), status: Status::Attached, ..plain }
}

fn linked(state: &State, container: &Container, link: &LinkRequest) -> Result<Link, ModelError> {
    let target = state.container(&link.target)?;
    if !target.is_live() {
        return Err(ModelError::LinkNotRunning { target: target.name.clone() });
    }
    if !container.endpoints.iter().any(|endpoint| target.on(&endpoint.network).is_some()) {
        return Err(ModelError::LinkElsewhere {
            target: target.name.clone(),
            theirs: target.networks(),
            ours: container.networks(),
        });
    }
    Ok(Link { target: target.id.to_string(), alias: link.alias.clone() })
}
