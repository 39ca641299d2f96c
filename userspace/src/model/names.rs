//! Who is called what on which network, and what containers are told that ask for it.
//!
//! As under Docker: on created networks containers know each other by name, short identifier and aliases, also with the
//! network's name behind, and an address is known by its container's name; here by host name, too. Who asks sees the
//! networks that it is on, and no other.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

use super::state::{Container, DEFAULT_NETWORK, Network, State};

/// How long an answer may be kept, in seconds. Docker's 600 outlive a container that is made anew; asking costs little,
/// since the resolver is on the same host.
pub const TTL: u32 = 5;
/// Where name servers listen.
pub const PORT: u16 = 53;

/// Zone of the names of IPv4 addresses (RFC 1035 §3.5).
const ARPA4: &str = ".in-addr.arpa";
/// Zone of the names of IPv6 addresses (RFC 3596 §2.5).
const ARPA6: &str = ".ip6.arpa";

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Whose address it is.
    Ptr,
    /// Whatever there is.
    Any,
    /// Anything else, of which containers have nothing.
    Other,
}

/// What becomes of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The name's addresses; none if it has none of that kind.
    Addresses(Vec<IpAddr>),
    /// The address's name.
    Name(String),
    /// There is no such name, and nobody else need be asked.
    NoSuchName,
    /// Name servers must be asked: those that the container was given, or the host's if there are none.
    Forward(Vec<IpAddr>),
    /// Name servers would have to be asked, and from this network nothing outside is reached.
    Internal,
    /// Who asks is none of the network's.
    Refused,
}

/// What one container is called on one network.
struct Member<'a> {
    container: &'a Container,
    aliases: Vec<&'a str>,
    addr4: Ipv4Addr,
    addr6: Option<Ipv6Addr>,
}

/// Who is on a network, and under which names: the one place that knows how the state says it.
fn members<'a>(state: &'a State, network: &'a str) -> impl Iterator<Item = Member<'a>> {
    state.live_on(network).map(|(container, endpoint)| Member {
        container,
        aliases: endpoint.aliases.iter().map(String::as_str).chain([container.hostname.as_str()]).collect(),
        addr4: endpoint.addr4,
        addr6: endpoint.addr6,
    })
}

/// All names of all created networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// By name of the network.
    zones: BTreeMap<String, Zone>,
    /// Every network's, the default one's included: nobody outside knows of their addresses.
    subnets: Vec<IpNet>,
    /// By full identifier.
    askers: BTreeMap<String, Asker>,
    /// Name servers that the administrator configured.
    servers: Vec<IpAddr>,
}

/// How a container gets at names that are nobody's here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Asker {
    /// Name servers that it was given.
    servers: Vec<IpAddr>,
    /// Whether all of its networks are internal.
    internal: bool,
}

/// The names of one network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Zone {
    gateways: Vec<IpAddr>,
    subnets: Vec<IpNet>,
    internal: bool,
    /// By name in lower case: names that no two containers have.
    own: BTreeMap<String, Vec<IpAddr>>,
    /// Names that several containers may have.
    shared: BTreeMap<String, Vec<IpAddr>>,
    /// Full identifier and name of the container, by address.
    holders: BTreeMap<IpAddr, (String, String)>,
}

/// Where name servers are asked: each network that somebody made has one, at its gateway.
pub fn gateways(state: &State) -> impl Iterator<Item = IpAddr> {
    let created = state.networks.iter().filter(|(name, _)| *name != DEFAULT_NETWORK);
    created.flat_map(|(_, network)| gateways_of(network))
}

fn gateways_of(network: &Network) -> impl Iterator<Item = IpAddr> + use<> {
    [Some(network.gateway4.into()), network.gateway6.map(IpAddr::from)].into_iter().flatten()
}

impl Names {
    /// The names that the state gives.
    pub fn of(state: &State) -> Self {
        let mut names = Self { servers: state.resolver.servers.clone(), ..Self::default() };
        for (name, network) in &state.networks {
            let subnets = [Some(network.subnet4.into()), network.subnet6.map(IpNet::from)].into_iter().flatten();
            names.subnets.extend(subnets.clone());
            if name == DEFAULT_NETWORK {
                continue;
            }
            let mut zone = Zone {
                gateways: gateways_of(network).collect(),
                subnets: subnets.collect(),
                internal: network.internal,
                ..Zone::default()
            };
            for member in members(state, name) {
                let container = member.container;
                let networks = container.endpoints.iter().map(|endpoint| state.networks.get(&endpoint.network));
                let internal = networks.flatten().all(|network| network.internal);
                names.askers.insert(container.id.to_string(), Asker { servers: container.dns.clone(), internal });
                zone.add(&member);
            }
            names.zones.insert(name.clone(), zone);
        }
        names
    }

    /// Addresses at which questions are answered.
    pub fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        self.zones.values().flat_map(|zone| zone.gateways.iter().copied())
    }

    /// Name servers that the administrator configured, for containers that have none of their own.
    pub fn servers(&self) -> &[IpAddr] {
        &self.servers
    }

    /// What somebody at `source` is told who asks at `gateway`. A name is written with dots between its labels; one at its
    /// end makes no difference.
    pub fn answer(&self, gateway: IpAddr, source: IpAddr, name: &str, kind: Kind) -> Answer {
        let Some((network, zone)) = self.zones.iter().find(|(_, zone)| zone.gateways.contains(&gateway)) else {
            return Answer::Refused;
        };
        if !zone.subnets.iter().any(|subnet| subnet.contains(&source)) {
            return Answer::Refused;
        }
        let asker = zone.holders.get(&source).map(|(id, _)| id.as_str());
        // The network that was asked comes first.
        let others = self.zones.iter().filter(|(name, _)| *name != network);
        let others = others.filter(|(_, zone)| zone.holders.values().any(|(id, _)| Some(id.as_str()) == asker));
        let seen: Vec<(&String, &Zone)> = std::iter::once((network, zone)).chain(others).collect();

        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if let Some(address) = address_of(&name).filter(|address| self.subnets.iter().any(|net| net.contains(address)))
        {
            let holder = seen.iter().find_map(|(network, zone)| Some((zone.holders.get(&address)?, network)));
            return match (holder, kind) {
                (Some(((_, name), network)), Kind::Ptr | Kind::Any) => Answer::Name(format!("{name}.{network}")),
                (Some(_), _) => Answer::Addresses(Vec::new()),
                (None, _) => Answer::NoSuchName,
            };
        }
        if let Some(addresses) = seen.iter().find_map(|(network, zone)| zone.find(network, &name)) {
            let wanted = |address: &&IpAddr| match kind {
                Kind::A => address.is_ipv4(),
                Kind::Aaaa => address.is_ipv6(),
                Kind::Any => true,
                Kind::Ptr | Kind::Other => false,
            };
            return Answer::Addresses(addresses.iter().filter(wanted).copied().collect());
        }
        match asker.and_then(|id| self.askers.get(id)) {
            // Who is on another network as well gets out by that one.
            Some(asker) if !asker.internal => Answer::Forward(asker.servers.clone()),
            None if !zone.internal => Answer::Forward(Vec::new()),
            _ => Answer::Internal,
        }
    }
}

impl Zone {
    fn add(&mut self, member: &Member<'_>) {
        let addresses = || [Some(member.addr4.into()), member.addr6.map(IpAddr::from)].into_iter().flatten();
        let container = member.container;
        let own = BTreeSet::from([container.name.to_ascii_lowercase(), container.short_id().to_owned()]);
        let shared: BTreeSet<String> = member.aliases.iter().map(|alias| alias.to_ascii_lowercase()).collect();
        for (names, into) in [(own, &mut self.own), (shared, &mut self.shared)] {
            for name in names.into_iter().filter(|name| !name.is_empty()) {
                let all = into.entry(name).or_default();
                all.extend(addresses());
                all.sort();
            }
        }
        for address in addresses() {
            self.holders.insert(address, (container.id.to_string(), container.name.clone()));
        }
    }

    /// Nobody takes another's name away by an alias.
    fn find(&self, network: &str, name: &str) -> Option<&Vec<IpAddr>> {
        let find = |name: &str| self.own.get(name).or_else(|| self.shared.get(name));
        let short = || name.strip_suffix(&network.to_ascii_lowercase())?.strip_suffix('.');
        find(name).or_else(|| find(short()?))
    }
}

/// The address whose name in the reverse zone this is.
fn address_of(name: &str) -> Option<IpAddr> {
    if let Some(labels) = name.strip_suffix(ARPA4) {
        let bytes: Vec<u8> = labels.rsplit('.').map(|label| label.parse().ok()).collect::<Option<_>>()?;
        return Some(<[u8; 4]>::try_from(bytes).ok()?.into());
    }
    let mut bits = 0_u128;
    let mut digits = 0;
    for label in name.strip_suffix(ARPA6)?.rsplit('.') {
        let digit = label.chars().next().filter(|_| label.len() == 1)?.to_digit(16)?;
        bits = bits << 4 | u128::from(digit);
        digits += 1;
    }
    (digits == 32).then(|| Ipv6Addr::from_bits(bits).into())
}
