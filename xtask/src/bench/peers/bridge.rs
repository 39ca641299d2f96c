//! Two containers on a Linux bridge, without a rule.

use anyhow::Result;

use super::{Peer, Topology};
use crate::bench::{paths::Path, topology::Place};

/// With br_netfilter, the bridge shows every packet to iptables, even to empty ones.
pub fn peer(br_netfilter: bool) -> Result<Peer> {
    let (subject, name) = if br_netfilter { ("bridge, br_netfilter", "bridge-nf") } else { ("bridge", "bridge") };
    let net = Topology::bridged(name)?;
    call_iptables(&net, br_netfilter)?;
    Ok(Peer { carries: |path, _| path == Path::Container, ..Peer::new(subject, None, net) })
}

/// What the host's bridges do.
///
/// # Errors
/// When the kernel has no br_netfilter.
pub fn call_iptables(net: &Topology, does: bool) -> Result<()> {
    let value = if does { "1" } else { "0" };
    ["iptables", "ip6tables"]
        .into_iter()
        .try_for_each(|whom| net.sysctl(Place::Host, &format!("net/bridge/bridge-nf-call-{whom}"), value))
}
