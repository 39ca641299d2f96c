//! Namespaces that somebody else made: what they can be given, and what of their own is in the way.

use super::{add, foreign, named, state_with, to};
use crate::model::{
    Inside,
    attach::check_attachable,
    connect::connect,
    container::{ContainerRequest, add_container},
    network::{NetworkRequest, add_network},
    publish::HostView,
    state::{State, Status},
};

/// Networks `a` and `b6`, and one that is internal.
fn networks() -> State {
    let mut state = state_with(&["a", "b6"]);
    let inner =
        NetworkRequest { subnet4: "10.1.0.0/24".parse().ok(), internal: true, ..NetworkRequest::named("inner") };
    add_network(&mut state, inner, &HostView::default()).unwrap();
    state
}

fn attach(state: &mut State, network: &str, inside: &Inside) -> Result<(), String> {
    let request = ContainerRequest { namespace: Some(foreign("w1")), ..named("w1", network) };
    let view = HostView { inside, ..HostView::default() };
    add_container(state, request, &view).map(drop).map_err(|error| error.to_string())
}

#[test]
fn an_attached_namespace_is_live_under_its_own_name_and_without_a_host_name() {
    let mut state = networks();
    attach(&mut state, "a", &Inside::default()).unwrap();
    let w1 = state.container("w1").unwrap();
    assert_eq!((w1.status, w1.netns.as_str(), w1.hostname.as_str()), (Status::Attached, "w1", ""));
    assert!(w1.is_live() && w1.is_attachment() && !w1.owns_netns());
    add(&mut state, "joined", "container:w1").unwrap();
    let joined = state.container("joined").unwrap();
    assert!(joined.netns == "w1" && !joined.owns_netns() && !joined.is_attachment());
}

#[test]
fn interfaces_take_the_names_that_the_owner_left() {
    let mut state = networks();
    let inside = Inside { interfaces: ["lo", "eth0", "eth2"].map(Into::into).into(), ..Inside::default() };
    attach(&mut state, "a", &inside).unwrap();
    connect(&mut state, "w1", &to("b6"), &HostView { inside: &inside, ..HostView::default() }).unwrap();
    let names: Vec<_> = state.container("w1").unwrap().endpoints.iter().map(|at| at.interface.as_str()).collect();
    assert_eq!(names, ["eth1", "eth3"]);
}

#[test]
fn routes_of_the_owners_own_are_not_taken_over() {
    let route = |to: &str| Inside { routes: vec![to.parse().unwrap()], ..Inside::default() };
    let leads = |four, six| Inside { leads: [four, six], ..Inside::default() };
    for (network, inside, expected) in [
        ("a", route("10.0.0.0/24"), Err("has a route to 10.0.0.0/24, which overlaps 10.0.0.0/24 of network `a`")),
        ("a", route("10.0.0.128/25"), Err("has a route to 10.0.0.128/25")),
        ("a", route("10.0.0.0/8"), Err("has a route to 10.0.0.0/8")),
        ("a", route("10.0.1.0/24"), Ok(())),
        ("a", leads(true, false), Err("network namespace w1 has an IPv4 default route of its own")),
        ("a", leads(false, true), Ok(())),
        ("b6", leads(false, true), Err("has an IPv6 default route of its own")),
        ("inner", leads(true, true), Ok(())),
    ] {
        let (mut state, before) = (networks(), networks());
        let found = attach(&mut state, network, &inside);
        match expected {
            Ok(()) => assert_eq!(found, Ok(()), "{network} {inside:?}"),
            Err(part) => {
                let said = found.expect_err(part);
                assert!(said.contains(part), "{said} does not say {part}");
                assert_eq!(state, before, "a refused request changed the state");
            }
        }
    }
}

#[test]
fn leaving_for_a_network_that_leads_out_needs_the_default_route() {
    let mut state = networks();
    let inside = Inside { leads: [true, false], ..Inside::default() };
    attach(&mut state, "inner", &inside).unwrap();
    let said = connect(&mut state, "w1", &to("a"), &HostView { inside: &inside, ..HostView::default() });
    assert!(said.unwrap_err().to_string().contains("default route of its own"));
}

#[test]
fn what_takes_a_process_is_refused() {
    let plain = ContainerRequest::default;
    for (request, what) in [
        (ContainerRequest { hostname: Some("w".into()), ..plain() }, "a host name"),
        (ContainerRequest { dns: vec!["10.0.0.1".parse().unwrap()], ..plain() }, "name servers"),
        (ContainerRequest { dns_search: vec!["x".into()], ..plain() }, "search domains"),
        (ContainerRequest { command: vec!["true".into()], ..plain() }, "a command"),
        (ContainerRequest { auto_remove: true, ..plain() }, "an end of its own"),
    ] {
        assert!(check_attachable(&request).unwrap_err().to_string().contains(what));
    }
    assert_eq!(check_attachable(&plain()), Ok(()));
}
