//! A change that looks at the containers that it is about comes to the same as one that looks at all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{add, named, ports, state_with, to, uplink};
use crate::model::{
    connect::{connect, disconnect},
    container::{ContainerRequest, LinkRequest, add_container, remove_container},
    desired::{Desired, HostFacts, desired, desired_part},
    error::ModelError,
    network::{NetworkRequest, add_network},
    part::Part,
    plan::{self, Observed, ObservedLinks, Owned},
    publish::{HostView, publish, unpublish},
    state::{State, Status},
};

type Edit = (&'static str, fn(&mut State) -> Result<(), ModelError>);

const EDITS: [Edit; 9] = [
    ("a container comes", |state| run(state, "new", "a", &["9000-9003:1-4/udp", "70:70"], &[])),
    ("one comes that is linked", |state| run(state, "new", "apart", &[], &["db"])),
    ("one goes that others are linked to", |state| remove_container(state, "db").map(drop)),
    ("one goes that has the only range of its size", |state| remove_container(state, "ranges").map(drop)),
    ("one ends", |state| {
        state.container_mut("web")?.status = Status::Exited { code: Some(1) };
        Ok(())
    }),
    ("a port is published", |state| publish(state, "web", &ports(&["443:443"]), &HostView::default()).map(drop)),
    ("a port is taken back", |state| unpublish(state, "web", &ports(&["8080:80"])).map(drop)),
    ("the name servers' port is taken back", |state| unpublish(state, "names", &ports(&["53:53/udp"])).map(drop)),
    ("one moves", |state| {
        connect(state, "web", &to("b6"), &HostView::default())?;
        disconnect(state, "web", "a")
    }),
];

fn run(state: &mut State, name: &str, network: &str, specs: &[&str], links: &[&str]) -> Result<(), ModelError> {
    let links = links.iter().map(|target| LinkRequest { target: (*target).into(), alias: (*target).into() }).collect();
    let request = ContainerRequest { publishes: ports(specs), links, ..named(name, network) };
    add_container(state, request, &HostView::default()).map(drop)
}

fn busy() -> State {
    let mut state = state_with(&["a", "b6"]);
    let apart = NetworkRequest { icc: false, ..NetworkRequest::named("apart") };
    add_network(&mut state, apart, &HostView::default()).unwrap();
    run(&mut state, "web", "a", &["8080:80", "127.0.0.1:81:81"], &[]).unwrap();
    run(&mut state, "names", "b6", &["53:53/udp", "53:53"], &[]).unwrap();
    run(&mut state, "ranges", "b6", &["5000-5099:5000-5099/udp"], &[]).unwrap();
    run(&mut state, "db", "apart", &["5432:5432"], &[]).unwrap();
    run(&mut state, "app", "apart", &[], &["db"]).unwrap();
    add(&mut state, "idle", "a").unwrap();
    state
}

/// A host with an uplink and all interfaces of both states.
fn facts(states: [&State; 2]) -> HostFacts {
    let veths = states.iter().flat_map(|state| state.endpoints()).map(|(_, endpoint)| endpoint.veth.clone());
    let bridges = states.iter().flat_map(|state| state.networks.values()).map(|network| network.bridge.clone());
    let names: BTreeSet<String> = veths.chain(bridges).collect();
    let addresses = vec![("192.0.2.1".parse().unwrap(), 2)];
    HostFacts {
        uplinks: vec![uplink()],
        addresses,
        ifindex: names.into_iter().zip(10..).collect(),
        ..HostFacts::default()
    }
}

/// What is seen once the first steps are done, of what is named.
fn seen(before: &Desired, next: &Desired) -> ObservedLinks {
    let mut links = ObservedLinks::default();
    for desired in [before, next] {
        links.bridges.extend(desired.bridges.iter().map(|bridge| (bridge.name.clone(), bridge.clone().into())));
        links.netns.extend(desired.netns.iter().cloned());
        let ends = desired.endpoints.iter().map(|link| (link.veth.clone(), Some(link.bridge.clone())));
        links.veths.extend(ends.collect::<BTreeMap<_, _>>());
    }
    links.up = before.endpoints.iter().map(|link| link.veth.clone()).collect();
    links
}

#[test]
fn a_change_seen_in_part_takes_the_steps_of_one_seen_whole() {
    for (what, edit) in EDITS {
        let before = busy();
        let mut next = before.clone();
        edit(&mut next).unwrap();
        let facts = facts([&before, &next]);
        let steps = |before: Desired, next: &Desired, owned: &Owned| {
            let links = seen(&before, next);
            plan::tables(next, &Observed { links, tables: before.tables, attach: before.attach }, owned)
        };
        let whole = steps(desired(&before, &facts), &desired(&next, &facts), &Owned::by([&before, &next]));
        let part = Part::between(&before, &next).expect(what);
        assert!(part.others().next().is_some(), "{what}");
        let classes = part.classes;
        let (was, will) =
            (desired_part(&part.before, &before, &facts, classes), desired_part(&part.next, &next, &facts, classes));
        assert_eq!(will.tables.config, desired(&next, &facts).tables.config, "{what}");
        assert_eq!(steps(was, &will, &part.owned), whole, "{what}");
        assert!(!whole.is_empty(), "{what}");
    }
}

#[test]
fn a_change_of_networks_is_about_every_container() {
    let before = busy();
    let mut next = before.clone();
    add_network(&mut next, NetworkRequest::named("more"), &HostView::default()).unwrap();
    assert!(Part::between(&before, &next).is_none());
}

#[test]
fn who_is_not_concerned_is_left_out() {
    let before = busy();
    let mut next = before.clone();
    remove_container(&mut next, "web").unwrap();
    let part = Part::between(&before, &next).unwrap();
    let names = |state: &State| state.containers.values().map(|c| c.name.clone()).collect::<BTreeSet<_>>();
    assert_eq!(names(&part.before), ["names", "web"].map(str::to_owned).into());
    assert_eq!(names(&part.next), ["names"].map(str::to_owned).into());
    assert_eq!(part.others().count(), 4);
    assert!(part.others().all(|other| part.is_others(&other.endpoints[0].veth)));
    assert!(!part.is_others(&before.container("web").unwrap().endpoints[0].veth));
}
