//! Published ports: which are free, whose the others are.

use std::net::IpAddr;

use portlane_common::{config::MAX_SOURCES, span::Span};
use proptest::prelude::*;

use super::{add, ports, state_with};
use crate::model::{
    error::ModelError,
    network::absent_addresses,
    publish::{HostView, all_exposed, are_bound, choose, publish, unpublish},
    spec,
    state::{DEFAULT_NETWORK, Proto, Publish, State, Status},
};

/// A process of the host listens on 22/tcp, on every address.
fn listening(proto: Proto, _: Option<IpAddr>, port: u16) -> Option<String> {
    (proto == Proto::Tcp && port == 22).then(|| "sshd (1)".to_owned())
}

fn view() -> HostView<'static> {
    HostView { listening: &listening, ephemeral: Span { first: 22, last: 29 }, ..HostView::default() }
}

fn one(state: &mut State, name: &str, spec: &str) -> Result<Publish, ModelError> {
    publish(state, name, &ports(&[spec]), &view()).map(|mut added| added.remove(0))
}

#[test]
fn a_port_is_published_once() {
    let mut state = state_with(&["a", "b6"]);
    for (name, network) in [("b1", "a"), ("b2", "a"), ("v6", "b6")] {
        add(&mut state, name, network).unwrap();
    }
    let mut check = |name: &str, spec: &str, expected: Result<&str, &str>| {
        let before = state.clone();
        match (one(&mut state, name, spec).map(|p| p.to_string()), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{spec}"),
            (Err(error), Err(part)) => {
                assert!(error.to_string().contains(part), "{spec}: {error} does not say {part}");
                assert_eq!(state, before, "a refused request changed the state");
            }
            (found, _) => panic!("{name} {spec}: {found:?} instead of {expected:?}"),
        }
    };
    check("b1", "10080:80", Ok("*:10080->80/tcp"));
    check("b2", "10080:80", Err("port 10080/tcp is already published by b1; b2 cannot also map 10080"));
    check("b1", "10080:81", Err("port 10080/tcp is already published by b1; b1 cannot also map 10080"));
    check("b2", "10000-10100:1-101", Err("port 10080/tcp is already published by b1; b2 cannot also map 10000-10100"));
    check("b2", "0.0.0.0:10080:80", Err("already published by b1"));
    check("v6", "[::]:10080:80", Err("already published by b1"));
    check("b2", "10080:80/udp", Ok("*:10080->80/udp"));
    check("b2", "192.0.2.1:10080:80", Ok("192.0.2.1:10080->80/tcp"));
    check("b1", "192.0.2.1:10079-10080:1-2", Err("port 10080/tcp is already published by b2"));
    check("b1", "192.0.2.2:10080:80", Ok("192.0.2.2:10080->80/tcp"));
    check("b1", "0.0.0.0:9000:80", Ok("0.0.0.0:9000->80/tcp"));
    check("v6", "[::]:9000:80", Ok("[::]:9000->80/tcp"));
    check("b2", "9000:80", Err("port 9000/tcp is already published by"));
    check("b2", "[::1]:9001:80", Err("has no IPv6"));
    check("v6", "[fe80::1]:9001:80", Err("beyond one link"));
    check("b1", "224.0.0.1:9001:80", Err("beyond one link"));
    check("b1", "22:22", Err("port 22/tcp is in use on this host by sshd (1)"));
    check("b1", "40000-55999:40000-55999/udp", Ok("*:40000-55999->40000-55999/udp"));
    check("ghost", "1:1", Err("no container `ghost`"));
    state.container_mut("b1").unwrap().status = Status::Exited { code: None };
    assert_eq!(
        one(&mut state, "b2", "9000:80").unwrap_err().to_string(),
        "port 9000/tcp is already published by v6; b2 cannot also map 9000"
    );
    assert!(matches!(one(&mut state, "b1", "1:1"), Err(ModelError::NotRunning { .. })));
    one(&mut state, "b2", "10080:80").unwrap();
}

#[test]
fn dynamic_ports_avoid_what_is_taken() {
    let mut state = state_with(&["a"]);
    add(&mut state, "c1", "a").unwrap();
    one(&mut state, "c1", "127.0.0.1:25:25").unwrap();
    let mut found: Vec<u16> = (0..6).map(|_| one(&mut state, "c1", "80").unwrap().host.first).collect();
    found.sort_unstable();
    assert_eq!(found, [23, 24, 26, 27, 28, 29]);
    let error = one(&mut state, "c1", "80").unwrap_err();
    assert_eq!(error.to_string(), "no 1 free tcp port(s) in a row are left in 22-29: name a host port");
    assert_eq!(one(&mut state, "c1", "20-40:80").unwrap().host.first, 20);
    assert_eq!(one(&mut state, "c1", "20-40:80").unwrap().host.first, 21);
    assert_eq!(one(&mut state, "c1", "20-40:80").unwrap().host.first, 30);
    assert_eq!(one(&mut state, "c1", "1-8/udp").unwrap().host, Span { first: 22, last: 29 });
}

#[test]
fn all_exposed_ports_are_published_but_for_those_that_are_already() {
    let check = |exposed: &[&str], published: &[&str], expected: &[&str]| {
        let exposed: Vec<_> = exposed.iter().map(|port| spec::port(port).unwrap()).collect();
        assert_eq!(all_exposed(&exposed, &ports(published)), ports(expected), "{exposed:?} beside {published:?}");
    };
    check(&["80", "53/udp"], &[], &["80", "53/udp"]);
    check(&["80", "80"], &[], &["80"]);
    check(&["80"], &["8080:80/udp"], &["80"]);
    check(&["80-83"], &[], &["80-83"]);
    check(&["80-83", "83-84"], &["8080:81"], &["80", "82-83", "84"]);
    check(&["80"], &["8000-8009:80"], &[]);
    check(&["65535"], &[], &["65535"]);
}

#[test]
fn reserved_ports_are_taken_only_by_who_asks_for_them() {
    let mut state = state_with(&["a"]);
    add(&mut state, "c1", "a").unwrap();
    let reserved = [Span { first: 22, last: 25 }, Span { first: 27, last: 29 }];
    let view = HostView { reserved: &reserved, ..view() };
    let added = publish(&mut state, "c1", &ports(&["80"]), &view).unwrap();
    assert_eq!(added[0].host.first, 26);
    assert!(publish(&mut state, "c1", &ports(&["80"]), &view).is_err());
    publish(&mut state, "c1", &ports(&["24:80"]), &view).unwrap();
}

#[test]
fn entries_are_numbered_from_one_and_generations_never_return() {
    let mut state = state_with(&["a"]);
    add(&mut state, "c1", "a").unwrap();
    let numbers = |added: &[Publish]| added.iter().map(|p| (p.id, p.generation)).collect::<Vec<_>>();
    let added = publish(&mut state, "c1", &ports(&["1:1", "2:2", "3:3"]), &view()).unwrap();
    assert_eq!(numbers(&added), [(1, 1), (2, 2), (3, 3)]);
    assert_eq!(numbers(&unpublish(&mut state, "c1", &ports(&["2:2"])).unwrap()), [(2, 2)]);
    assert_eq!(numbers(&publish(&mut state, "c1", &ports(&["2:2"]), &view()).unwrap()), [(2, 4)]);
    state.next_generation = u32::MAX;
    let added = publish(&mut state, "c1", &ports(&["4:4", "5:5"]), &view()).unwrap();
    assert_eq!(numbers(&added), [(4, u32::MAX), (5, 1)]);
}

#[test]
fn what_is_not_published_cannot_be_taken_back() {
    let mut state = state_with(&["a"]);
    add(&mut state, "c1", "a").unwrap();
    publish(&mut state, "c1", &ports(&["1:80", "127.0.0.1:2:80", "3:81"]), &view()).unwrap();
    for (spec, gone) in
        [("127.0.0.1:2:80", Some(1)), ("2:80", None), ("127.0.0.1::80", Some(1)), ("80", Some(2)), ("80/udp", None)]
    {
        let mut state = state.clone();
        match (unpublish(&mut state, "c1", &ports(&[spec])), gone) {
            (Ok(found), Some(count)) => {
                assert_eq!((found.len(), state.publishes().count()), (count, 3 - count), "{spec}");
            }
            (Err(error), None) => assert!(error.to_string().contains("`c1` does not publish"), "{error}"),
            (found, _) => panic!("{spec}: {found:?}"),
        }
    }
    assert!(unpublish(&mut state, "c1", &ports(&["1:80", "9:9"])).is_err());
    assert_eq!(state.publishes().count(), 3);
}

#[test]
fn sources_are_part_of_an_entry_and_need_not_be_named_to_close_it() {
    let mut state = state_with(&["a"]);
    add(&mut state, "c1", "a").unwrap();
    let specs = ["1:80,from=10.0.0.0/8,from=192.0.2.1", "2:80,from=10.0.0.0/8", "3:80"];
    let added = publish(&mut state, "c1", &ports(&specs), &view()).unwrap();
    assert_eq!(added[0].to_string(), "*:1->80/tcp,from=10.0.0.0/8,from=192.0.2.1");
    assert!(one(&mut state, "c1", "1:81,from=172.16.0.0/12").is_err(), "a port has one entry, whoever it is open to");
    for (spec, gone) in [
        ("1:80", Some(1)),
        ("1:80,from=192.0.2.1,from=10.0.0.0/8", Some(1)),
        ("1:80,from=10.0.0.0/8", None),
        ("3:80,from=10.0.0.0/8", None),
        ("80,from=10.0.0.0/8", Some(1)),
        ("80", Some(3)),
    ] {
        match (unpublish(&mut state.clone(), "c1", &ports(&[spec])), gone) {
            (Ok(found), Some(count)) => assert_eq!(found.len(), count, "{spec}"),
            (Err(error), None) => assert!(error.to_string().contains(spec.split_once(',').unwrap().1), "{error}"),
            (found, _) => panic!("{spec}: {found:?}"),
        }
    }
}

#[test]
fn there_is_room_for_so_many_sources() {
    let mut state = state_with(&["a"]);
    add(&mut state, "c1", "a").unwrap();
    let many = |family: &str, count: u32| {
        let mut request = ports(&["80"]).remove(0);
        let address =
            |n: u32| if family == "four" { IpAddr::from(n.to_be_bytes()) } else { IpAddr::from([n as u16; 8]) };
        request.sources = (0..count).map(|n| address(n).into()).collect();
        request
    };
    let mut check = |family, count, fits: bool| {
        let before = state.clone();
        let done = publish(&mut state, "c1", &[many(family, count)], &view());
        assert_eq!(done.is_ok(), fits, "{count} of {family}: {done:?}");
        assert!(fits || (matches!(done, Err(ModelError::SourcesFull)) && state == before));
    };
    check("four", MAX_SOURCES + 1, false);
    check("four", MAX_SOURCES - 1, true);
    check("six", MAX_SOURCES, true);
    check("four", 2, false);
    check("four", 1, true);
    check("six", 1, false);
}

#[test]
fn an_address_to_publish_on_is_the_hosts() {
    let addresses = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()].map(|a: IpAddr| (a, 2));
    let ours = ports(&["80", "0.0.0.0:1:1", "127.0.0.2:1:1", "192.0.2.1:1:1", "[2001:db8::1]:1:1", "[::1]:1:1"]);
    let mut state = state_with(&[]);
    state.default_network.ipv6 = true;
    add(&mut state, "web", "bridge").unwrap();
    let view = HostView { addresses: Some(&addresses), ..HostView::default() };
    for request in ours {
        publish(&mut state, "web", std::slice::from_ref(&request), &view).unwrap();
        unpublish(&mut state, "web", &[request]).unwrap();
    }
    let refused = |state: &mut State, spec: &str| publish(state, "web", &ports(&[spec]), &view).unwrap_err();
    let absent = ModelError::NotHostAddress { address: "192.0.2.2".parse().unwrap() };
    assert_eq!(refused(&mut state, "192.0.2.2:1:1"), absent);
    // Nor is a network's own address for its ports, if the host lacks it.
    state.networks.get_mut(DEFAULT_NETWORK).unwrap().host_binding = Some("192.0.2.2".parse().unwrap());
    assert!(are_bound(&state, &ports(&["1:1"])) && !are_bound(&state, &[]));
    assert_eq!(refused(&mut state, "1:1"), absent);
    publish(&mut state, "web", &ports(&["192.0.2.1:1:1"]), &view).unwrap();
    assert_eq!(
        absent_addresses(&state, &addresses),
        [
            "network `portlane0` publishes ports on 192.0.2.2, which this host does not have: give it to an interface, or name another"
        ]
    );
    assert_eq!(absent_addresses(&state, &["192.0.2.2".parse().unwrap()].map(|a: IpAddr| (a, 2))), [""; 0]);
}

proptest! {
    #[test]
    fn chosen_ports_are_free_and_found_if_there_are_any(
        taken in prop::collection::btree_set(100u16..120, 0..20),
        count in 1u32..6,
        seed: u64,
    ) {
        let range = Span { first: 100, last: 119 };
        let free = |span: Span| (span.first..=span.last).all(|port| !taken.contains(&port));
        let last = range.last - (count as u16 - 1);
        let possible = (range.first..=last).any(|first| free(Span { first, last: first + count as u16 - 1 }));
        match choose(range, &|port| taken.contains(&port), count, seed) {
            Some(span) => {
                prop_assert!(free(span) && span.ports() == count);
                prop_assert!(range.contains(span.first) && range.contains(span.last));
            }
            None => prop_assert!(!possible),
        }
    }
}
