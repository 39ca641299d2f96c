//! What a change is about: of two states, the containers that differ.
//!
//! What a container has on the host and in the maps follows from itself and from its networks; only links, and who has the
//! name servers' port, concern others. So where the networks are the same, a change need look at no container that is.

use std::collections::{BTreeSet, HashSet};

use super::{
    names,
    plan::Owned,
    published,
    state::{Container, Network, State},
    tables::side_by_side,
};

/// The containers that a change is about, as they were and as they will be.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    /// Before the change, without the others.
    pub before: State,
    /// After it, without the others.
    pub next: State,
    /// What is portlane's in these two.
    pub owned: Owned,
    /// What the others have.
    pub others: Others<'a>,
}

/// What containers have that a change is not about.
#[derive(Clone, Debug, Default)]
pub struct Others<'a> {
    /// Host ends of veth pairs.
    pub veths: HashSet<&'a str>,
    /// Names under `/run/netns`.
    pub netns: HashSet<&'a str>,
    /// Classes of their publish entries, a bit each.
    pub classes: u32,
}

impl<'a> Part<'a> {
    /// Of a change from one state to the other; none where all containers are concerned, because a network is.
    pub fn between(before: &'a State, next: &State) -> Option<Self> {
        if !have_equal_networks(before, next) {
            return None;
        }
        let has_names_port =
            |container: &Container| container.publishes.iter().any(|publish| publish.host.contains(names::PORT));
        let concerned = side_by_side(&before.containers, &next.containers)
            .filter(|(_, before, next)| before != next || before.is_some_and(|container| has_names_port(container)));
        let concerned: BTreeSet<&String> = concerned.map(|(id, ..)| id).collect();
        let others = others(before, |container| !concerned.contains(&container.id));
        let before = only(before, &concerned);
        let next = only(next, &concerned);
        let mut owned = Owned::by([&before, &next]);
        // A namespace that another container shares is not left over.
        owned.netns.retain(|name| !others.netns.contains(name.as_str()));
        Some(Self { owned, before, next, others })
    }
}

fn have_equal_networks(one: &State, other: &State) -> bool {
    // Where addresses are sought concerns nobody who has one.
    let settled = |network: &Network| Network { last4: None, ..network.clone() };
    let (a, b) = (one.networks.values().map(settled), other.networks.values().map(settled));
    a.eq(b)
}

/// The state with these containers alone.
fn only(state: &State, concerned: &BTreeSet<&String>) -> State {
    let concerned = concerned.iter().filter_map(|id| state.containers.get_key_value(*id));
    State {
        containers: concerned.map(|(id, container)| (id.clone(), container.clone())).collect(),
        schema: state.schema,
        seed: state.seed,
        default_network: state.default_network.clone(),
        pools: state.pools.clone(),
        networks: state.networks.clone(),
        next_generation: state.next_generation,
        xdp: state.xdp,
        flows: state.flows,
        resolver: state.resolver.clone(),
    }
}

fn others(state: &State, are: impl Fn(&Container) -> bool) -> Others<'_> {
    let others: Vec<&Container> = state.live().filter(|container| are(container)).collect();
    let endpoints = others.iter().flat_map(|container| &container.endpoints);
    Others {
        veths: endpoints.map(|endpoint| endpoint.veth.as_str()).collect(),
        netns: others.iter().filter(|c| c.owns_netns()).map(|c| c.netns.as_str()).collect(),
        classes: others.iter().fold(0, |bits, container| bits | published::classes(state, container)),
    }
}
