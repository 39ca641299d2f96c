//! A host that forwards between veth pairs, without netfilter: nothing is translated, so all know the containers' addresses.

use anyhow::Result;

use super::{Peer, Topology};
use crate::bench::paths::Path;

pub fn peer() -> Result<Peer> {
    let net = Topology::routed("routed")?;
    let carries = |path, _| matches!(path, Path::Container | Path::Published | Path::Masquerade);
    Ok(Peer { carries, ..Peer::new("routed", None, net) })
}
