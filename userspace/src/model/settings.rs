//! Which of daemon.json's keys a change touches, and which of them what is there does not follow yet.

use super::{Network, State, state::DEFAULT_NETWORK};

/// What a key of the default network waits for while containers are on it.
const MADE_ANEW: &str = "the default network has it when it is made anew, which it is once its last container is gone";

/// Keys whose values differ.
pub fn changed(before: &State, after: &State) -> Vec<&'static str> {
    let (old, new) = (&before.default_network, &after.default_network);
    let (flows, timeouts) = (&before.flows, &before.flows.timeouts);
    let keys = [
        ("bip", old.bip != new.bip),
        ("fixed-cidr-v6", old.subnet6 != new.subnet6),
        ("icc", old.icc != new.icc),
        ("ip-masq", old.masquerade != new.masquerade),
        ("ipv6", old.ipv6 != new.ipv6),
        ("mtu", old.mtu != new.mtu),
        ("flow-share", flows.share != after.flows.share),
        ("flows", flows.table != after.flows.table),
        ("timeouts", *timeouts != after.flows.timeouts),
        ("xdp", before.xdp != after.xdp),
    ];
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

/// Keys that the default network, as it was made, does not have; and what they wait for.
pub fn waiting(state: &State) -> Vec<(&'static str, &'static str)> {
    let Some(network) = state.networks.get(DEFAULT_NETWORK) else { return Vec::new() };
    let wanted = &state.default_network;
    let prefix_is = |network: &Network| wanted.subnet6.is_none_or(|subnet| network.subnet6 == Some(subnet.trunc()));
    // An address that is the subnet's own asks for the subnet alone.
    let gateway_is = |network: &Network| {
        wanted.bip.is_none_or(|bip| {
            bip.trunc() == network.subnet4 && (bip.addr() == network.gateway4 || bip.addr() == bip.network())
        })
    };
    let keys = [
        ("bip", !gateway_is(network)),
        ("fixed-cidr-v6", wanted.ipv6 && network.subnet6.is_some() && !prefix_is(network)),
        ("ipv6", wanted.ipv6 != network.subnet6.is_some()),
        ("mtu", wanted.mtu != network.mtu),
    ];
    keys.into_iter().filter(|(_, waits)| *waits).map(|(key, _)| (key, MADE_ANEW)).collect()
}
