//! Containers: what can be asked for together, and what cannot.

use std::collections::BTreeSet;

use super::{add, named, placed, state_with, to};
use crate::model::{
    connect::ConnectRequest,
    container::{ContainerRequest, LinkRequest, add_container, remove_container},
    publish::HostView,
    spec,
    state::{SHORT_ID, State, Status},
};

fn check(state: &mut State, request: ContainerRequest, expected: Result<&str, &str>) {
    let (name, before) = (request.name.clone(), state.clone());
    match (add_container(state, request, &HostView::default()), expected) {
        (Ok(id), Ok(address)) => {
            let container = &state.containers[id.as_str()];
            let first = container.endpoints.first().map(|endpoint| endpoint.addr4.to_string());
            assert_eq!(first.unwrap_or_default(), address, "{name}");
        }
        (Err(error), Err(part)) => {
            assert!(error.to_string().contains(part), "{error} does not say {part}");
            assert_eq!(*state, before, "a refused request changed the state");
        }
        (found, expected) => panic!("{name}: {found:?} instead of {expected:?}"),
    }
}

#[test]
fn containers_get_what_they_asked_for_or_the_next_free() {
    let mut state = state_with(&["a", "b6"]);
    let mut row = |request, expected| check(&mut state, request, expected);
    let links = |target: &str| vec![LinkRequest { target: target.into(), alias: "x".into() }];
    row(named("c1", "a"), Ok("10.0.0.2"));
    row(named("c1", "a"), Err("identifier"));
    row(ContainerRequest { name: "c1".into(), ..named("other", "a") }, Err("the name `c1` is in use"));
    row(named("c2", "nowhere"), Err("there is no network `nowhere`"));
    row(ContainerRequest { id: "12".into(), ..named("c2", "a") }, Err("64 hexadecimal digits"));
    row(ContainerRequest { hostname: Some("a b".into()), ..named("c2", "a") }, Err("host name"));
    row(placed("c2", ConnectRequest { addr4: "10.0.0.9".parse().ok(), ..to("a") }), Ok("10.0.0.9"));
    row(placed("c3", ConnectRequest { addr4: "10.0.0.9".parse().ok(), ..to("a") }), Err("taken by container `c2`"));
    row(placed("c3", ConnectRequest { addr4: "10.0.0.1".parse().ok(), ..to("a") }), Err("taken by the gateway"));
    row(placed("c3", ConnectRequest { addr4: "10.0.1.9".parse().ok(), ..to("a") }), Err("not a host's address in"));
    row(placed("c3", ConnectRequest { addr4: "10.0.0.255".parse().ok(), ..to("a") }), Err("not a host's address in"));
    row(placed("c3", ConnectRequest { addr6: "fd00::9".parse().ok(), ..to("a") }), Err("has no IPv6"));
    row(placed("c3", ConnectRequest { addr6: "fd00::9".parse().ok(), ..to("b6") }), Err("not a host's address in"));
    row(
        placed("c3", ConnectRequest { mac: spec::mac("02:42:0a:00:00:02").ok(), ..to("a") }),
        Err("MAC 02:42:0a:00:00:02 is taken"),
    );
    row(named("c3", "b6"), Ok("10.0.1.2"));
    row(ContainerRequest { links: links("c1"), ..named("c4", "a") }, Ok("10.0.0.3"));
    row(ContainerRequest { links: links("ghost"), ..named("c5", "a") }, Err("there is no container `ghost`"));
    row(ContainerRequest { links: links("c3"), ..named("c5", "a") }, Err("on network `b6` and not on `a`"));
    row(named("c5", "bridge"), Ok("172.17.0.2"));
    row(named("h1", "host"), Ok(""));
    row(named("n1", "none"), Ok(""));
    row(named("s1", "container:c1"), Ok(""));
    row(named("s2", "container:ghost"), Err("there is no container `ghost`"));
    row(ContainerRequest { links: links("c1"), ..named("h2", "host") }, Err("on `host` cannot have links"));
    let publishes = vec![spec::publish("80:80").unwrap()];
    row(ContainerRequest { publishes, ..named("h2", "none") }, Err("on `none` cannot have published ports"));
    let of = |name: &str| state.container(name).unwrap();
    assert_eq!(of("c1").endpoints[0].mac, [0x02, 0x42, 10, 0, 0, 2]);
    assert_eq!(of("c3").endpoints[0].addr6.unwrap().segments()[7], 2);
    assert_eq!(of("s1").netns, of("c1").netns);
    assert_eq!((of("h1").netns.as_str(), of("h1").endpoints.len()), ("", 0));
    assert_eq!(of("c1").hostname, of("c1").short_id());
    let endpoints: BTreeSet<u32> = state.endpoints().map(|(_, endpoint)| endpoint.number).collect();
    assert_eq!(endpoints.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

#[test]
fn a_container_that_ended_holds_no_address() {
    let mut state = state_with(&["a"]);
    add(&mut state, "c1", "a").unwrap();
    state.container_mut("c1").unwrap().status = Status::Exited { code: Some(0) };
    // Free again, but not given out at once.
    check(&mut state, named("c2", "a"), Ok("10.0.0.3"));
    check(&mut state, placed("c4", ConnectRequest { addr4: "10.0.0.2".parse().ok(), ..to("a") }), Ok("10.0.0.2"));
    let link = LinkRequest { target: "c1".into(), alias: "x".into() };
    check(&mut state, ContainerRequest { links: vec![link], ..named("c3", "a") }, Err("does not run"));
    check(&mut state, named("c3", "container:c1"), Err("does not run"));
    assert_ne!(state.container("c1").unwrap().endpoints[0].veth, state.container("c2").unwrap().endpoints[0].veth);
}

#[test]
fn a_container_is_found_by_name_identifier_or_its_beginning() {
    let mut state = state_with(&["a"]);
    let id = add(&mut state, "c1", "a").unwrap();
    add(&mut state, "c2", "a").unwrap();
    for word in ["c1", &id, &id[..SHORT_ID], &id[..4]] {
        assert_eq!(state.container(word).unwrap().name, "c1");
    }
    assert!(state.container("").is_err());
    assert!(state.container("zz").is_err());
    assert_eq!(*remove_container(&mut state, "c1").unwrap().id, *id);
    assert!(remove_container(&mut state, "c1").is_err());
}

#[test]
fn the_state_survives_being_stored() {
    let mut state = state_with(&["a", "b6"]);
    let publishes = vec![spec::publish("127.0.0.1:8000-8009:80-89/udp").unwrap()];
    let exposed = vec![spec::port("53/udp").unwrap()];
    let request = ContainerRequest { publishes, exposed, ..named("c1", "b6") };
    add_container(&mut state, request, &HostView::default()).unwrap();
    let text = serde_json::to_string(&state).unwrap();
    assert!(text.contains("\"8000-8009\"") && text.contains("\"02:42:0a:00:01:02\""), "{text}");
    assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
}
