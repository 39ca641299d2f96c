//! Docker without rules: a process that copies what comes in at a published port.

use anyhow::Result;

use super::{Peer, Topology};
use crate::bench::paths::Path;

const RELAYED: &[Path] = &[Path::Published, Path::Loopback, Path::Hairpin];

pub fn peer() -> Result<Peer> {
    let net = Topology::bridged("proxy")?;
    let carries = |path, _| RELAYED.contains(&path);
    Ok(Peer { carries, relayed: RELAYED, ..Peer::new("docker-proxy", Some(1), net) })
}
