//! What links of a network carry beyond a veth pair as the kernel makes it, and what they are held at because the way out
//! carries no more.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::{
    desired::{Bridge, EndpointLink, HostFacts, UplinkFact, desired_links},
    lead::DefaultRoute,
    state::{Network, State},
};

/// Bytes of the longest TCP train that Linux makes unless it is told otherwise (`GSO_LEGACY_MAX_SIZE`).
pub const ORDINARY_TRAIN: u32 = 65_536;
/// Bytes of the longest TCP train with BIG TCP, headers included: three ordinary ones. More make little difference, and keep
/// others waiting for longer.
pub const BIG_TRAIN: u32 = 3 * ORDINARY_TRAIN;
/// Bytes of the largest IP packet that a link can carry (RFC 791).
pub const MOST_MTU: u32 = 65_535;

/// How the links of a network are to carry packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkSettings {
    /// Bytes of the largest IP packet between the network's containers, and between them and the host; what leaves by the
    /// default route is held at the network's MTU. That for both if none.
    pub mtu: Option<u32>,
    /// Whether the host puts segments together that containers send one by one (generic receive offload).
    pub gro: bool,
    /// Whether TCP trains may be longer than 64 KiB, as far as the way out carries such.
    pub big_tcp: bool,
}

/// Bytes of the longest TCP trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trains {
    /// Over IPv4.
    pub v4: u32,
    /// Over IPv6.
    pub v6: u32,
}

impl Trains {
    /// Those of BIG TCP.
    pub const BIG: Self = Self { v4: BIG_TRAIN, v6: BIG_TRAIN };

    /// The shorter ones of two; ordinary ones at least.
    fn at_most(self, other: Self) -> Self {
        let shorter = |one: u32, other: u32| one.min(other).max(ORDINARY_TRAIN);
        Self { v4: shorter(self.v4, other.v4), v6: shorter(self.v6, other.v6) }
    }
}

/// Ordinary ones.
impl Default for Trains {
    fn default() -> Self {
        Self { v4: ORDINARY_TRAIN, v6: ORDINARY_TRAIN }
    }
}

impl End {
    /// Whether what was found is as this wants it.
    pub fn is_met(&self, found: &Self) -> bool {
        fn wants<T: PartialEq>(wanted: Option<T>, found: Option<T>) -> bool {
            wanted.is_none() || wanted == found
        }
        wants(self.mtu, found.mtu) && wants(self.trains, found.trains) && wants(self.gro, found.gro)
    }
}

/// What somebody's end of a link has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Bytes; as it is found if none.
    pub mtu: Option<u32>,
    /// As they are found if none.
    pub trains: Option<Trains>,
    /// Whether it puts segments together; as it is found if none.
    pub gro: Option<bool>,
}

/// A link of a network that has settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuned {
    /// The host's interface: a container's veth, or the bridge.
    pub interface: String,
    /// The container's link, if it is one.
    pub inside: Option<EndpointLink>,
    /// What the host's end must have.
    pub outer: End,
    /// What the container's end must have.
    pub inner: End,
}

/// What is asked of links, and of default routes, by the settings of networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// Bridges, and endpoints.
    pub links: Vec<Tuned>,
    /// Default routes that hold packets at less than their interface carries.
    pub routes: Vec<DefaultRoute>,
}

/// Whether any network has settings.
pub fn is_asked(state: &State) -> bool {
    state.networks.values().any(|network| network.links != LinkSettings::default())
}

/// What must be for the settings of networks to be in force. `ways_out` are the interfaces that the host's default routes
/// lead out by.
pub fn tuning(state: &State, facts: &HostFacts, ways_out: &BTreeSet<u32>) -> Tuning {
    let links = desired_links(state);
    let of = |bridge: &str| {
        let network = state.networks.values().find(|network| network.bridge == bridge);
        network.filter(|network| network.links != LinkSettings::default())
    };
    // A bridge carries what its ports do: nothing in particular before it has any.
    let has_ports = |bridge: &&Bridge| links.endpoints.iter().any(|link| link.bridge == bridge.name);
    let bridges = links.bridges.iter().filter(has_ports).filter_map(|bridge| {
        let network = of(&bridge.name)?;
        let outer = End { trains: trains(network, facts, ways_out), ..End::default() };
        Some(Tuned { interface: bridge.name.clone(), inside: None, outer, inner: End::default() })
    });
    let ends = links.endpoints.iter().filter_map(|link| Some(tuned(link, of(&link.bridge)?, facts, ways_out)));
    Tuning {
        links: bridges.chain(ends).collect(),
        routes: links.routes.into_iter().filter(DefaultRoute::is_held).collect(),
    }
}

fn tuned(link: &EndpointLink, network: &Network, facts: &HostFacts, ways_out: &BTreeSet<u32>) -> Tuned {
    let inner = End { mtu: network.links.mtu, trains: trains(network, facts, ways_out), gro: None };
    Tuned {
        interface: link.veth.clone(),
        inside: Some(link.clone()),
        outer: End { gro: network.links.gro.then_some(true), ..inner },
        inner,
    }
}

/// The longest TCP trains of a network with BIG TCP; none of one without.
///
/// A train that an interface cannot carry is cut up before it, which costs more than short ones would have.
pub fn trains(network: &Network, facts: &HostFacts, ways_out: &BTreeSet<u32>) -> Option<Trains> {
    network.links.big_tcp.then(|| {
        let mut trains = facts.trains.at_most(Trains::BIG);
        if !network.internal {
            for uplink in leading_out(facts, ways_out) {
                trains = trains.at_most(uplink.trains);
            }
        }
        trains
    })
}

/// Uplinks that packets of containers leave by: those of the default routes or, without one, all.
fn leading_out<'a>(facts: &'a HostFacts, ways_out: &'a BTreeSet<u32>) -> impl Iterator<Item = &'a UplinkFact> {
    let any = facts.uplinks.iter().any(|uplink| ways_out.contains(&uplink.ifindex));
    facts.uplinks.iter().filter(move |uplink| !any || ways_out.contains(&uplink.ifindex))
}

/// Why the trains of networks with BIG TCP are shorter than they could be, and what to do: a sentence each.
pub fn held(state: &State, facts: &HostFacts, ways_out: &BTreeSet<u32>) -> Vec<String> {
    let mut sentences = Vec::new();
    for network in state.networks.values() {
        let Some(trains) = trains(network, facts, ways_out) else { continue };
        for family in FAMILIES.into_iter().filter(|family| (family.of)(trains) < BIG_TRAIN) {
            sentences.push(family.why(network, trains, facts, ways_out));
        }
    }
    sentences
}

/// How a family's trains are spoken of.
struct Words {
    family: &'static str,
    /// The Linux that has long ones.
    since: &'static str,
    /// ip-link(8)'s names of the bounds.
    bounds: [&'static str; 2],
    of: fn(Trains) -> u32,
}

const FAMILIES: [Words; 2] = [
    Words { family: "IPv4", since: "6.3", bounds: ["gso_ipv4_max_size", "gro_ipv4_max_size"], of: |trains| trains.v4 },
    Words { family: "IPv6", since: "5.19", bounds: ["gso_max_size", "gro_max_size"], of: |trains| trains.v6 },
];

impl Words {
    fn why(&self, network: &Network, trains: Trains, facts: &HostFacts, ways_out: &BTreeSet<u32>) -> String {
        let Self { family, since, bounds: [gso, gro], of } = self;
        let held = format!("big-tcp of network `{}` is held at {} bytes over {family}", network.name, of(trains));
        if of(facts.trains) < BIG_TRAIN {
            return format!("{held}: this kernel has no longer trains, Linux {since} has");
        }
        let narrow = leading_out(facts, ways_out).min_by_key(|uplink| of(uplink.trains));
        let name = narrow.map_or("", |uplink| &uplink.name);
        format!(
            "{held}, which {name} carries: run `ip link set {name} {gso} {BIG_TRAIN} {gro} {BIG_TRAIN}`, then \
             `portlane repair`"
        )
    }
}

impl fmt::Display for Tuned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.interface)?;
        if let Some(EndpointLink { netns, interface, .. }) = &self.inside {
            write!(f, " and {interface} of {netns}")?;
        }
        let mtu = self.outer.mtu.map(|mtu| format!("MTU {mtu}"));
        let trains = self.outer.trains.map(|trains| format!("trains of {} and {} bytes", trains.v4, trains.v6));
        let gro = self.outer.gro.map(|on| format!("GRO {}", if on { "on" } else { "off" }));
        write!(f, " ({})", [mtu, trains, gro].into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}
