//! What passed, and what is remembered.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use portlane_common::{
    counter::Traffic,
    flow::{Flow, FlowKey, Timeouts, ZONE_HOST, ZONE_OUTSIDE, age, flag, state},
};
use serde_json::{Value, json};

use super::{PublishedPort, Result};
use crate::{
    bpf::{self, Datapath},
    engine::{Engine, Settings},
};

/// Lists are empty where nothing is loaded, so that nothing is counted.
pub(super) async fn stats(settings: Settings) -> Result<Value> {
    let engine = Engine::open(settings).await?;
    let (mut containers, mut ports, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    if let Some(datapath) = engine.datapath()? {
        let passed = datapath.traffic()?;
        for container in engine.state().live().filter(|container| container.is_bridged()) {
            let name = &container.name;
            for endpoint in &container.endpoints {
                let row = json!({"name": name, "address": endpoint.addr4, "address6": endpoint.addr6});
                let count = passed.of_endpoint(endpoint.number)?;
                containers.push(((name.clone(), endpoint.number), traffic(row, &count)));
            }
            let address = engine.state().gateways(container).0.map(|main| main.addr4);
            for publish in &container.publishes {
                let mut row = json!(PublishedPort::from(publish));
                row["port"] = publish.to_string().into();
                row["container"] = name.as_str().into();
                row["container_address"] = json!(address);
                ports.push((publish.id, traffic(row, &passed.of_publish(publish.id)?)));
            }
        }
        for (hook, reason, count) in datapath.reasons()? {
            let row = json!({"hook": hook.name(), "reason": reason.name(), "meaning": reason.sentence(),
                             "packets": count.packets, "bytes": count.bytes});
            reasons.push(((hook as u8, reason as u8), row));
        }
    }
    Ok(json!({"containers": sorted(containers), "ports": sorted(ports), "reasons": sorted(reasons)}))
}

fn sorted<K: Ord>(mut rows: Vec<(K, Value)>) -> Vec<Value> {
    rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    rows.into_iter().map(|(_, row)| row).collect()
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
