//! What a change is about: of two states, the containers that differ.
//!
//! What a container has on the host and in the maps follows from itself and from its networks; only links, and who has the
//! name servers' port, concern others. So where the networks are the same, a change need look at no container that is.

use std::{collections::BTreeSet, sync::Arc};

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
    /// What is portlane's in these two, without what it shares.
    pub owned: Owned,
    /// Names under `/run/netns` that it shares with others, who made them.
    pub shared: BTreeSet<String>,
    /// Classes of the others' publish entries, a bit each.
    pub classes: u32,
    /// All containers, before the change.
    all: &'a State,
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
        let concerned: BTreeSet<&Arc<str>> = concerned.map(|(id, ..)| id).collect();
        let (all, before, next) = (before, only(before, &concerned), only(next, &concerned));
        let owned = Owned::by([&before, &next]);
        let mut part = Self { before, next, owned, shared: BTreeSet::new(), classes: 0, all };
        // A namespace that another container shares is not left over.
        let is_shared = |name: &String| part.others().any(|other| other.owns_netns() && other.netns == *name);
        let (shared, left_over) = part.owned.netns.iter().cloned().partition(is_shared);
        (part.shared, part.owned.netns) = (shared, left_over);
        part.classes = published::classes_of(all, part.others().map(Arc::as_ref));
        Some(part)
    }

    /// Containers that hold an address and that the change is not about.
    pub fn others(&self) -> impl Iterator<Item = &'a Arc<Container>> {
        let concerned = &self.before.containers;
        self.all.containers.values().filter(|other| other.is_live() && !concerned.contains_key(&other.id))
    }

    /// Whether this is the host's end of another container's.
    pub fn is_others(&self, veth: &str) -> bool {
        self.others().any(|container| container.endpoints.iter().any(|endpoint| endpoint.veth == veth))
    }
}

fn have_equal_networks(one: &State, other: &State) -> bool {
    // Where addresses are sought concerns nobody who has one.
    let settled = |network: &Network| Network { last4: None, ..network.clone() };
    let (a, b) = (one.networks.values().map(settled), other.networks.values().map(settled));
    a.eq(b)
}

/// The state with these containers alone.
fn only(state: &State, concerned: &BTreeSet<&Arc<str>>) -> State {
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
