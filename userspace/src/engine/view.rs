//! What a change is shown of the host.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::{Engine, Result};
use crate::{
    linux::{Listeners, random, sockets},
    model::{
        HostView, Inside, Owned, PublishRequest, State, names, publish,
        state::{DEFAULT_MTU, DEFAULT_NETWORK},
    },
};

/// What a change must know that makes a network, or attaches a namespace; others need not ask.
pub(super) struct Surroundings {
    /// Subnets that it had better leave alone.
    pub(super) used: Vec<IpNet>,
    /// MTU of the way out, in bytes.
    pub(super) mtu: u32,
    /// What is in the namespace that a container is attached to.
    pub(super) inside: Inside,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self { used: Vec::new(), mtu: DEFAULT_MTU, inside: Inside::default() }
    }
}

impl Engine {
    /// Has a change of `next` that publishes ports look at the host.
    pub(super) async fn with_view<T>(
        &self,
        next: &mut State,
        requests: &[PublishRequest],
        around: &Surroundings,
        change: impl FnOnce(&mut State, &HostView<'_>) -> Result<T>,
    ) -> Result<T> {
        let bound = publish::are_bound(next, requests);
        let addresses = if bound { Some(self.facts().await?.addresses) } else { None };
        let listeners = if requests.is_empty() { Listeners::default() } else { Listeners::read()? };
        let (ephemeral, reserved, seed) =
            (sockets::ephemeral_range()?, sockets::reserved_ports()?, random::<8>().map(u64::from_ne_bytes)?);
        // The name servers' port is left to them.
        let name_servers: BTreeSet<IpAddr> = names::gateways(&self.state).collect();
        let keeps = |port, address| port == names::PORT && name_servers.contains(&address);
        let listening = |proto, address, port| listeners.holder(proto, address, port, |holder| keeps(port, holder));
        let Surroundings { used, mtu, inside } = around;
        let (mtu, listening, reserved, addresses) = (*mtu, &listening, &reserved[..], addresses.as_deref());
        change(next, &HostView { used, mtu, listening, ephemeral, reserved, seed, inside, addresses })
    }

    /// What a container's place on a network may need: the only network that is made on the way is the default one.
    pub(super) async fn surroundings_of(&self, state: &State) -> Result<Surroundings> {
        if state.networks.contains_key(DEFAULT_NETWORK) {
            return Ok(Surroundings::default());
        }
        self.surroundings().await
    }

    pub(super) async fn surroundings(&self) -> Result<Surroundings> {
        let used = self.host.routes(&Owned::by([&self.state])).await?;
        Ok(Surroundings { used, mtu: self.host.mtu_of_way_out().await?, inside: Inside::default() })
    }
}
