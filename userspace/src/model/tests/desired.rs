//! What must be there for a state to be in force.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use portlane_common::{
    config::SCHEMA,
    endpoint::veth,
    family::{Addr4, Addr6, Address},
    policy::{Policy, PolicyKey},
    publish::{PublishKey, UDP_BACK, flag},
    reason::Hook,
    source::SourceKey,
    span::Span,
};

use super::{add, named, ports, state_with, uplink};
use crate::model::{
    container::{ContainerRequest, LinkRequest, add_container},
    desired::{Attachment, Desired, HostFacts, desired},
    network::{NetworkRequest, add_network},
    publish::HostView,
    spec,
    state::{State, Status, Xdp},
};

/// A host with an uplink of index 2, whose other interfaces are the state's, from 10 on.
fn facts(state: &State) -> HostFacts {
    let veths = state.endpoints().map(|(_, endpoint)| endpoint.veth.clone());
    let names = state.networks.values().map(|n| n.bridge.clone()).chain(veths);
    let address = |text: &str| (text.parse().unwrap(), 2);
    HostFacts {
        uplinks: vec![uplink()],
        addresses: ["192.0.2.1", "169.254.3.3", "127.0.0.1", "2001:db8::1", "fe80::1", "::1"].map(address).into(),
        ifindex: names.zip(10..).collect(),
        ..HostFacts::default()
    }
}

fn of(state: &State) -> Desired {
    desired(state, &facts(state))
}

#[test]
fn the_hosts_addresses_and_uplinks_are_known() {
    let tables = of(&State::default()).tables;
    let four: Vec<[u8; 4]> = tables.host4.keys().map(|a| a.octets).collect();
    assert_eq!(four, [[169, 254, 3, 3], [192, 0, 2, 1]]);
    assert_eq!(tables.host6.len(), 1);
    assert_eq!(tables.uplink[&2].addr4.octets, [192, 0, 2, 1]);
    assert_eq!((tables.config.schema, tables.config.publish_classes), (SCHEMA, 0));
    let attached: Vec<(String, Hook)> =
        of(&State::default()).attach.into_iter().map(|a| (a.interface, a.hook)).collect();
    assert_eq!(attached, [("eth0".into(), Hook::FromUplink), ("eth0".into(), Hook::ToUplink)]);
}

#[test]
fn a_containers_rows_are_there_once_its_interface_is() {
    let mut state = state_with(&["b6"]);
    add(&mut state, "c1", "b6").unwrap();
    add(&mut state, "n1", "none").unwrap();
    add(&mut state, "h1", "host").unwrap();
    let mut seen = facts(&state);
    let c1 = state.container("c1").unwrap().endpoints[0].clone();
    let found = desired(&state, &seen);
    let index = seen.ifindex[&c1.veth];
    let row = found.tables.veth[&index];
    assert_eq!((row.endpoint, row.network, row.bridge), (1, 1, seen.ifindex[&state.networks["b6"].bridge]));
    assert_eq!((row.mac, row.gateway_mac, row.flags), (c1.mac, state.networks["b6"].bridge_mac, veth::MASQUERADE));
    assert_eq!(found.tables.endpoint4[&c1.addr4.into()].ifindex, index);
    assert_eq!(found.tables.endpoint6[&c1.addr6.unwrap().into()].mac, c1.mac);
    assert!(found.attach.contains(&Attachment { interface: c1.veth.clone(), hook: Hook::ToContainer }));
    assert_eq!((found.endpoints.len(), found.netns.len(), found.bridges.len()), (1, 2, 1));
    let link = &found.endpoints[0];
    assert_eq!((link.addr4, link.gateway4), ((c1.addr4, 24), Some(state.networks["b6"].gateway4)));
    assert_eq!((link.addr6.unwrap().1, link.gateway6), (64, state.networks["b6"].gateway6));
    seen.ifindex.remove(&c1.veth);
    let early = desired(&state, &seen);
    assert!(early.tables.veth.is_empty() && early.tables.endpoint4.is_empty() && early.tables.endpoint6.is_empty());
    assert_eq!((early.attach.len(), early.endpoints.len()), (2, 1));
    state.container_mut("c1").unwrap().status = Status::Exited { code: Some(0) };
    let ended = desired(&state, &seen);
    assert_eq!((ended.endpoints.len(), ended.netns.len(), ended.bridges.len()), (0, 1, 1));
}

#[test]
fn an_internal_network_has_no_way_out() {
    let mut state = State::default();
    let request =
        NetworkRequest { internal: true, masquerade: false, icc: false, ipv6: true, ..NetworkRequest::named("i") };
    add_network(&mut state, request, &HostView::default()).unwrap();
    add(&mut state, "c1", "i").unwrap();
    let found = of(&state);
    assert_eq!((found.endpoints[0].gateway4, found.endpoints[0].gateway6), (None, None));
    assert!(found.tables.veth.values().all(|row| row.flags == veth::ICC_OFF | veth::INTERNAL));
}

#[test]
fn a_published_range_is_one_entry_in_each_family() {
    fn check(network: &str, spec: &str, four: Option<[u8; 4]>, six: Option<&str>) {
        let mut state = state_with(&["a", "b6"]);
        add_container(
            &mut state,
            ContainerRequest { publishes: ports(&[spec]), ..named("c1", network) },
            &HostView::default(),
        )
        .unwrap();
        let tables = of(&state).tables;
        let six = six.map(|text| Addr6::from(text.parse::<Ipv6Addr>().unwrap()));
        assert_eq!(
            tables.publish4.keys().find(|key| key.proto != UDP_BACK).map(|key| key.addr),
            four.map(Addr4::from),
            "{spec}"
        );
        assert_eq!(tables.publish6.keys().find(|key| key.proto != UDP_BACK).map(|key| key.addr), six, "{spec}");
        let ways = if spec.ends_with("/udp") { 2 } else { 1 };
        assert!(tables.publish4.len() <= ways && tables.publish6.len() <= ways);
        assert_eq!(tables.generation, BTreeMap::from([(1, 1)]));
    }
    check("a", "80:80", Some([0; 4]), None);
    check("b6", "80:80", Some([0; 4]), Some("::"));
    check("b6", "0.0.0.0:80:80", Some([0; 4]), None);
    check("b6", "[::]:80:80", None, Some("::"));
    check("b6", "127.0.0.1:80:80", Some([127, 0, 0, 1]), None);
    check("b6", "[2001:db8::1]:80:80", None, Some("2001:db8::1"));
    check("a", "40000-55999:40000-55999/udp", Some([0; 4]), None);
    let mut state = state_with(&["a"]);
    let publishes = ports(&["40000-55999:30000-45999/udp", "80:8080"]);
    add_container(&mut state, ContainerRequest { publishes, ..named("c1", "a") }, &HostView::default()).unwrap();
    let tables = of(&state).tables;
    let row = tables.publish4[&PublishKey::new(Addr4::ANY, 17, Span { first: 40_000, last: 55_999 })];
    assert_eq!((row.addr.octets, row.first, row.last, row.target), ([10, 0, 0, 2], 40_000, 55_999, 30_000));
    assert_eq!((row.id, row.generation), (1, 1));
    assert_eq!(tables.config.publish_classes, 1 << 13 | 1);
    let back = tables.publish4[&PublishKey::new([10, 0, 0, 2].into(), UDP_BACK, Span { first: 30_000, last: 45_999 })];
    assert_eq!((back.addr, back.first, back.last, back.target), (Addr4::ANY, 30_000, 45_999, 40_000));
    assert_eq!((back.id, back.generation), (1, 1));
}

#[test]
fn sources_are_rows_of_their_family_and_the_entry_says_that_it_has_some() {
    let mut state = state_with(&["b6"]);
    let publishes = ports(&["80:80,from=10.0.0.0/8,from=192.0.2.7", "54:54/udp,from=2001:db8::/32", "81:81"]);
    add_container(&mut state, ContainerRequest { publishes, ..named("c1", "b6") }, &HostView::default()).unwrap();
    let tables = of(&state).tables;
    let four = |id, octets: [u8; 4], length| SourceKey::new(id, Addr4::from(octets), length);
    assert_eq!(
        tables.source4.keys().copied().collect::<Vec<_>>(),
        [four(1, [10, 0, 0, 0], 8), four(1, [192, 0, 2, 7], 32)]
    );
    let net: Ipv6Addr = "2001:db8::".parse().unwrap();
    assert_eq!(tables.source6.keys().copied().collect::<Vec<_>>(), [SourceKey::new(2, Addr6::from(net), 32)]);
    let flags = |back: bool| {
        let rows = tables.publish4.iter().filter(move |(key, _)| (key.proto == UDP_BACK) == back);
        rows.map(|(_, row)| (row.id, row.flags)).collect::<BTreeMap<_, _>>()
    };
    // Nobody of IPv4 may use the second, whose container may speak first all the same.
    assert_eq!(flags(false), BTreeMap::from([(1, flag::SOURCES), (2, flag::SOURCES), (3, 0)]));
    assert_eq!(flags(true), BTreeMap::from([(2, 0)]));
}

#[test]
fn answers_of_udp_have_one_way_back() {
    let mut state = state_with(&["a"]);
    let publishes = ports(&["127.0.0.1:53:53/udp", "192.0.2.1:54:53/udp", "55:53/udp", "53:53"]);
    add_container(&mut state, ContainerRequest { publishes, ..named("c1", "a") }, &HostView::default()).unwrap();
    let rows = of(&state).tables.publish4;
    let back: Vec<_> = rows.iter().filter(|(key, _)| key.proto == UDP_BACK).collect();
    // Of the first that others can call.
    assert_eq!(back.len(), 1);
    assert_eq!((back[0].1.addr, back[0].1.target), ([192, 0, 2, 1].into(), 54));
}

#[test]
fn name_servers_keep_their_port_where_it_is_published_on_every_address() {
    fn check(published: &[&str], expected: &[&str]) {
        let mut state = state_with(&["a", "b6"]);
        let publishes = ports(published);
        add_container(&mut state, ContainerRequest { publishes, ..named("c1", "b6") }, &HostView::default()).unwrap();
        let Desired { tables, .. } = of(&state);
        let kept4 = tables.publish4.iter().filter(|(_, row)| row.flags & flag::HOST != 0).map(|(key, row)| {
            assert_eq!((row.first, row.last, row.id), (53, 53, 0), "{published:?}");
            format!("{} {}", Ipv4Addr::from(key.addr.octets), key.proto)
        });
        let kept6 = tables.publish6.iter().filter(|(_, row)| row.flags & flag::HOST != 0);
        let kept6 = kept6.map(|(key, _)| format!("{} {}", Ipv6Addr::from(key.addr.octets), key.proto));
        assert_eq!(kept4.chain(kept6).collect::<Vec<_>>(), expected, "{published:?}");
    }
    let six = of(&state_with(&["b6"])).bridges[0].addr6.unwrap().0;
    let gateway6 = format!("{six} 17");
    check(&["8080:80"], &[]);
    check(&["192.0.2.1:53:53/udp"], &[]);
    check(&["53:53/udp"], &["10.0.0.1 17", "10.0.1.1 17", &gateway6]);
    check(&["50-60:50-60/udp"], &["10.0.0.1 17", "10.0.1.1 17", &gateway6]);
    // What somebody asks for on the very address is that one's.
    check(&["53:53/udp", "10.0.0.1:53:54/udp"], &["10.0.1.1 17", &gateway6]);
    check(&["0.0.0.0:53:53"], &["10.0.0.1 6", "10.0.1.1 6"]);
}

#[test]
fn links_open_exposed_and_published_ports_where_icc_is_off() {
    fn check(icc: bool, exposed: &[&str], published: &[&str], expected: &[(u8, u16, u16)]) {
        let mut state = State::default();
        add_network(&mut state, NetworkRequest { icc, ..NetworkRequest::named("a") }, &HostView::default()).unwrap();
        let exposed = exposed.iter().map(|text| spec::port(text).unwrap()).collect();
        let target = ContainerRequest { exposed, publishes: ports(published), ..named("db", "a") };
        add_container(&mut state, target, &HostView::default()).unwrap();
        let links = ["db", "x"].map(|alias| LinkRequest { target: "db".into(), alias: alias.into() }).into();
        add_container(&mut state, ContainerRequest { links, ..named("web", "a") }, &HostView::default()).unwrap();
        let expected = expected.iter().map(|(proto, first, last)| {
            let (first, last) = (*first, *last);
            (PolicyKey::new(2, 1, *proto, Span { first, last }), Policy { first, last })
        });
        let tables = of(&state).tables;
        assert_eq!(tables.policy, expected.collect());
        let bits = tables.policy.keys().fold(0, |bits, key| bits | 1 << key.class);
        assert_eq!(tables.config.policy_classes, bits);
        state.container_mut("db").unwrap().status = Status::Exited { code: None };
        assert!(of(&state).tables.policy.is_empty());
    }
    check(true, &["80"], &[], &[]);
    check(false, &[], &[], &[]);
    check(false, &["80", "53/udp"], &[], &[(6, 80, 80), (17, 53, 53)]);
    check(false, &["80"], &["8080:80"], &[(6, 80, 80)]);
    check(false, &["80-89", "85-95", "96", "98"], &["1:65535"], &[(6, 80, 96), (6, 98, 98), (6, 65_535, 65_535)]);
}

#[test]
fn xdp_goes_to_hardware_or_where_it_is_asked_for() {
    let xdp = |setting, hardware| {
        let state = State { xdp: setting, ..State::default() };
        let mut facts = facts(&state);
        facts.uplinks[0].hardware = hardware;
        desired(&state, &facts).attach.iter().any(|attachment| attachment.hook == Hook::FromUplinkXdp)
    };
    assert!(xdp(Xdp::Auto, true) && !xdp(Xdp::Auto, false));
    assert!(xdp(Xdp::Native, false));
    assert!(!xdp(Xdp::Off, true));
}
