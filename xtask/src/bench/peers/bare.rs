//! Two namespaces and a veth pair: nothing that leads packets from one to another can cost less.

use anyhow::Result;

use super::{Peer, Topology};
use crate::bench::paths::Path;

pub const SUBJECT: &str = "bare veth pair";

/// Takes no part in what is compared with something else: the host's own way to a container.
pub fn peer() -> Result<Peer> {
    let net = Topology::pair("bare")?;
    let carries = |path, _| !matches!(path, Path::Loopback | Path::Direct);
    Ok(Peer { carries, hosted: false, ..Peer::new(SUBJECT, None, net) })
}
