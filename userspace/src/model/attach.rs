//! Network namespaces that somebody else made, and containers attached to them: portlane gives them interfaces, and leaves
//! all else in them alone.

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    container::ContainerRequest,
    error::ModelError,
    state::{Container, State},
};

/// Tells a network namespace from every other of any time: a name, a path, and an inode number are given out again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetnsIdentity {
    /// When: the kernel's `boot_id`.
    pub boot: String,
    /// Which of that boot: `SO_NETNS_COOKIE`.
    pub cookie: u64,
}

/// A network namespace that somebody else made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Name under `/run/netns`, or path.
    pub netns: String,
    /// Which one it was when it was attached.
    pub identity: NetnsIdentity,
}

/// What is in a namespace, portlane's own interfaces left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inside {
    /// Names of interfaces.
    pub interfaces: BTreeSet<String>,
    /// Destinations of its main routing table, but for the default one.
    pub routes: Vec<IpNet>,
    /// Whether it has a default route: an IPv4 one, an IPv6 one.
    pub leads: [bool; 2],
}

/// Refuses what takes a process, and files, of portlane's own.
///
/// # Errors
/// [`ModelError::NeedsOwnNetns`].
pub fn check_attachable(request: &ContainerRequest) -> Result<(), ModelError> {
    let cannot = [
        (request.hostname.is_some(), "a host name"),
        (!request.dns.is_empty(), "name servers"),
        (!request.dns_search.is_empty(), "search domains"),
        (!request.dns_options.is_empty(), "options of resolv.conf"),
        (!request.extra_hosts.is_empty(), "lines of /etc/hosts"),
        (!request.command.is_empty(), "a command"),
        (request.auto_remove, "an end of its own"),
    ];
    match cannot.into_iter().find(|(asked, _)| *asked) {
        Some((_, what)) => Err(ModelError::NeedsOwnNetns { what }),
        None => Ok(()),
    }
}

/// Refuses networks whose routes would take the place of the namespace's own.
pub(super) fn check_routes(state: &State, container: &Container, inside: &Inside) -> Result<(), ModelError> {
    let holder = || format!("network namespace {}", container.netns);
    for network in container.endpoints.iter().filter_map(|endpoint| state.networks.get(&endpoint.network)) {
        let subnets = [Some(IpNet::from(network.subnet4)), network.subnet6.map(IpNet::from)];
        let overlap = |subnet: IpNet| {
            let other = inside.routes.iter().find(|other| other.contains(&subnet) || subnet.contains(*other))?;
            Some(ModelError::RouteInside { subnet, network: network.name.clone(), other: *other, holder: holder() })
        };
        if let Some(error) = subnets.into_iter().flatten().find_map(overlap) {
            return Err(error);
        }
    }
    let (four, six) = state.gateways(container);
    for (endpoint, (own, family)) in [four, six].into_iter().zip(inside.leads.into_iter().zip(["IPv4", "IPv6"])) {
        let network = endpoint.and_then(|endpoint| state.networks.get(&endpoint.network));
        if own && network.is_some_and(|network| !network.internal) {
            return Err(ModelError::LedElsewhere { holder: holder(), family });
        }
    }
    Ok(())
}
