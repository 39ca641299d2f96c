//! What several of the model's tests start from.

mod attach;
mod connect;
mod container;
mod desired;
mod hosts;
mod names;
mod network;
mod part;
mod plan;
mod publish;
mod spec;
mod tuning;

use super::{
    attach::{Foreign, NetnsIdentity},
    connect::ConnectRequest,
    container::{ContainerRequest, add_container},
    desired::UplinkFact,
    error::ModelError,
    network::{NetworkRequest, add_network},
    publish::HostView,
    spec::PublishRequest,
    state::State,
    tuning::Trains,
};

/// A state with networks of these names, in subnets 10.0.0.0/24, 10.0.1.0/24 and so on.
fn state_with(networks: &[&str]) -> State {
    let mut state = State::default();
    for (number, name) in networks.iter().enumerate() {
        let subnet4 = format!("10.0.{number}.0/24").parse().ok();
        let ipv6 = name.ends_with('6');
        add_network(&mut state, NetworkRequest { subnet4, ipv6, ..NetworkRequest::named(*name) }, &HostView::default())
            .unwrap();
    }
    state
}

/// A host's uplink, of index 2.
fn uplink() -> UplinkFact {
    UplinkFact {
        hardware: false,
        ethernet: true,
        name: "eth0".into(),
        ifindex: 2,
        mtu: 1500,
        addr4: "192.0.2.1".parse().ok(),
        addr6: "2001:db8::1".parse().ok(),
        trains: Trains::default(),
    }
}

/// A place on a network, of which nothing is said.
fn to(network: &str) -> ConnectRequest {
    ConnectRequest::to(network)
}

/// A request with an identifier made from the name.
fn named(name: &str, network: &str) -> ContainerRequest {
    placed(name, to(network))
}

fn placed(name: &str, place: ConnectRequest) -> ContainerRequest {
    let number = crate::model::hash::hash(&[name.as_bytes()]);
    let id = format!("{number:016x}").repeat(4);
    ContainerRequest { id, name: name.to_owned(), networks: vec![place], ..ContainerRequest::default() }
}

/// A namespace that somebody else made.
fn foreign(netns: &str) -> Foreign {
    Foreign { netns: netns.to_owned(), identity: NetnsIdentity { boot: "once".to_owned(), cookie: 7 } }
}

fn add(state: &mut State, name: &str, network: &str) -> Result<String, ModelError> {
    add_container(state, named(name, network), &HostView::default())
}

/// Published ports, as `-p` takes them.
fn ports(specs: &[&str]) -> Vec<PublishRequest> {
    specs.iter().map(|spec| super::spec::publish(spec).unwrap()).collect()
}
