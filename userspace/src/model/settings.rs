//! Which of daemon.json's keys a change touches, and which of them what is there does not follow yet.

use super::{DefaultNetwork, Network, State, state::DEFAULT_NETWORK};

/// What a key of the default network waits for while containers are on it.
const MADE_ANEW: &str = "the default network has it when it is made anew, which it is once its last container is gone";

/// Keys whose values differ.
pub fn changed(before: &State, after: &State) -> Vec<&'static str> {
    let (old, new) = (&before.default_network, &after.default_network);
    let (flows, timeouts) = (&before.flows, &before.flows.timeouts);
    let (names, other_names) = (&before.resolver, &after.resolver);
    let keys = [
        ("bip", old.bip != new.bip),
        ("default-address-pools", before.pools != after.pools),
        ("default-gateway", old.router4 != new.router4),
        ("default-gateway-v6", old.router6 != new.router6),
        ("dns", names.servers != other_names.servers),
        ("dns-opts", names.options != other_names.options),
        ("dns-search", names.search != other_names.search),
        ("fixed-cidr", old.range4 != new.range4),
        ("fixed-cidr-v6", old.subnet6 != new.subnet6),
        ("icc", old.icc != new.icc),
        ("ip", old.host_binding != new.host_binding),
        ("ip-masq", old.masquerade != new.masquerade),
        ("ipv6", old.ipv6 != new.ipv6),
        ("mtu", old.mtu != new.mtu),
        ("big-tcp", old.links.big_tcp != new.links.big_tcp),
        ("flow-share", flows.share != after.flows.share),
        ("flows", flows.table != after.flows.table),
        ("gro", old.links.gro != new.links.gro),
        ("link-mtu", old.links.mtu != new.links.mtu),
        ("timeouts", *timeouts != after.flows.timeouts),
        ("xdp", before.xdp != after.xdp),
    ];
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

/// Whether these keys, as [`changed`] names them, say how the default network is made.
pub fn shape_the_default_network(keys: &[&str]) -> bool {
    /// The others of the network's own concern its packets, and cannot keep it from being made.
    const SHAPING: [&str; 9] = [
        "bip",
        "default-address-pools",
        "default-gateway",
        "default-gateway-v6",
        "fixed-cidr",
        "fixed-cidr-v6",
        "ipv6",
        "mtu",
        "link-mtu",
    ];
    keys.iter().any(|key| SHAPING.contains(key))
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
    // Nothing is as good as anything, but not as what somebody asked for and no longer does.
    let asked = |key: fn(&DefaultNetwork) -> bool| network.made_with.as_ref().is_some_and(key) && !key(wanted);
    let has_ipv6 = wanted.ipv6 && network.subnet6.is_some();
    let keys = [
        ("bip", !gateway_is(network) || asked(|made| made.bip.is_some())),
        ("default-gateway", wanted.router4 != network.router4),
        ("default-gateway-v6", has_ipv6 && wanted.router6 != network.router6),
        ("fixed-cidr", wanted.range4.map(|range| range.trunc()) != network.range4),
        ("fixed-cidr-v6", has_ipv6 && (!prefix_is(network) || asked(|made| made.subnet6.is_some()))),
        ("ipv6", wanted.ipv6 != network.subnet6.is_some()),
        ("mtu", wanted.mtu.is_some_and(|mtu| mtu != network.mtu) || asked(|made| made.mtu.is_some())),
        ("big-tcp", wanted.links.big_tcp != network.links.big_tcp),
        ("gro", wanted.links.gro != network.links.gro),
        ("link-mtu", wanted.links.mtu != network.links.mtu),
    ];
    keys.into_iter().filter(|(_, waits)| *waits).map(|(key, _)| (key, MADE_ANEW)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        HostView, LinkSettings,
        container::{ContainerRequest, add_container},
        network::set_default,
    };

    #[test]
    fn what_a_network_has_from_its_making_waits_until_it_is_made_anew() {
        let mut state = State::default();
        let asked =
            DefaultNetwork { mtu: Some(1400), bip: Some("10.9.0.0/24".parse().expect("a net")), ..Default::default() };
        set_default(&mut state, asked.clone());
        assert_eq!(waiting(&state), [], "there is none yet");
        let request = ContainerRequest { id: "a".repeat(64), name: "a".to_owned(), ..ContainerRequest::default() };
        add_container(&mut state, request, &HostView::default()).expect("it is right");
        assert_eq!(waiting(&state), [], "it was made so");
        let before = state.clone();
        let other = DefaultNetwork {
            mtu: Some(1300),
            bip: None,
            ipv6: true,
            icc: false,
            range4: Some("10.9.0.128/25".parse().expect("a net")),
            router4: Some([10, 9, 0, 9].into()),
            router6: Some("fd00::9".parse().expect("an address")),
            host_binding: Some([192, 0, 2, 1].into()),
            links: LinkSettings { mtu: Some(9000), gro: true, big_tcp: true },
            ..asked
        };
        set_default(&mut state, other);
        assert_eq!(
            changed(&before, &state),
            [
                "bip",
                "default-gateway",
                "default-gateway-v6",
                "fixed-cidr",
                "icc",
                "ip",
                "ipv6",
                "mtu",
                "big-tcp",
                "gro",
                "link-mtu"
            ]
        );
        let keys: Vec<_> = waiting(&state).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["bip", "default-gateway", "fixed-cidr", "ipv6", "mtu", "big-tcp", "gro", "link-mtu"]);
        set_default(&mut state, DefaultNetwork::default());
        let keys: Vec<_> = waiting(&state).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["bip", "mtu"], "what is no longer asked for waits, too");
    }
}
