//! What peers have in common whose rules are nftables'.

use anyhow::{Context, Result};

use super::{
    Peer, Topology, bridge,
    published::{Port, by_netfilter, ports},
};
use crate::bench::{
    paths::Family,
    topology::{BRIDGE, Place, fed},
};

/// One with `rules` for so many ports of either family, as `nft -f` takes them, and whether its bridge shows packets to
/// iptables. `name` begins the names of its namespaces.
pub fn peer(
    subject: &'static str,
    name: &str,
    count: usize,
    br_netfilter: bool,
    rules: fn(&[Vec<Port>; 2]) -> String,
) -> Result<Peer> {
    let net = Topology::bridged(&format!("{name}-{count}"))?;
    bridge::call_iptables(&net, br_netfilter)?;
    net.sysctl(Place::Host, &format!("net/ipv4/conf/{BRIDGE}/route_localnet"), "1")?;
    let ports = Family::BOTH.map(|family| ports(count, family, true));
    fed(net.command(Place::Host, "nft").args(["-f", "-"]), &rules(&ports))
        .with_context(|| format!("the rules of {count} ports"))?;
    Ok(Peer { carries: by_netfilter, ..Peer::new(subject, Some(count), net) })
}
