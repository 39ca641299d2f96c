//! What passed, what is remembered, and what there is.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use portlane_common::{
    counter::Traffic,
    flow::{Flow, FlowKey, Timeouts, ZONE_HOST, ZONE_OUTSIDE, age, flag, state},
};
use serde_json::{Value, json};

use super::Result;
use crate::{
    bpf::{self, Datapath},
    engine::{Engine, Settings},
};

/// An empty object where nothing is loaded, so that nothing is counted.
pub(super) async fn stats(settings: Settings) -> Result<Value> {
    let engine = Engine::open(settings).await?;
    let Some(datapath) = engine.datapath()? else { return Ok(json!({})) };
    let (mut containers, mut ports) = (Vec::new(), Vec::new());
    for container in engine.state().live().filter(|container| container.is_bridged()) {
        for endpoint in &container.endpoints {
            let count = datapath.endpoint_traffic(endpoint.number)?;
            containers.push(traffic(json!({"name": container.name, "address": endpoint.addr4}), &count));
        }
        for publish in &container.publishes {
            let count = datapath.publish_traffic(publish.id)?;
            ports.push(traffic(json!({"port": publish.to_string(), "container": container.name}), &count));
        }
    }
    let reasons = datapath.reasons()?.into_iter().map(|(hook, reason, count)| {
        json!({"hook": hook.name(), "reason": reason.name(), "meaning": reason.sentence(), "packets": count.packets,
               "bytes": count.bytes})
    });
    Ok(json!({"containers": containers, "ports": ports, "reasons": reasons.collect::<Vec<_>>()}))
}

fn traffic(mut value: Value, count: &Traffic) -> Value {
    value["rx_packets"] = count.rx_packets.into();
    value["rx_bytes"] = count.rx_bytes.into();
    value["tx_packets"] = count.tx_packets.into();
    value["tx_bytes"] = count.tx_bytes.into();
    value
}

/// The openers' halves of the flows that are not over.
pub(super) async fn flows(settings: Settings) -> Result<Value> {
    let engine = Engine::open(settings).await?;
    let Some(datapath) = engine.datapath()? else { return Ok(json!([])) };
    let clock = bpf::clock()?;
    let timeouts = engine.state().flows.timeouts.into();
    let names = Names::new(&engine, &datapath)?;
    let mut rows = Vec::new();
    for (key, flow) in datapath.flows4()?.into_iter().flatten() {
        rows.extend(row(&names, clock, &timeouts, &key, &flow));
    }
    for (key, flow) in datapath.flows6()?.into_iter().flatten() {
        rows.extend(row(&names, clock, &timeouts, &key, &flow));
    }
    Ok(rows.into())
}

/// Containers' names, by the indices of their veths.
struct Names(BTreeMap<u32, String>);

impl Names {
    fn new(engine: &Engine, datapath: &Datapath) -> Result<Self> {
        let name = |number| {
            let mut endpoints = engine.state().endpoints();
            endpoints.find(|(_, endpoint)| endpoint.number == number).map(|(container, _)| container.name.clone())
        };
        let veths = datapath.tables()?.veth;
        Ok(Self(veths.into_iter().filter_map(|(ifindex, veth)| Some((ifindex, name(veth.endpoint)?))).collect()))
    }
}

/// The opener's half of a flow that is not over.
fn row<A: Copy + Into<IpAddr>>(
    names: &Names,
    clock: u32,
    timeouts: &Timeouts,
    key: &FlowKey<A>,
    flow: &Flow<A>,
) -> Option<Value> {
    let idle = age(clock, flow.seen);
    if flow.flags & flag::REPLY != 0 || idle >= timeouts.of(key.proto, flow.state) {
        return None;
    }
    let socket = |address: A, port| SocketAddr::new(address.into(), port).to_string();
    let from = match key.zone {
        ZONE_OUTSIDE => "outside".to_owned(),
        ZONE_HOST => "host".to_owned(),
        // The flows of a container that is gone end by themselves.
        veth => names.0.get(&veth).cloned().unwrap_or_else(|| format!("interface {veth}")),
    };
    let state = match flow.state {
        0 => "new",
        state if state::is_closed(state) => "closed",
        state if state & (state::FIN_OPENER | state::FIN_REPLY) != 0 => "half-closed",
        state if state & state::CONFIRMED != 0 => "established",
        _ => "answered",
    };
    Some(json!({
        "proto": proto(key.proto),
        "from": from,
        "source": socket(key.src, key.sport),
        "destination": socket(key.dst, key.dport),
        "leaves_as": format!("{} to {}", socket(flow.src, flow.sport), socket(flow.dst, flow.dport)),
        "state": state,
        "idle_seconds": idle,
    }))
}

fn proto(number: u8) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmp6".to_owned(),
        132 => "sctp".to_owned(),
        other => other.to_string(),
    }
}

/// Whether portlane can work here, what is loaded, and what there is.
pub(super) async fn status(settings: Settings) -> Result<Value> {
    let missing = bpf::probe(&settings.bpffs);
    let mut answer = json!({
        "missing": missing.iter().map(|missing| {
            json!({"feature": missing.feature, "remedy": missing.remedy, "optional": missing.optional})
        }).collect::<Vec<_>>(),
        "programs": [], "attachments": [], "networks": 0, "containers": 0, "published": 0,
    });
    // Without privileges there is nothing more to see than that.
    if missing.iter().any(|missing| !missing.optional) {
        return Ok(answer);
    }
    let engine = Engine::open(settings).await?;
    if let Some(datapath) = engine.datapath()? {
        let programs = datapath.programs()?.into_iter().map(|program| {
            json!({"name": program.name, "id": program.id, "verified_instructions": program.verified_insns,
                   "machine_code_bytes": program.jited_bytes})
        });
        answer["programs"] = programs.collect();
        answer["attachments"] = datapath.attachments()?.iter().map(ToString::to_string).collect();
    }
    let state = engine.state();
    answer["networks"] = state.networks.len().into();
    answer["containers"] = state.live().count().into();
    answer["published"] = state.publishes().count().into();
    Ok(answer)
}
