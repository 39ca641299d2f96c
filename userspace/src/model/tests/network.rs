//! Networks: which subnets and gateways they get, and which they may not have.

use std::net::Ipv4Addr;

use ipnet::IpNet;

use super::{add, state_with};
use crate::model::{
    container::remove_container,
    network::{NetworkRequest, add_network, ensure_network, remove_network, set_default},
    publish::HostView,
    state::{DefaultNetwork, State},
    tuning::LinkSettings,
};

fn check(state: &mut State, request: NetworkRequest, used: &[&str], expected: Result<&str, &str>) {
    let used: Vec<IpNet> = used.iter().map(|net| net.parse().unwrap()).collect();
    let (name, before) = (request.name.clone(), state.clone());
    match (add_network(state, request, &HostView { used: &used, ..HostView::default() }), expected) {
        (Ok(()), Ok(subnet)) => assert_eq!(state.networks[&name].subnet4.to_string(), subnet),
        (Err(error), Err(part)) => {
            assert!(error.to_string().contains(part), "{error} does not say {part}");
            assert_eq!(*state, before, "a refused request changed the state");
        }
        (found, expected) => panic!("{name}: {found:?} instead of {expected:?}"),
    }
}

fn with_subnet(name: &str, subnet: &str) -> NetworkRequest {
    NetworkRequest { subnet4: Some(subnet.parse().unwrap()), ..NetworkRequest::named(name) }
}

#[test]
fn networks_get_subnets_of_their_own() {
    let mut state = State::default();
    let mut row = |request, used: &[&str], expected| check(&mut state, request, used, expected);
    row(NetworkRequest::named("a"), &["172.17.0.1/32"], Ok("172.18.0.0/16"));
    row(NetworkRequest::named("b"), &[], Ok("172.17.0.0/16"));
    row(NetworkRequest::named("b"), &[], Err("there is a network `b` already"));
    row(with_subnet("c", "10.1.2.3/24"), &["10.0.0.0/8"], Ok("10.1.2.0/24"));
    row(with_subnet("d", "10.1.0.0/16"), &[], Err("10.1.0.0/16 overlaps 10.1.2.0/24 of network `c`"));
    row(with_subnet("d", "192.0.2.0/24"), &["192.0.2.7/32"], Err("of the host"));
    row(with_subnet("d", "10.9.0.0/31"), &[], Err("too small"));
    row(with_subnet("d", "127.1.0.0/16"), &[], Err("not for hosts"));
    row(with_subnet("d", "224.0.0.0/8"), &[], Err("not for hosts"));
    row(NetworkRequest::named("host"), &[], Err("choose another name"));
    row(NetworkRequest::named("portlane0"), &[], Err("choose another name"));
    row(NetworkRequest::named("x/y"), &[], Err("cannot be a name"));
    row(NetworkRequest { mtu: Some(20), ..NetworkRequest::named("d") }, &[], Err("from 68"));
    row(NetworkRequest { mtu: Some(1000), ipv6: true, ..NetworkRequest::named("d") }, &[], Err("from 1280"));
    let links = |mtu| LinkSettings { mtu: Some(mtu), ..LinkSettings::default() };
    row(NetworkRequest { links: links(1400), ..NetworkRequest::named("d") }, &[], Err("choose one from 1500 to 65535"));
    row(NetworkRequest { links: links(65_536), ..NetworkRequest::named("d") }, &[], Err("link MTU of 65536"));
    let gateway = |address: &str| Some(address.parse().unwrap());
    row(NetworkRequest { gateway4: gateway("10.7.0.1"), ..with_subnet("d", "10.8.0.0/24") }, &[], Err("choose one of"));
    row(NetworkRequest { gateway4: gateway("10.8.0.254"), ..with_subnet("d", "10.8.0.0/24") }, &[], Ok("10.8.0.0/24"));
    let range = |text: &str| Some(text.parse().unwrap());
    row(NetworkRequest { range4: range("10.9.5.0/24"), ..with_subnet("e", "10.9.0.0/16") }, &[], Ok("10.9.0.0/16"));
    row(NetworkRequest { range4: range("10.5.0.0/24"), ..with_subnet("f", "10.6.0.0/16") }, &[], Err("is no part of"));
    let range6 = "fd00::/80".parse().ok();
    row(NetworkRequest { range6, ..NetworkRequest::named("f") }, &[], Err("no part of an IPv6 subnet"));
    assert_eq!(state.networks.values().map(|n| n.id).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

#[test]
fn the_default_network_is_made_on_its_first_use() {
    let mut state = State::default();
    state.default_network.bip = Some("10.20.0.9/24".parse().unwrap());
    state.default_network.ipv6 = true;
    assert_eq!(ensure_network(&mut state, "bridge", &HostView::default()).unwrap(), "portlane0");
    let network = state.network("default").unwrap().clone();
    assert_eq!((network.bridge.as_str(), network.gateway4), ("portlane0", Ipv4Addr::new(10, 20, 0, 9)));
    assert_eq!(network.gateway6.unwrap().segments()[7], 9);
    assert_eq!(ensure_network(&mut state, "portlane0", &HostView::default()).unwrap(), "portlane0");
    assert!(ensure_network(&mut state, "other", &HostView::default()).is_err());
    assert_eq!(state.networks.len(), 1);
}

#[test]
fn a_network_in_use_names_its_users() {
    let mut state = state_with(&["a"]);
    add(&mut state, "c1", "a").unwrap();
    add(&mut state, "c2", "a").unwrap();
    let error = remove_network(&mut state, "a").unwrap_err();
    assert_eq!(error.to_string(), "network `a` is in use by c1, c2: stop or remove them first");
    for name in ["c1", "c2"] {
        remove_container(&mut state, name).unwrap();
    }
    remove_network(&mut state, "a").unwrap();
    assert!(remove_network(&mut state, "a").is_err());
}

#[test]
fn new_settings_of_the_default_network_wait_for_its_last_container_except_for_what_concerns_packets() {
    let mut state = State::default();
    ensure_network(&mut state, "bridge", &HostView::default()).unwrap();
    add(&mut state, "c1", "bridge").unwrap();
    let settings = DefaultNetwork { icc: false, mtu: Some(1400), ..DefaultNetwork::default() };
    set_default(&mut state, settings.clone());
    let network = state.network("bridge").unwrap();
    assert_eq!((network.icc, network.mtu), (false, 1500));
    remove_container(&mut state, "c1").unwrap();
    for mtu in [1400, 1300] {
        // The first time, nothing is new but that nobody is left.
        set_default(&mut state, DefaultNetwork { mtu: Some(mtu), ..settings.clone() });
        ensure_network(&mut state, "bridge", &HostView::default()).unwrap();
        assert_eq!(state.network("bridge").unwrap().mtu, mtu);
    }
}
