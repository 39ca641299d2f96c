//! Who carries packets: one file each. What their rules look like is taken from what the engines install.

use std::{fmt, net::IpAddr, net::SocketAddr};

use anyhow::{Context, Result};

use super::{
    Plan,
    cgroup::Cgroup,
    paths::{Family, Path},
    topology::{Place, Topology, served},
};

mod bare;
mod bridge;
mod docker;
mod netavark;
mod nft;
mod nft_map;
mod portlane;
mod proxy;
mod published;
mod routed;

pub use bare::SUBJECT as BARE;
pub use docker::{EACH as DOCKER_EACH, SUBJECT as DOCKER};
pub use portlane::{FLOWS, LinkSettings, SUBJECT as PORTLANE};
use published::PUBLISHED;

/// One that carries packets, ready to do so.
#[derive(Debug)]
pub struct Peer {
    /// As it is called in figures.
    pub subject: &'static str,
    /// How many ports it has published, where it publishes any.
    pub ports: Option<usize>,
    pub net: Topology,
    /// Whether it says itself which interfaces put segments together.
    pub sets_gro: bool,
    /// What it leads packets along, in which family.
    carries: fn(Path, Family) -> bool,
    /// Where the container's ports are reached by way of a process that copies.
    relayed: &'static [Path],
    /// Whether there is a host in between; else every path is the one cable.
    hosted: bool,
    /// The containers' addresses, if it chose them itself.
    chosen: Vec<(Place, Family, IpAddr)>,
    /// Where client and server run, if it has programs at sockets.
    pub cgroup: Option<Cgroup>,
}

/// Where client and server are, and what the client calls.
#[derive(Debug, PartialEq, Eq)]
pub struct Way {
    /// The client's namespace.
    pub client: String,
    pub to: SocketAddr,
    /// The server's namespace.
    pub server: String,
    pub listens: SocketAddr,
    pub relay: Option<Relay>,
}

/// A process that accepts connections and datagrams, and copies them to and from a server. It listens at the address that is
/// called: from a socket that has none in particular, answers to datagrams could come from another one.
#[derive(Debug, PartialEq, Eq)]
pub struct Relay {
    pub netns: String,
    pub from: SocketAddr,
    pub to: SocketAddr,
}

impl Peer {
    /// One with a host in the middle, that carries everything.
    fn new(subject: &'static str, ports: Option<usize>, net: Topology) -> Self {
        let (carries, chosen): (fn(Path, Family) -> bool, _) = (|_, _| true, Vec::new());
        Self { subject, ports, net, sets_gro: false, carries, relayed: &[], hosted: true, chosen, cgroup: None }
    }

    /// Where it leads packets along a path; `None` if it has no such path.
    pub fn way(&self, path: Path, family: Family) -> Option<Way> {
        (self.carries)(path, family)
            .then(|| if self.hosted { self.hosted_way(path, family) } else { self.cable(family) })
    }

    fn hosted_way(&self, path: Path, family: Family) -> Way {
        let (client, server) = match path {
            Path::Container | Path::Hairpin => (Place::B, Place::A),
            Path::Published => (Place::Outside, Place::A),
            Path::Masquerade => (Place::A, Place::Outside),
            Path::Loopback | Path::Direct => (Place::Host, Place::A),
        };
        let listens = served(self.address(server, family));
        let to = match path {
            _ if self.ports.is_none() => listens,
            Path::Published | Path::Hairpin => SocketAddr::new(Place::Host.address(family), PUBLISHED),
            Path::Loopback => SocketAddr::new(family.loopback(), PUBLISHED),
            Path::Container | Path::Masquerade | Path::Direct => listens,
        };
        let relay =
            self.relayed.contains(&path).then(|| Relay { netns: self.net.netns(Place::Host), from: to, to: listens });
        Way { client: self.net.netns(client), to, server: self.net.netns(server), listens, relay }
    }

    fn cable(&self, family: Family) -> Way {
        let listens = served(Place::A.address(family));
        let [client, server] = [Place::Outside, Place::A].map(|place| self.net.netns(place));
        Way { client, to: listens, server, listens, relay: None }
    }

    fn address(&self, place: Place, family: Family) -> IpAddr {
        let chosen = self.chosen.iter().find(|(of, in_family, _)| (*of, *in_family) == (place, family));
        chosen.map_or_else(|| place.address(family), |(_, _, address)| *address)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.subject)?;
        self.ports.map_or(Ok(()), |ports| write!(f, " with {ports} published"))
    }
}

/// Sets up portlane with link settings.
///
/// # Errors
/// When it cannot be set up.
pub fn linked(plan: &Plan, settings: &LinkSettings) -> Result<Peer> {
    portlane::linked(plan, settings).with_context(|| settings.subject)
}

/// Sets up everybody whom the plan has, each with machines of its own.
///
/// # Errors
/// When one cannot be set up.
pub fn all(plan: &Plan) -> Result<Vec<Peer>> {
    let mut peers = vec![bare::peer()?];
    if !plan.quick {
        peers.extend([bridge::peer(false)?, bridge::peer(true)?, routed::peer()?, proxy::peer()?]);
    }
    for ports in plan.ports.iter().copied() {
        peers.push(docker::peer(ports, docker::Containers::One)?);
        if ports > 1 {
            peers.push(docker::peer(ports, docker::Containers::OnePerPort)?);
        }
        if !plan.quick {
            peers.extend([netavark::peer(ports)?, nft_map::peer(ports)?]);
        }
        peers.push(portlane::peer(plan, ports).with_context(|| format!("portlane with {ports} ports"))?);
    }
    Ok(peers)
}
