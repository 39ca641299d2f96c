//! Plans: that they lead where they must, from anywhere, and leave alone what is not portlane's.

use std::collections::BTreeMap;

use portlane_common::{
    reason::Hook,
    source::{Source, SourceKey},
};
use proptest::prelude::*;

use super::{add, foreign, named, ports, state_with};
use crate::model::{
    connect::{ConnectRequest, connect, disconnect},
    container::{ContainerRequest, LinkRequest, add_container, remove_container},
    desired::{Attachment, EndpointLink, HostFacts, UplinkFact, desired, desired_links},
    network::{NetworkRequest, add_network, remove_network},
    plan::{self, Observed, Owned, Step},
    process::Process,
    publish::{HostView, publish, unpublish},
    spec,
    state::{State, Status},
    tuning::Trains,
};

/// A host, its kernel's maps, and the indices that its interfaces were given.
#[derive(Clone, Default)]
struct World {
    observed: Observed,
    ifindex: BTreeMap<String, u32>,
    next: u32,
}

/// A namespace of somebody else's, for who may be attached: with a name that portlane's own might have.
fn by_hand(who: u8) -> String {
    format!("pl-hand{who}")
}

impl World {
    /// A host with somebody else's bridge, veth and namespace.
    fn with_others() -> Self {
        let mut world = Self { next: 10, ..Self::default() };
        let mut other = desired(&state_with(&["a"]), &HostFacts::default()).bridges.remove(0);
        other.name = "docker0".into();
        world.observed.links.bridges.insert("docker0".into(), other.into());
        world.observed.links.veths.insert("veth0123456".into(), Some("docker0".into()));
        world.observed.links.netns.insert("pl-somebody".into());
        world.observed.links.netns.extend((0..6).map(by_hand));
        world
    }

    fn facts(&self) -> HostFacts {
        let (addr4, addr6) = ("192.0.2.1".parse().ok(), None);
        let uplinks = vec![UplinkFact {
            name: "eth0".into(),
            ifindex: 2,
            hardware: false,
            ethernet: true,
            mtu: 1500,
            addr4,
            addr6,
            trains: Trains::default(),
        }];
        let addresses = self.observed.links.bridges.iter().flat_map(|(name, bridge)| {
            let ifindex = self.ifindex.get(name).copied().unwrap_or(3);
            bridge.addresses.iter().map(move |(address, _)| (*address, ifindex))
        });
        let addresses = addresses.collect();
        HostFacts { uplinks, addresses, ifindex: self.ifindex.clone(), ..HostFacts::default() }
    }

    fn link_made(&mut self, name: &str) {
        self.next += 1;
        self.ifindex.entry(name.to_owned()).or_insert(self.next);
    }

    fn link_gone(&mut self, name: &str) {
        self.ifindex.remove(name);
        self.observed.attach.retain(|attachment| attachment.interface != name);
        self.observed.links.up.remove(name);
    }

    fn take(&mut self, step: &Step) {
        let Observed { links, tables, attach } = &mut self.observed;
        match step.clone() {
            Step::Bridge(bridge) => {
                self.link_made(&bridge.name);
                let made = self.observed.links.bridges.entry(bridge.name.clone()).or_default();
                let further = std::mem::take(&mut made.addresses);
                *made = bridge.into();
                made.addresses.extend(further);
            }
            Step::DeleteAddress(name, address, length) => {
                assert!(links.bridges.get_mut(&name).unwrap().addresses.remove(&(address, length)));
            }
            Step::Netns(name) => assert!(links.netns.insert(name)),
            Step::Rename(name, process) => {
                assert_eq!(links.nameless.remove(&name), Some(process));
                assert!(links.netns.insert(name));
            }
            Step::Endpoint(link) => {
                assert!(links.netns.contains(&link.netns) && links.bridges.contains_key(&link.bridge), "{link}");
                assert!(links.veths.insert(link.veth.clone(), Some(link.bridge)).is_none(), "made over another");
                self.link_made(&link.veth);
            }
            Step::Config(config) => tables.config = config,
            Step::Put(row) => tables.put(row),
            Step::Attach(attachment) => assert!(attach.insert(attachment)),
            Step::Connect(EndpointLink { veth, .. }) => {
                let served = |hook| attach.contains(&Attachment { interface: veth.clone(), hook });
                assert!(served(Hook::FromContainer) && served(Hook::ToContainer), "{veth} is up before it is served");
                assert!(links.veths.contains_key(&veth) && links.up.insert(veth));
            }
            Step::Tune(tuned) => assert!(self.ifindex.contains_key(&tuned.interface), "{tuned}"),
            Step::Lead(route) => assert!(links.netns.contains(&route.netns)),
            Step::Delete(row) => tables.delete(&row),
            Step::Detach(attachment) => assert!(attach.remove(&attachment)),
            Step::DeleteVeth(name) => {
                assert!(links.veths.remove(&name).is_some());
                self.link_gone(&name);
            }
            Step::DeleteNetns(name) => assert!(links.netns.remove(&name)),
            Step::DeleteBridge(name) => {
                assert!(!links.veths.values().any(|on| on.as_ref() == Some(&name)), "{name} has ports");
                assert!(links.bridges.remove(&name).is_some());
                self.link_gone(&name);
            }
        }
    }

    /// Both rounds; returns the steps.
    fn bring(&mut self, state: &State, owned: &Owned) -> Vec<Step> {
        let first = plan::links(&desired_links(state), &self.observed.links, owned);
        first.iter().for_each(|step| self.take(step));
        let second = plan::tables(&desired(state, &self.facts()), &self.observed, owned);
        second.iter().for_each(|step| self.take(step));
        [first, second].concat()
    }

    /// Asserts that the host is as the state wants it, and that what is somebody else's is as it was.
    fn check(&mut self, state: &State, owned: &Owned) {
        let wanted = desired(state, &self.facts());
        assert_eq!(self.observed.tables, wanted.tables);
        assert_eq!(self.observed.attach, wanted.attach);
        let mut links = Self::with_others().observed.links;
        links.bridges.extend(wanted.bridges.iter().map(|bridge| (bridge.name.clone(), bridge.clone().into())));
        links.veths.extend(wanted.endpoints.iter().map(|link| (link.veth.clone(), Some(link.bridge.clone()))));
        links.up.extend(wanted.endpoints.iter().map(|link| link.veth.clone()));
        links.netns.extend(wanted.netns.clone());
        assert_eq!(self.observed.links, links);
        let settled = Owned { moved: Default::default(), ..owned.clone() };
        assert_eq!(self.bring(state, &settled), [], "a host that is right needs nothing");
    }
}

#[test]
fn a_plan_reads_as_sentences_in_a_safe_order() {
    let mut state = state_with(&["a"]);
    let before = state.clone();
    add_container(
        &mut state,
        ContainerRequest { publishes: ports(&["10080:80"]), ..named("c1", "a") },
        &HostView::default(),
    )
    .unwrap();
    let (mut world, owned) = (World::with_others(), Owned::by([&state]));
    world.bring(&before, &owned);
    let sentences = |steps: Vec<Step>| steps.iter().map(ToString::to_string).collect::<Vec<_>>();
    let c1 = state.container("c1").unwrap();
    let (veth, netns, bridge) = (&c1.endpoints[0].veth, &c1.netns, &state.networks["a"].bridge);
    let index = world.next + 1;
    assert_eq!(
        sentences(world.bring(&state, &owned)),
        [
            format!("make network namespace {netns}"),
            format!("make {veth} on {bridge} for eth0 of {netns} (10.0.0.2)"),
            "set the range classes to 0x1 for published ports, 0x0 for links".into(),
            format!("write to pl_endpoint4: endpoint 1 at 10.0.0.2 (02:42:0a:00:00:02, interface {index})"),
            format!("write to pl_veth: what interface {index} may send, as endpoint 1 of network 1"),
            "write to pl_generation: generation 1 of publish entry 1".into(),
            "write to pl_publish4: port 10080/tcp of 0.0.0.0 to 10.0.0.2 port 80 (publish entry 1)".into(),
            format!("attach from_container on {veth}"),
            format!("attach to_container on {veth}"),
            format!("set {veth} up"),
        ]
    );
    assert_eq!(
        sentences(world.bring(&before, &owned)),
        [
            "delete from pl_publish4: port 10080/tcp of 0.0.0.0 to 10.0.0.2 port 80 (publish entry 1)".to_owned(),
            "delete from pl_generation: generation 1 of publish entry 1".into(),
            format!("delete from pl_veth: what interface {index} may send, as endpoint 1 of network 1"),
            format!("delete from pl_endpoint4: endpoint 1 at 10.0.0.2 (02:42:0a:00:00:02, interface {index})"),
            format!("detach from_container on {veth}"),
            format!("detach to_container on {veth}"),
            format!("delete interface {veth}"),
            format!("delete network namespace {netns}"),
            "set the range classes to 0x0 for published ports, 0x0 for links".into(),
        ]
    );
}

#[test]
fn a_port_is_never_open_to_others_than_its_sources() {
    let mut state = state_with(&["a"]);
    add(&mut state, "c1", "a").unwrap();
    let (before, mut world, owned) = (state.clone(), World::with_others(), Owned::by([&state]));
    world.bring(&before, &owned);
    publish(&mut state, "c1", &ports(&["10080:80,from=10.0.0.0/8,from=192.0.2.7"]), &HostView::default()).unwrap();
    let rows = |steps: Vec<Step>| {
        let sentences = steps.iter().map(ToString::to_string);
        sentences.filter(|text| text.contains("pl_publish4") || text.contains("pl_source4")).collect::<Vec<_>>()
    };
    let entry = "port 10080/tcp of 0.0.0.0 to 10.0.0.2 port 80 (publish entry 1)";
    let open = |to| format!("publish entry 1's being open to {to}");
    assert_eq!(
        rows(world.bring(&state, &owned)),
        [
            format!("write to pl_source4: {}", open("10.0.0.0/8")),
            format!("write to pl_source4: {}", open("192.0.2.7/32")),
            format!("write to pl_publish4: {entry}"),
        ]
    );
    world.check(&state, &owned);
    // Somebody has meddled with the table.
    let key = |octets: [u8; 4], length| SourceKey::new(1, octets.into(), length);
    world.observed.tables.source4.remove(&key([10, 0, 0, 0], 8));
    world.observed.tables.source4.insert(key([0; 4], 0), Source::ADMITTED);
    let mended = [
        format!("write to pl_source4: {}", open("10.0.0.0/8")),
        format!("delete from pl_source4: {}", open("0.0.0.0/0")),
    ];
    assert_eq!(rows(world.bring(&state, &owned)), mended);
    assert_eq!(
        rows(world.bring(&before, &owned)),
        [
            format!("delete from pl_publish4: {entry}"),
            format!("delete from pl_source4: {}", open("192.0.2.7/32")),
            format!("delete from pl_source4: {}", open("10.0.0.0/8")),
        ]
    );
}

#[test]
fn what_is_half_made_or_was_broken_is_made_anew() {
    let mut state = state_with(&["a"]);
    add(&mut state, "c1", "a").unwrap();
    let (veth, netns) =
        (state.container("c1").unwrap().endpoints[0].veth.clone(), state.container("c1").unwrap().netns.clone());
    let bridge = state.networks["a"].bridge.clone();
    let owned = Owned::by([&state]);
    let mut made = World::with_others();
    made.bring(&state, &owned);
    made.check(&state, &owned);
    let check = |breaks: &dyn Fn(&mut World)| {
        let mut world = made.clone();
        breaks(&mut world);
        assert_ne!(world.bring(&state, &owned), []);
        world.check(&state, &owned);
    };
    check(&|world| drop(world.observed.links.veths.insert(veth.clone(), None)));
    check(&|world| drop(world.observed.links.veths.insert(veth.clone(), Some("docker0".into()))));
    check(&|world| assert!(world.observed.links.up.remove(&veth)));
    check(&|world| assert!(world.observed.links.netns.remove(&netns)));
    check(&|world| world.take(&Step::DeleteVeth(veth.clone())));
    check(&|world| world.observed.links.bridges.get_mut(&bridge).unwrap().mtu = 9000);
    check(&|world| {
        assert!(world.observed.attach.remove(&Attachment { interface: veth.clone(), hook: Hook::FromContainer }));
    });
    check(&|world| world.observed.tables = Default::default());
    check(&|world| world.observed.tables.config.publish_classes = 0xff);
    check(&|world| assert_eq!(world.observed.tables.generation.insert(7, 7), None));
}

#[test]
fn a_network_that_is_made_anew_takes_its_former_addresses_from_the_bridge_and_nobody_elses() {
    let network = |subnet: &str| {
        let mut state = State::default();
        let subnet4 = Some(subnet.parse().unwrap());
        let request = NetworkRequest { subnet4, ipv6: true, ..NetworkRequest::named("a") };
        add_network(&mut state, request, &HostView::default()).unwrap();
        state
    };
    let (before, next) = (network("10.0.0.0/24"), network("10.0.0.0/16"));
    let (bridge, owned) = (&before.networks["a"].bridge, Owned::by([&before, &next]));
    let mut world = World::with_others();
    world.bring(&before, &owned);
    let by_hand = ("192.0.2.7".parse().unwrap(), 24);
    world.observed.links.bridges.get_mut(bridge).unwrap().addresses.insert(by_hand);
    assert_eq!(plan::links(&desired_links(&before), &world.observed.links, &owned), [], "what somebody added");
    // Broken off between any two steps, and led back or on.
    let steps = plan::links(&desired_links(&next), &world.observed.links, &owned);
    assert_eq!(steps[0].to_string(), format!("delete 10.0.0.1/24 from bridge {bridge}"));
    for (taken, state) in (0..=steps.len()).flat_map(|taken| [(taken, &before), (taken, &next)]) {
        let mut world = world.clone();
        steps[..taken].iter().for_each(|step| world.take(step));
        world.bring(state, &owned);
        assert!(world.observed.links.bridges.get_mut(bridge).unwrap().addresses.remove(&by_hand));
        world.bring(state, &owned);
        world.check(state, &owned);
    }
}

#[test]
fn what_is_not_portlanes_stays() {
    let mut world = World::with_others();
    let everything = Owned {
        bridges: ["pl-00000000".into()].into(),
        veths: ["eth0", "vethhost"].map(|name| (name.into(), "client".into())).into(),
        netns: ["client".into()].into(),
        ..Owned::default()
    };
    world.observed.links.veths.extend([("eth0".into(), None), ("vethhost".into(), None)]);
    world.observed.links.netns.insert("client".into());
    let before = world.observed.links.clone();
    world.bring(&State::default(), &everything);
    assert_eq!(world.observed.links, before);
}

#[test]
fn an_attached_namespace_stays_when_its_container_goes_and_loses_the_interface_alone() {
    let mut state = state_with(&["a"]);
    let request = ContainerRequest { namespace: Some(foreign("pl-hand0")), ..named("c1", "a") };
    add_container(&mut state, request, &HostView::default()).unwrap();
    let owned = Owned::by([&state]);
    let mut world = World::with_others();
    let made = world.bring(&state, &owned);
    assert!(!made.iter().any(|step| matches!(step, Step::Netns(_))), "{made:?}");
    assert_eq!(world.bring(&state, &owned), [], "all is there");
    state.container_mut("c1").unwrap().status = Status::Exited { code: None };
    let steps = plan::tables(&desired(&state, &world.facts()), &world.observed, &owned);
    let kept = plan::without_waiting(steps, &owned);
    let count = |wanted: fn(&Step) -> bool| kept.iter().filter(|step| wanted(step)).count();
    assert_eq!(count(|step| matches!(step, Step::DeleteVeth(_))), 1);
    assert_eq!(count(|step| matches!(step, Step::DeleteNetns(_))), 0);
}

#[test]
fn a_namespace_without_a_name_in_which_somebody_runs_is_named_and_not_made_anew() {
    let mut state = state_with(&["a"]);
    add_container(&mut state, named("c1", "a"), &HostView::default()).unwrap();
    add_container(&mut state, named("c2", "container:c1"), &HostView::default()).unwrap();
    let netns = state.container("c1").unwrap().netns.clone();
    let owned = Owned::by([&state]);
    let mut world = World::with_others();
    world.bring(&state, &owned);
    assert_eq!(state.started_in(&netns).next(), None, "nobody runs yet");
    state.container_mut("c2").unwrap().status = Status::Running { pid: 7, start_time: 8, identity: Some(9) };
    let process = state.started_in(&netns).next().expect("whoever shares it counts");
    assert_eq!(process, Process { pid: 7, start_time: 8, identity: Some(9) });
    assert!(world.observed.links.netns.remove(&netns));
    let mut lost = world.clone();
    world.observed.links.nameless.insert(netns.clone(), process);
    let steps = world.bring(&state, &owned);
    assert_eq!(steps, [Step::Rename(netns.clone(), process)]);
    world.check(&state, &owned);
    // Where nobody runs any more, there is nothing to be saved.
    let steps = lost.bring(&state, &owned);
    assert!(steps.contains(&Step::Netns(netns)) && steps.iter().any(|step| matches!(step, Step::Endpoint(_))));
    lost.check(&state, &owned);
}

#[test]
fn a_namespace_takes_its_veth_along_unless_the_bridge_goes_too() {
    let mut state = state_with(&["a"]);
    add_container(&mut state, named("c1", "a"), &HostView::default()).unwrap();
    let owned = Owned::by([&state]);
    let mut world = World::with_others();
    world.bring(&state, &owned);
    let steps_to = |next: &State| {
        let steps = plan::tables(&desired(next, &world.facts()), &world.observed, &owned);
        let count = |steps: &[Step]| steps.iter().filter(|step| matches!(step, Step::DeleteVeth(_))).count();
        (count(&steps), count(&plan::without_waiting(steps, &owned)))
    };
    let without_container = State { containers: Default::default(), ..state.clone() };
    assert_eq!(steps_to(&without_container), (1, 0));
    assert_eq!(steps_to(&State::default()), (1, 1));
}

/// Changes a state in a way that `choice` picks; refusals are fine.
fn change(state: &mut State, choice: (u8, u8, u8)) {
    let (verb, who, what) = choice;
    let (name, network) = (format!("c{}", who % 6), format!("n{}", what % 3));
    let port = format!("{}-{}:{}-{}", 80 + what % 40, 85 + what % 40, 10 + who % 99, 15 + who % 99);
    let target = format!("c{}", what % 6);
    let _ = match verb % 10 {
        0 => add_network(
            state,
            NetworkRequest { icc: what & 1 == 0, ipv6: who & 1 == 0, ..NetworkRequest::named(network) },
            &HostView::default(),
        ),
        1 => remove_network(state, &network).map(drop),
        2 | 3 => {
            let exposed = vec![spec::port(&format!("{}-90", 10 + what % 60)).unwrap()];
            let links = vec![LinkRequest { target, alias: "x".into() }];
            let links = if verb & 1 == 0 { links } else { Vec::new() };
            let network = ["n0", "n1", "n2", "bridge", "none", "host"][usize::from(what % 6)];
            let namespace = (what & 8 == 0).then(|| foreign(&by_hand(who % 6)));
            let request = ContainerRequest { namespace, exposed, links, ..named(&name, network) };
            add_container(state, request, &HostView::default()).map(drop)
        }
        4 => remove_container(state, &name).map(drop),
        8 => {
            let request = ConnectRequest { network, priority: i32::from(who & 3), ..ConnectRequest::default() };
            connect(state, &name, &request, &HostView::default())
        }
        9 => disconnect(state, &name, &network),
        5 | 6 => {
            let specs = [&port, "53/udp,from=10.0.0.0/8,from=::1"];
            publish(state, &name, &ports(&specs[..1 + usize::from(who & 1)]), &HostView::default()).map(drop)
        }
        _ if what & 1 == 0 => unpublish(state, &name, &ports(&[&port])).map(drop),
        _ => state.container_mut(&name).map(|container| container.status = Status::Exited { code: None }),
    };
}

proptest! {
    #[test]
    fn from_any_state_to_any_other_the_plan_leads_there(
        before in prop::collection::vec(any::<(u8, u8, u8)>(), 0..40),
        after in prop::collection::vec(any::<(u8, u8, u8)>(), 0..40),
        cut: prop::sample::Index,
    ) {
        let mut old = State::default();
        for name in ["n0", "n1", "n2"] {
            add_network(&mut old, NetworkRequest { icc: name != "n0", ..NetworkRequest::named(name) }, &HostView::default()).unwrap();
        }
        before.into_iter().for_each(|choice| change(&mut old, choice));
        let mut new = old.clone();
        after.into_iter().for_each(|choice| change(&mut new, choice));
        let owned = Owned::by([&old, &new]);
        let mut world = World::with_others();
        world.bring(&old, &owned);
        world.check(&old, &owned);
        let mut crashed = world.clone();
        let steps = world.bring(&new, &owned);
        world.check(&new, &owned);
        // A crash after any number of steps: going on, and going back, both lead where they must.
        steps[..cut.index(steps.len() + 1)].iter().for_each(|step| crashed.take(step));
        let mut back = crashed.clone();
        crashed.bring(&new, &owned);
        crashed.check(&new, &owned);
        back.bring(&old, &owned);
        back.check(&old, &owned);
    }
}
