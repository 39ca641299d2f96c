//! Names on networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::{add, named, state_with};
use crate::model::{
    connect::{ConnectRequest, connect},
    container::{ContainerRequest, add_container},
    names::{Answer, Kind, Names},
    publish::HostView,
    state::{State, Status},
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// `web` (10.0.0.2, host name `w1.example.org`) and `db` (10.0.0.3) on `a`, `six` (10.0.1.2) on `b6`.
fn state() -> State {
    let mut state = state_with(&["a", "b6"]);
    let hostname = Some("W1.Example.org".to_owned());
    let request = ContainerRequest { hostname, dns: vec![ip("192.0.2.7")], ..named("Web", "a") };
    add_container(&mut state, request, &HostView::default()).unwrap();
    add(&mut state, "db", "a").unwrap();
    add(&mut state, "six", "b6").unwrap();
    state
}

fn addresses(all: &[&str]) -> Answer {
    Answer::Addresses(all.iter().map(|text| ip(text)).collect())
}

/// What `db` is told.
fn told(state: &State, name: &str, kind: Kind) -> Answer {
    Names::of(state).answer(ip("10.0.0.1"), ip("10.0.0.3"), name, kind)
}

#[test]
fn containers_of_a_network_are_known_by_each_of_their_names_in_any_case() {
    let state = state();
    let short = state.container("Web").unwrap().short_id().to_owned();
    for name in ["web", "WEB", "web.", "web.a", "Web.A.", &short, "w1.example.org", &format!("{short}.a")] {
        assert_eq!(told(&state, name, Kind::A), addresses(&["10.0.0.2"]), "{name}");
        assert_eq!(told(&state, name, Kind::Any), addresses(&["10.0.0.2"]), "{name}");
        for nothing in [Kind::Aaaa, Kind::Ptr, Kind::Other] {
            assert_eq!(told(&state, name, nothing), addresses(&[]), "{name} {nothing:?}");
        }
    }
}

#[test]
fn what_no_container_of_the_network_is_called_is_asked_of_name_servers() {
    let state = state();
    for name in ["six", "webb", "web.b6", "web.example.org", "", ".", "example.org", "a", ".a"] {
        assert_eq!(told(&state, name, Kind::A), Answer::Forward(Vec::new()), "{name}");
    }
    let own = Names::of(&state).answer(ip("10.0.0.1"), ip("10.0.0.2"), "example.org", Kind::A);
    assert_eq!(own, Answer::Forward(vec![ip("192.0.2.7")]), "it has a name server of its own");
}

#[test]
fn both_families_are_told_where_there_are_both() {
    let state = state();
    let gateway = state.network("b6").unwrap().gateway6.unwrap().into();
    let six: IpAddr = state.container("six").unwrap().endpoints[0].addr6.unwrap().into();
    let told = |kind| Names::of(&state).answer(gateway, six, "six", kind);
    assert_eq!(told(Kind::A), addresses(&["10.0.1.2"]));
    assert_eq!(told(Kind::Aaaa), Answer::Addresses(vec![six]));
    assert_eq!(told(Kind::Any), Answer::Addresses(vec![ip("10.0.1.2"), six]));
}

#[test]
fn addresses_have_names_and_those_of_our_networks_are_nobody_elses_to_know() {
    let state = state();
    let name = |text: &str| Answer::Name(text.to_owned());
    assert_eq!(told(&state, "2.0.0.10.in-addr.arpa.", Kind::Ptr), name("Web.a"));
    assert_eq!(told(&state, "3.0.0.10.IN-ADDR.ARPA", Kind::Any), name("db.a"));
    assert_eq!(told(&state, "3.0.0.10.in-addr.arpa", Kind::A), addresses(&[]));
    // Free, the gateway's, another network's.
    for ours in ["9.0.0.10", "1.0.0.10", "2.1.0.10"] {
        assert_eq!(told(&state, &format!("{ours}.in-addr.arpa"), Kind::Ptr), Answer::NoSuchName, "{ours}");
    }
    for theirs in ["7.2.0.192.in-addr.arpa", "0.0.10.in-addr.arpa", "1.2.3.4.5.in-addr.arpa", "300.0.0.10.in-addr.arpa"]
    {
        assert_eq!(told(&state, theirs, Kind::Ptr), Answer::Forward(Vec::new()), "{theirs}");
    }
}

#[test]
fn who_is_not_on_the_network_is_refused() {
    let names = Names::of(&state());
    for source in ["192.0.2.2", "10.0.1.2", "2001:db8::1"] {
        assert_eq!(names.answer(ip("10.0.0.1"), ip(source), "web", Kind::A), Answer::Refused, "{source}");
    }
    assert_eq!(names.answer(ip("10.0.9.1"), ip("10.0.0.3"), "web", Kind::A), Answer::Refused, "no such gateway");
}

#[test]
fn an_alias_takes_nobodys_name_and_may_be_shared() {
    let mut state = state();
    for (name, hostname) in [("x", "db"), ("y", "both"), ("z", "both")] {
        let request = ContainerRequest { hostname: Some(hostname.to_owned()), ..named(name, "a") };
        add_container(&mut state, request, &HostView::default()).unwrap();
    }
    assert_eq!(told(&state, "db", Kind::A), addresses(&["10.0.0.3"]));
    assert_eq!(told(&state, "both", Kind::A), addresses(&["10.0.0.5", "10.0.0.6"]));
}

#[test]
fn who_has_ended_is_forgotten() {
    let mut state = state();
    state.container_mut("web").unwrap_err();
    state.container_mut("Web").unwrap().status = Status::Exited { code: Some(0) };
    assert_eq!(told(&state, "web", Kind::A), Answer::Forward(Vec::new()));
    assert_eq!(told(&state, "2.0.0.10.in-addr.arpa", Kind::Ptr), Answer::NoSuchName);
}

#[test]
fn an_internal_network_knows_its_own_names_only() {
    let mut state = state();
    state.networks.get_mut("a").unwrap().internal = true;
    assert_eq!(told(&state, "web", Kind::A), addresses(&["10.0.0.2"]));
    assert_eq!(told(&state, "example.org", Kind::A), Answer::Internal);
}

/// Puts `web` on `b6` as well, as `front`.
fn on_both(state: &mut State) {
    let request = ConnectRequest { aliases: vec!["Front".into()], ..ConnectRequest::to("b6") };
    connect(state, "Web", &request, &HostView::default()).unwrap();
}

#[test]
fn who_is_on_two_networks_knows_both_by_either_gateway_and_others_know_their_own_only() {
    let mut state = state();
    on_both(&mut state);
    let names = Names::of(&state);
    let asks = |gateway: &str, source: &str, name: &str| names.answer(ip(gateway), ip(source), name, Kind::A);
    for (gateway, source) in [("10.0.0.1", "10.0.0.2"), ("10.0.1.1", "10.0.1.3")] {
        assert_eq!(asks(gateway, source, "db"), addresses(&["10.0.0.3"]), "{gateway}");
        assert_eq!(asks(gateway, source, "six.b6"), addresses(&["10.0.1.2"]), "{gateway}");
    }
    // The network that is asked comes first.
    assert_eq!(asks("10.0.0.1", "10.0.0.2", "web"), addresses(&["10.0.0.2"]));
    assert_eq!(asks("10.0.1.1", "10.0.1.3", "web"), addresses(&["10.0.1.3"]));
    assert_eq!(asks("10.0.1.1", "10.0.1.2", "front.b6"), addresses(&["10.0.1.3"]));
    assert_eq!(asks("10.0.1.1", "10.0.1.2", "db"), Answer::Forward(Vec::new()));
    assert_eq!(told(&state, "front", Kind::A), Answer::Forward(Vec::new()), "an alias is for one network");
    assert_eq!(told(&state, "3.1.0.10.in-addr.arpa", Kind::Ptr), Answer::NoSuchName);
    assert_eq!(asks("10.0.1.1", "10.0.0.2", "web"), Answer::Refused, "another network's gateway");
}

#[test]
fn who_gets_out_by_another_network_asks_outside_also_from_an_internal_one() {
    let mut state = state();
    on_both(&mut state);
    state.networks.get_mut("b6").unwrap().internal = true;
    let names = Names::of(&state);
    let asks = |source: &str| names.answer(ip("10.0.1.1"), ip(source), "example.org", Kind::A);
    assert_eq!(asks("10.0.1.3"), Answer::Forward(vec![ip("192.0.2.7")]));
    assert_eq!(asks("10.0.1.2"), Answer::Internal);
    assert_eq!(asks("10.0.1.1"), Answer::Internal, "the host itself");
}

#[test]
fn the_default_network_has_no_names() {
    let mut state = state();
    crate::model::network::ensure_network(&mut state, "bridge", &HostView::default()).unwrap();
    let network = state.network("bridge").unwrap();
    let (gateway, name): (IpAddr, _) = (network.gateway4.into(), network.name.clone());
    add(&mut state, "old", &name).unwrap();
    let old = state.container("old").unwrap().endpoints[0].addr4;
    let names = Names::of(&state);
    assert!(names.gateways().all(|other| other != gateway));
    assert_eq!(names.answer(gateway, old.into(), "old", Kind::A), Answer::Refused);
    let four = old.octets();
    let reverse = format!("{}.{}.{}.{}.in-addr.arpa", four[3], four[2], four[1], four[0]);
    assert_eq!(told(&state, &reverse, Kind::Ptr), Answer::NoSuchName);
}

fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(four) => {
            let [a, b, c, d] = four.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(six) => {
            let digits = format!("{:032x}", six.to_bits());
            let labels: Vec<String> = digits.chars().rev().map(String::from).collect();
            format!("{}.ip6.arpa", labels.join("."))
        }
    }
}

proptest! {
    #[test]
    fn nothing_that_is_asked_is_too_strange(name in "\\PC*", host in any::<u8>()) {
        let state = state();
        for kind in [Kind::A, Kind::Aaaa, Kind::Ptr, Kind::Any, Kind::Other] {
            Names::of(&state).answer(ip("10.0.0.1"), Ipv4Addr::new(10, 0, 0, host).into(), &name, kind);
        }
    }

    #[test]
    fn the_name_of_an_address_leads_back_to_it(number in 0_usize..8) {
        let mut state = state_with(&["n6"]);
        for name in ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"] {
            add(&mut state, name, "n6").unwrap();
        }
        let names = Names::of(&state);
        let container = &state.container(&format!("c{number}")).unwrap().endpoints[0];
        for address in [IpAddr::from(container.addr4), container.addr6.unwrap().into()] {
            let (gateway, source) = (ip("10.0.0.1"), ip("10.0.0.2"));
            let Answer::Name(name) = names.answer(gateway, source, &reverse(address), Kind::Ptr) else {
                panic!("{address} has no name");
            };
            let Answer::Addresses(all) = names.answer(gateway, source, &name, Kind::Any) else {
                panic!("{name} has no address");
            };
            prop_assert!(all.contains(&address), "{name}: {all:?}");
        }
    }

    #[test]
    fn no_address_of_ours_is_asked_of_others(bits in any::<u64>()) {
        let state = state();
        let subnet = state.network("b6").unwrap().subnet6.unwrap();
        let six = Ipv6Addr::from_bits(subnet.network().to_bits() | u128::from(bits));
        for address in [IpAddr::from(six), Ipv4Addr::new(10, 0, 1, bits as u8).into()] {
            let answer = told(&state, &reverse(address), Kind::Ptr);
            prop_assert!(!matches!(answer, Answer::Forward(_)), "{address}: {answer:?}");
        }
    }
}
