//! Containers on several networks.

use super::{add, named, ports, state_with, to};
use crate::model::{
    connect::{ConnectRequest, connect, disconnect},
    container::{ContainerRequest, add_container},
    network::{NetworkRequest, add_network, prune},
    publish::HostView,
    state::State,
};

fn join(state: &mut State, name: &str, request: &ConnectRequest) -> Result<(), String> {
    let before = state.clone();
    connect(state, name, request, &HostView::default()).map_err(|error| {
        assert_eq!(*state, before, "a refused request changed the state");
        error.to_string()
    })
}

/// Network and interface that the default routes lead by.
fn leads(state: &State, name: &str) -> Option<(String, String)> {
    let (four, _) = state.gateways(state.container(name).unwrap());
    four.map(|endpoint| (endpoint.network.clone(), endpoint.interface.clone()))
}

#[test]
fn a_container_is_connected_to_further_networks_and_disconnected() {
    let mut state = state_with(&["a", "b6", "c"]);
    add(&mut state, "c1", "a").unwrap();
    add(&mut state, "c2", "b6").unwrap();
    add(&mut state, "h1", "host").unwrap();
    join(&mut state, "c1", &to("b6")).unwrap();
    let c1 = state.container("c1").unwrap();
    let [first, second] = &c1.endpoints[..] else { panic!("{:?}", c1.endpoints) };
    assert_eq!((first.interface.as_str(), second.interface.as_str()), ("eth0", "eth1"));
    assert_eq!((second.number, second.addr4.to_string()), (3, "10.0.1.3".to_owned()));
    assert!(first.addr6.is_none() && second.addr6.is_some() && first.veth != second.veth);
    assert_eq!(c1.networks(), "a, b6");
    let refused = [
        ("c1", to("b6"), "is on network `b6` already"),
        ("c1", to("nowhere"), "there is no network `nowhere`"),
        ("ghost", to("c"), "there is no container `ghost`"),
        ("h1", to("c"), "on `host` cannot have further networks"),
        ("c1", ConnectRequest { addr4: "10.0.2.1".parse().ok(), ..to("c") }, "taken by the gateway"),
        ("c1", ConnectRequest { aliases: vec!["a b".into()], ..to("c") }, "`a b` cannot be an alias"),
    ];
    for (name, request, part) in refused {
        let error = join(&mut state, name, &request).unwrap_err();
        assert!(error.contains(part), "{error} does not say {part}");
    }
    disconnect(&mut state, "c1", "a").unwrap();
    assert!(disconnect(&mut state, "c1", "a").unwrap_err().to_string().contains("is not on network `a`"));
    // The place that is free is taken first.
    join(&mut state, "c1", &to("c")).unwrap();
    let interfaces: Vec<_> = state.container("c1").unwrap().endpoints.iter().map(|e| e.interface.as_str()).collect();
    assert_eq!(interfaces, ["eth1", "eth0"]);
}

#[test]
fn the_default_route_leads_to_the_first_network_of_the_highest_priority() {
    let mut state = state_with(&["a", "b"]);
    let inner = NetworkRequest { internal: true, ..NetworkRequest::named("inner") };
    add_network(&mut state, inner, &HostView::default()).unwrap();
    let publishes = ports(&["80:80"]);
    add_container(&mut state, ContainerRequest { publishes, ..named("c1", "inner") }, &HostView::default()).unwrap();
    let generation = |state: &State| state.container("c1").unwrap().publishes[0].generation;
    let first = generation(&state);
    assert_eq!(leads(&state, "c1"), Some(("inner".into(), "eth0".into())), "there is no other");
    join(&mut state, "c1", &to("b")).unwrap();
    assert_eq!(leads(&state, "c1"), Some(("b".into(), "eth1".into())), "not to a network without a way out");
    let second = generation(&state);
    assert_ne!(first, second, "what is published leads there too: conversations of before are over");
    join(&mut state, "c1", &to("a")).unwrap();
    assert_eq!(leads(&state, "c1"), Some(("b".into(), "eth1".into())), "among equals to the first");
    assert_eq!(generation(&state), second);
    disconnect(&mut state, "c1", "a").unwrap();
    join(&mut state, "c1", &ConnectRequest { priority: 1, ..to("a") }).unwrap();
    assert_eq!(leads(&state, "c1"), Some(("a".into(), "eth2".into())));
    for network in ["a", "b", "inner"] {
        disconnect(&mut state, "c1", network).unwrap();
    }
    assert_eq!(leads(&state, "c1"), None);
}

#[test]
fn networks_without_containers_are_pruned() {
    let mut state = state_with(&["a", "b"]);
    add(&mut state, "c1", "a").unwrap();
    add(&mut state, "c2", "bridge").unwrap();
    assert_eq!(prune(&mut state), ["b"]);
    assert_eq!(state.networks.len(), 2);
}
