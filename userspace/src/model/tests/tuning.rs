//! Links of networks with settings: what must be there, and what they are held at.

use std::collections::BTreeSet;

use super::{add, state_with, uplink};
use crate::model::{
    desired::{HostFacts, UplinkFact, desired_links},
    state::State,
    tuning::{self, BIG_TRAIN, LinkSettings, ORDINARY_TRAIN, Trains, Tuning, held, is_asked},
};

const ALL: LinkSettings = LinkSettings { mtu: Some(65_535), gro: true, big_tcp: true };

/// A container `x` on a network `a` with these settings.
fn with(links: LinkSettings) -> State {
    let mut state = state_with(&["a"]);
    state.networks.get_mut("a").unwrap().links = links;
    add(&mut state, "x", "a").unwrap();
    state
}

/// A kernel with BIG TCP, and uplinks of index 2 and so on that carry trains of these lengths.
fn facts(uplinks: &[Trains]) -> HostFacts {
    let of = |(trains, ifindex): (&Trains, u32)| UplinkFact {
        name: format!("eth{ifindex}"),
        ifindex,
        trains: *trains,
        ..uplink()
    };
    HostFacts { uplinks: uplinks.iter().zip(2..).map(of).collect(), trains: Trains::BIG, ..HostFacts::default() }
}

fn tuning(state: &State, facts: &HostFacts, ways_out: &[u32]) -> Tuning {
    tuning::tuning(state, facts, &ways_out.iter().copied().collect())
}

#[test]
fn nothing_is_asked_of_the_links_of_an_ordinary_network() {
    let state = with(LinkSettings::default());
    assert!(!is_asked(&state));
    assert_eq!(tuning(&state, &facts(&[Trains::BIG]), &[2]), Tuning::default());
}

#[test]
fn both_ends_and_the_bridge_carry_what_the_settings_say_and_what_leaves_is_held_at_the_networks_mtu() {
    let state = with(ALL);
    let links = desired_links(&state);
    assert_eq!((links.bridges[0].mtu, links.endpoints[0].mtu), (65_535, 65_535));
    assert_eq!(links.routes[0].mtus(), [Some(1500), None]);
    let found = tuning(&state, &facts(&[Trains::BIG]), &[2]);
    let shown: Vec<String> = found.links.iter().map(ToString::to_string).collect();
    let (bridge, veth) = (&links.bridges[0].name, &links.endpoints[0].veth);
    let netns = &links.endpoints[0].netns;
    assert_eq!(
        shown,
        [
            format!("{bridge} (trains of 196608 and 196608 bytes)"),
            format!("{veth} and eth0 of {netns} (MTU 65535, trains of 196608 and 196608 bytes, GRO on)")
        ]
    );
    assert_eq!(found.routes, links.routes);
}

#[test]
fn trains_are_no_longer_than_the_way_out_carries() {
    let short = Trains::default();
    let row = |kernel: Trains, uplinks: &[Trains], ways_out: &[u32], internal: bool, expected: [u32; 2]| {
        let mut state = with(ALL);
        state.networks.get_mut("a").unwrap().internal = internal;
        let facts = HostFacts { trains: kernel, ..facts(uplinks) };
        let ways_out: BTreeSet<u32> = ways_out.iter().copied().collect();
        let found = tuning::trains(&state.networks["a"], &facts, &ways_out).unwrap();
        assert_eq!([found.v4, found.v6], expected, "{kernel:?} {uplinks:?} {ways_out:?} internal={internal}");
        let sentences = held(&state, &facts, &ways_out);
        assert_eq!(sentences.len(), expected.iter().filter(|bytes| **bytes < BIG_TRAIN).count(), "{sentences:?}");
    };
    let big = [BIG_TRAIN; 2];
    row(Trains::BIG, &[Trains::BIG], &[2], false, big);
    row(Trains::BIG, &[Trains { v4: 500_000, v6: 500_000 }], &[2], false, big);
    row(Trains::BIG, &[Trains { v4: 100_000, ..Trains::BIG }], &[2], false, [100_000, BIG_TRAIN]);
    // An uplink that carries less than Linux's default cuts trains up itself.
    row(Trains::BIG, &[Trains { v4: 1, v6: 1 }], &[2], false, [ORDINARY_TRAIN; 2]);
    // Only the ways out count, if there are any.
    row(Trains::BIG, &[Trains::BIG, short], &[2], false, big);
    row(Trains::BIG, &[Trains::BIG, short], &[2, 3], false, [ORDINARY_TRAIN; 2]);
    row(Trains::BIG, &[Trains::BIG, short], &[], false, [ORDINARY_TRAIN; 2]);
    row(Trains::BIG, &[short], &[2], true, big);
    row(Trains::BIG, &[], &[], false, big);
    row(Trains { v6: BIG_TRAIN, ..short }, &[Trains::BIG], &[2], false, [ORDINARY_TRAIN, BIG_TRAIN]);
}

#[test]
fn it_is_said_why_trains_are_short_and_what_to_do() {
    let state = with(ALL);
    let ways_out = BTreeSet::from([2]);
    let narrow = facts(&[Trains { v4: ORDINARY_TRAIN, ..Trains::BIG }]);
    assert_eq!(
        held(&state, &narrow, &ways_out),
        ["big-tcp of network `a` is held at 65536 bytes over IPv4, which eth2 carries: run `ip link set eth2 \
          gso_ipv4_max_size 196608 gro_ipv4_max_size 196608`, then `portlane repair`"]
    );
    let old = HostFacts { trains: Trains::default(), ..narrow };
    assert_eq!(
        held(&state, &old, &ways_out)[1],
        "big-tcp of network `a` is held at 65536 bytes over IPv6: this kernel has no longer trains, Linux 5.19 has"
    );
}
