//! Publishing ports of a running container, and taking that back.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use portlane_common::{
    config::{MAX_PUBLISHES, MAX_SOURCES},
    family::Addr6,
    family::Address,
    span::Span,
};

use super::{
    attach::Inside,
    error::ModelError,
    hash::mix,
    ipam,
    spec::PublishRequest,
    state::{Before, Container, DEFAULT_MTU, PortSpec, Ports, Proto, Publish, Sources, State},
};

/// What a change must know of the host.
#[derive(Clone, Copy)]
pub struct HostView<'a> {
    /// Subnets that the host has addresses or routes in, those of portlane's own bridges left out.
    pub used: &'a [IpNet],
    /// Who on the host listens on a port in a way that a publish on this address (none: on all) would take it over.
    pub listening: &'a dyn Fn(Proto, Option<IpAddr>, u16) -> Option<String>,
    /// Where dynamic ports come from: the host's `ip_local_port_range`.
    pub ephemeral: Span,
    /// What is never taken from there: the host's `ip_local_reserved_ports`.
    pub reserved: &'a [Span],
    /// Which of the free dynamic ports is taken: any number, another one each time.
    pub seed: u64,
    /// MTU of the way out, in bytes: that of networks for which none was asked.
    pub mtu: u32,
    /// What is in the namespace that a container is attached to.
    pub inside: &'a Inside,
    /// The host's addresses and the interfaces that hold them; none if nobody asked for one.
    pub addresses: Option<&'a [(IpAddr, u32)]>,
}

/// What is in a namespace that nobody looked into.
const NOTHING_INSIDE: &Inside = &Inside { interfaces: BTreeSet::new(), routes: Vec::new(), leads: [false; 2] };

/// A host with nothing on it, and Linux's own range of dynamic ports.
impl Default for HostView<'_> {
    fn default() -> Self {
        Self {
            used: &[],
            listening: &|_, _, _| None,
            ephemeral: Span { first: 32_768, last: 60_999 },
            reserved: &[],
            seed: 0,
            mtu: DEFAULT_MTU,
            inside: NOTHING_INSIDE,
            addresses: None,
        }
    }
}

impl fmt::Debug for HostView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostView").field("used", &self.used).field("ephemeral", &self.ephemeral).finish_non_exhaustive()
    }
}

/// Publishes ports of a running container; returns the entries, with the dynamic ports that were chosen.
///
/// # Errors
/// The container does not run or is on no bridge network; a port is published or listened on already, or none is
/// left; an address has no meaning here; the table is full. The state is unchanged then.
pub fn publish(
    state: &mut State,
    name: &str,
    requests: &[PublishRequest],
    view: &HostView<'_>,
) -> Result<Vec<Publish>, ModelError> {
    let container = state.container(name)?;
    if !container.is_live() {
        return Err(ModelError::NotRunning { name: container.name.clone() });
    }
    let added = entries(state, container, requests, view)?;
    let id = container.id.clone();
    state.next_generation = following(state.next_generation, added.len());
    state.container_mut(&id)?.publishes.extend(added.iter().cloned());
    if super::desired::exceeds_policies(state) {
        let publishes = &mut state.container_mut(&id)?.publishes;
        publishes.truncate(publishes.len() - added.len());
        return Err(ModelError::PoliciesFull);
    }
    Ok(added)
}

/// Requests for a free host port for each exposed port that none of the others publishes: `--publish-all`. A range stays
/// one, where nothing of it is published already.
pub fn all_exposed(exposed: &[PortSpec], others: &[PublishRequest]) -> Vec<PublishRequest> {
    let mut added: Vec<PublishRequest> = Vec::new();
    for PortSpec { proto, span } in exposed.iter().copied() {
        let mut run: Option<Span> = None;
        let mut runs = Vec::new();
        for port in span.first..=span.last {
            let mut known = others.iter().chain(&added).filter(|request| request.proto == proto);
            run = match (known.any(|request| request.container.contains(port)), run) {
                (false, None) => Some(Span { first: port, last: port }),
                (false, Some(run)) => Some(Span { last: port, ..run }),
                (true, run) => {
                    runs.extend(run);
                    None
                }
            };
        }
        let request = |container| PublishRequest { proto, host_addr: None, host: None, container, sources: Vec::new() };
        added.extend(runs.into_iter().chain(run).map(request));
    }
    added
}

/// Takes publish entries back: those that a request of the same words would make. A request for a container port
/// alone, with no host port or address, means all entries that lead there; one without sources, entries of any.
///
/// # Errors
/// [`ModelError::NoSuchContainer`], [`ModelError::NotPublished`]; the state is unchanged then.
pub fn unpublish(state: &mut State, name: &str, requests: &[PublishRequest]) -> Result<Vec<Publish>, ModelError> {
    let container = state.container_mut(name)?;
    let matches = |publish: &Publish, request: &PublishRequest| {
        publish.proto == request.proto
            && publish.container_span() == request.container
            && (request.sources.is_empty() || publish.sources == request.sources)
            && match request.host {
                Some(host) => publish.host == host && publish.host_addr == request.host_addr,
                None => request.host_addr.is_none() || publish.host_addr == request.host_addr,
            }
    };
    for request in requests {
        if !container.publishes.iter().any(|publish| matches(publish, request)) {
            return Err(ModelError::NotPublished { name: container.name.clone(), what: request.to_string() });
        }
    }
    let (gone, kept) = std::mem::take(&mut container.publishes)
        .into_iter()
        .partition(|p| requests.iter().any(|request| matches(p, request)));
    container.publishes = kept;
    Ok(gone)
}

/// `count` ports in a row of which none is taken; `seed` decides where the search begins.
pub fn choose(range: Span, taken: &dyn Fn(u16) -> bool, count: u32, seed: u64) -> Option<Span> {
    let starts = range.ports().checked_sub(count)? + 1;
    let port = |offset: u32| (u32::from(range.first) + offset) as u16;
    let origin = (mix(seed) % u64::from(starts)) as u32;
    for (mut start, end) in [(origin, starts), (0, origin)] {
        while start < end && count > 0 {
            match (start..start + count).rev().find(|offset| taken(port(*offset))) {
                None => return Some(Span { first: port(start), last: port(start + count - 1) }),
                Some(offset) => start = offset + 1,
            }
        }
    }
    None
}

/// All entries that could be in the way of one of the requests for host ports: among thousands, looked for once.
fn near<'a>(state: &'a State, requests: &[PublishRequest]) -> Vec<(&'a Container, &'a Publish)> {
    let asked = requests.iter().filter_map(|request| request.host);
    let hull = asked.reduce(|a, b| Span { first: a.first.min(b.first), last: a.last.max(b.last) });
    let within = |hull| state.publishes().filter(move |(_, publish)| publish.host.overlaps(hull));
    hull.map(within).into_iter().flatten().collect()
}

/// Whether ports can be published on an address of the host: loopback and unspecified ones it always has.
pub(super) fn is_hosts(address: IpAddr, addresses: &[(IpAddr, u32)]) -> bool {
    address.is_unspecified() || address.is_loopback() || addresses.iter().any(|(other, _)| *other == address)
}

/// Whether the requests are about single addresses of the host, by themselves or by a network's binding.
pub fn are_bound(state: &State, requests: &[PublishRequest]) -> bool {
    let bindings = state.networks.values().map(|network| network.host_binding);
    let by_network = bindings.chain([state.default_network.host_binding]).any(|binding| binding.is_some());
    requests.iter().any(|request| request.host_addr.is_some() || by_network)
}

/// The entries that the requests make for a container, which may not be part of the state yet.
pub(super) fn entries(
    state: &State,
    container: &Container,
    requests: &[PublishRequest],
    view: &HostView<'_>,
) -> Result<Vec<Publish>, ModelError> {
    if !requests.is_empty() && !container.is_bridged() {
        let network = container.network.clone();
        return Err(ModelError::NeedsBridge { network, what: "published ports" });
    }
    let mut added: Vec<Publish> = Vec::with_capacity(requests.len());
    let near = near(state, requests);
    let mut numbers = ipam::all_free(state.publishes().map(|(_, publish)| publish.id), MAX_PUBLISHES);
    for (index, request) in requests.iter().enumerate() {
        let host_addr = request.host_addr.or_else(|| binding(state, container));
        let request = &PublishRequest { host_addr, ..request.clone() };
        check_host_address(container, host_addr, view)?;
        let host = host_ports(state, container, (&near, &added), request, index, view)?;
        added.push(Publish {
            id: numbers.next().ok_or(ModelError::PublishesFull)?,
            generation: following(state.next_generation, index),
            proto: request.proto,
            host_addr,
            host,
            container_first: request.container.first,
            sources: request.sources.clone(),
        });
    }
    check_sources(state, &added)?;
    Ok(added)
}

/// The table of each family holds so many.
fn check_sources(state: &State, added: &[Publish]) -> Result<(), ModelError> {
    if added.iter().all(|publish| publish.sources.is_empty()) {
        return Ok(());
    }
    let all = || state.publishes().map(|(_, publish)| publish).chain(added).flat_map(|publish| &publish.sources);
    let four = all().filter(|source| matches!(source, IpNet::V4(_))).count();
    if four.max(all().count() - four) > MAX_SOURCES as usize { Err(ModelError::SourcesFull) } else { Ok(()) }
}

/// The host address that the container's network publishes on.
fn binding(state: &State, container: &Container) -> Option<IpAddr> {
    let endpoint = state.gateways(container).0?;
    state.networks.get(&endpoint.network)?.host_binding
}

/// The generation `count` entries after `generation`: never 0, which means no entry.
pub(super) fn following(generation: u32, count: usize) -> u32 {
    (0..count).fold(generation, |generation, _| generation.checked_add(1).unwrap_or(1))
}

fn check_host_address(container: &Container, address: Option<IpAddr>, view: &HostView<'_>) -> Result<(), ModelError> {
    let absent = |address| view.addresses.is_some_and(|addresses| !is_hosts(address, addresses));
    match address {
        Some(address) if absent(address) => Err(ModelError::NotHostAddress { address }),
        Some(address) if address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) => {
            Err(ModelError::BadHostAddress { address })
        }
        Some(IpAddr::V6(six)) if Addr6::from(six).is_link_local() => {
            Err(ModelError::BadHostAddress { address: six.into() })
        }
        Some(IpAddr::V6(six)) if !container.has_ipv6() => {
            Err(ModelError::NoIpv6 { network: container.networks(), what: format!("the port published on {six}") })
        }
        _ => Ok(()),
    }
}

fn host_ports(
    state: &State,
    container: &Container,
    (near, added): (&[(&Container, &Publish)], &[Publish]),
    request: &PublishRequest,
    index: usize,
    view: &HostView<'_>,
) -> Result<Span, ModelError> {
    let PublishRequest { proto, host_addr, .. } = *request;
    let count = request.container.ports();
    match request.host {
        Some(host) if host.ports() == count => {
            // Entries on a specific address and on every address are not in each other's way: the specific one wins.
            let theirs = near.iter().find(|(_, publish)| collides(publish, proto, host_addr, host));
            let theirs = theirs.map(|(holder, held)| (&holder.name, *held));
            let own = added.iter().find(|p| collides(p, proto, host_addr, host)).map(|held| (&container.name, held));
            if let Some((holder, held)) = theirs.or(own) {
                return Err(ModelError::PortPublished {
                    held: common(held.host, host),
                    proto,
                    holder: holder.clone(),
                    name: container.name.clone(),
                    wanted: host,
                });
            }
            let listened = |port| (view.listening)(proto, host_addr, port).map(|holder| (port, holder));
            match (host.first..=host.last).find_map(listened) {
                Some((port, holder)) => Err(ModelError::PortListened { port, proto, holder }),
                None => Ok(host),
            }
        }
        asked => {
            // A dynamic port is free on every address: whoever reads its number off need not know the address too.
            let published: Vec<Span> = state
                .publishes()
                .map(|(_, publish)| publish)
                .chain(added)
                .filter(|publish| publish.proto == proto)
                .map(|publish| publish.host)
                .collect();
            let taken = |port: u16| {
                published.iter().any(|span| span.contains(port)) || (view.listening)(proto, host_addr, port).is_some()
            };
            let reserved = |port: u16| view.reserved.iter().any(|span| span.contains(port));
            let range = asked.unwrap_or(view.ephemeral);
            let found = match asked {
                Some(range) => (range.first..=range.last).find(|p| !taken(*p)).map(|p| Span { first: p, last: p }),
                None => {
                    choose(range, &|port| taken(port) || reserved(port), count, view.seed.wrapping_add(index as u64))
                }
            };
            found.ok_or(ModelError::NoFreePort { count, proto, range })
        }
    }
}

fn collides(publish: &Publish, proto: Proto, host_addr: Option<IpAddr>, host: Span) -> bool {
    publish.proto == proto
        && publish.host.overlaps(host)
        && scope(publish.host_addr).iter().flatten().any(|one| scope(host_addr).iter().flatten().any(|two| one == two))
}

/// The addresses under which an entry is filed.
fn scope(host_addr: Option<IpAddr>) -> [Option<IpAddr>; 2] {
    match host_addr {
        None => [Some(Ipv4Addr::UNSPECIFIED.into()), Some(Ipv6Addr::UNSPECIFIED.into())],
        Some(address) => [Some(address), None],
    }
}

fn common(one: Span, other: Span) -> Span {
    Span { first: one.first.max(other.first), last: one.last.min(other.last) }
}

/// As `-p` takes it.
impl fmt::Display for PublishRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.host_addr {
            write!(f, "{}", Before(address))?;
        }
        match self.host {
            Some(host) => write!(f, "{}:", Ports(host))?,
            None if self.host_addr.is_some() => f.write_str(":")?,
            None => {}
        }
        write!(f, "{}/{}{}", Ports(self.container), self.proto, Sources(&self.sources))
    }
}
