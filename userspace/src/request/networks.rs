//! Networks: listed, made, removed.

use serde_json::{Value, json};

use super::Result;
use crate::{
    engine::{Engine, Settings},
    model::{Network, NetworkRequest, State, network::remove_network, state::Mac},
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

fn describe(state: &State, network: &Network) -> Value {
    let containers = state.live_on(&network.name).map(|container| {
        json!({"name": container.name, "id": container.id, "addr4": container.addr4, "addr6": container.addr6,
               "mac": Mac(container.mac).to_string()})
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
        "containers": containers.collect::<Vec<_>>(),
    })
}
