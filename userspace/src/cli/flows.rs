//! `flows`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context, Result};
use clap::Args;
use portlane_common::flow::{Flow, FlowKey, Timeouts, ZONE_HOST, ZONE_OUTSIDE, age, flag, state};
use serde_json::json;

use super::{Global, print};
use crate::{
    bpf::{self, Datapath},
    engine::Engine,
};

/// List the flows that are remembered: what comes in, and as what it goes on
#[derive(Debug, Args)]
pub(super) struct Flows;

impl Flows {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let engine = global.engine().await?;
        let mut rows = Vec::new();
        if let Some(datapath) = engine.datapath()? {
            let clock = bpf::clock().context("the kernel does not tell its clock")?;
            let timeouts = engine.state().flows.timeouts.into();
            let names = Names::new(&engine, &datapath)?;
            for (key, flow) in datapath.flows4()?.into_iter().flatten() {
                rows.extend(row(&names, clock, &timeouts, &key, &flow));
            }
            for (key, flow) in datapath.flows6()?.into_iter().flatten() {
                rows.extend(row(&names, clock, &timeouts, &key, &flow));
            }
        }
        if global.json {
            let json = |row: &[String; 7]| {
                json!({"proto": row[0], "from": row[1], "source": row[2], "destination": row[3],
                       "leaves_as": row[4], "state": row[5], "idle_seconds": row[6].parse::<u64>().unwrap_or(0)})
            };
            return print::json(&rows.iter().map(json).collect());
        }
        let rows: Vec<_> = rows.into_iter().map(Vec::from).collect();
        print::table(&["PROTO", "FROM", "SOURCE", "DESTINATION", "LEAVES AS", "STATE", "IDLE s"], &rows)
    }
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
) -> Option<[String; 7]> {
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
    let leaves = format!("{} to {}", socket(flow.src, flow.sport), socket(flow.dst, flow.dport));
    Some([
        proto(key.proto),
        from,
        socket(key.src, key.sport),
        socket(key.dst, key.dport),
        leaves,
        state.to_owned(),
        idle.to_string(),
    ])
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
