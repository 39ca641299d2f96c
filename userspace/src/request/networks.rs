//! Networks: listed, made, removed, and connected to.

use serde_json::{Value, json};

use super::Result;
use crate::{
    engine::{Engine, Settings},
    model::{ConnectRequest, Network, NetworkRequest, State, network::remove_network, state::Mac},
};

pub(super) async fn list(settings: Settings) -> Result<Value> {
    let engine = Engine::open(settings).await?;
    let state = engine.state();
    Ok(state.networks.values().map(|network| describe(state, network)).collect())
}

pub(super) async fn inspect(settings: Settings, name: &str) -> Result<Value> {
    let engine = Engine::open(settings).await?;
    Ok(describe(engine.state(), engine.state().network(name)?))
}

pub(super) async fn create(settings: Settings, request: NetworkRequest) -> Result<Value> {
    let name = request.name.clone();
    let mut engine = Engine::open(settings).await?;
    engine.add_network(request).await?;
    Ok(describe(engine.state(), engine.state().network(&name)?))
}

pub(super) async fn remove(settings: Settings, names: &[String]) -> Result<Value> {
    let mut engine = Engine::open(settings).await?;
    // All or none.
    let mut trial = engine.state().clone();
    for name in names {
        remove_network(&mut trial, name)?;
    }
    let mut gone = Vec::new();
    for name in names {
        gone.push(engine.remove_network(name).await?);
    }
    Ok(gone.into())
}

pub(super) async fn prune(settings: Settings) -> Result<Value> {
    Ok(Engine::open(settings).await?.prune_networks().await?.into())
}

pub(super) async fn connect(settings: Settings, container: &str, request: &ConnectRequest) -> Result<Value> {
    let mut engine = Engine::open(settings).await?;
    engine.connect(container, request).await?;
    Ok(describe(engine.state(), engine.state().network(&request.network)?))
}

pub(super) async fn disconnect(settings: Settings, container: &str, network: &str) -> Result<Value> {
    let mut engine = Engine::open(settings).await?;
    engine.disconnect(container, network).await?;
    Ok(describe(engine.state(), engine.state().network(network)?))
}

fn describe(state: &State, network: &Network) -> Value {
    let containers = state.live_on(&network.name).map(|(container, endpoint)| {
        json!({"name": container.name, "id": container.id, "interface": endpoint.interface, "addr4": endpoint.addr4,
               "addr6": endpoint.addr6, "mac": Mac(endpoint.mac).to_string(), "aliases": endpoint.aliases})
    });
    json!({
        "name": network.name,
        "id": network.id,
        "bridge": network.bridge,
        "mac": Mac(network.bridge_mac).to_string(),
        "subnet4": network.subnet4,
        "gateway4": network.gateway4,
        "subnet6": network.subnet6,
        "gateway6": network.gateway6,
        "icc": network.icc,
        "masquerade": network.masquerade,
        "internal": network.internal,
        "mtu": network.mtu,
        "link_mtu": network.links.mtu,
        "gro": network.links.gro,
        "big_tcp": network.links.big_tcp,
        "range4": network.range4,
        "range6": network.range6,
        "router4": network.router4,
        "router6": network.router6,
        "host_binding": network.host_binding,
        "host_ipv4": network.host4,
        "host_ipv6": network.host6,
        "labels": network.labels,
        "containers": containers.collect::<Vec<_>>(),
    })
}
