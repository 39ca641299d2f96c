//! `stats`, `flows`, `status`.

use std::{
    collections::BTreeMap,
    fmt::Display,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context, Result};
use clap::Args;
use portlane_common::{
    counter::Traffic,
    flow::{Flow, FlowKey, Timeouts, ZONE_HOST, ZONE_OUTSIDE, age, flag, state},
};
use serde_json::{Value, json};

use super::{Global, print};
use crate::{
    bpf::{self, Datapath},
    engine::Engine,
};

/// Show what passed, by container and by published port, and what was refused, and why
#[derive(Debug, Args)]
pub(super) struct Stats;

impl Stats {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let engine = global.engine().await?;
        let Some(datapath) = engine.datapath()? else {
            return if global.json {
                print::json(&json!({}))
            } else {
                print::line("nothing is loaded, so nothing is counted")
            };
        };
        let mut containers = Vec::new();
        let mut ports = Vec::new();
        for container in engine.state().live().filter(|container| container.is_bridged()) {
            for endpoint in &container.endpoints {
                containers.push((container.name.clone(), endpoint.addr4, datapath.endpoint_traffic(endpoint.number)?));
            }
            for publish in &container.publishes {
                ports.push((publish.to_string(), container.name.clone(), datapath.publish_traffic(publish.id)?));
            }
        }
        let reasons = datapath.reasons()?;
        if global.json {
            let reasons = reasons.iter().map(|(hook, reason, count)| {
                json!({"hook": hook.name(), "reason": reason.name(), "packets": count.packets, "bytes": count.bytes})
            });
            return print::json(&json!({
                "containers": containers.iter().map(|(name, address, count)| traffic(json!({"name": name, "address": address}), count)).collect::<Vec<_>>(),
                "ports": ports.iter().map(|(port, name, count)| traffic(json!({"port": port, "container": name}), count))
                    .collect::<Vec<_>>(),
                "reasons": reasons.collect::<Vec<_>>(),
            }));
        }
        let rows: Vec<_> =
            containers.into_iter().map(|(name, address, count)| counted([name, address.to_string()], &count)).collect();
        print::table(&["CONTAINER", "ADDRESS", "RX PACKETS", "RX BYTES", "TX PACKETS", "TX BYTES"], &rows)?;
        if !ports.is_empty() {
            let rows: Vec<_> = ports.into_iter().map(|(port, name, count)| counted([port, name], &count)).collect();
            print::text("\n")?;
            print::table(&["PUBLISHED", "CONTAINER", "RX PACKETS", "RX BYTES", "TX PACKETS", "TX BYTES"], &rows)?;
        }
        if !reasons.is_empty() {
            let rows: Vec<_> = reasons
                .into_iter()
                .map(|(hook, reason, count)| {
                    vec![hook.name().into(), count.packets.to_string(), reason.name().into(), reason.sentence().into()]
                })
                .collect();
            print::text("\n")?;
            print::table(&["HOOK", "PACKETS", "REASON", "MEANING"], &rows)?;
        }
        Ok(())
    }
}

fn counted(names: [String; 2], count: &Traffic) -> Vec<String> {
    let numbers = [
        count.rx_packets.to_string(),
        print::bytes(count.rx_bytes),
        count.tx_packets.to_string(),
        print::bytes(count.tx_bytes),
    ];
    names.into_iter().chain(numbers).collect()
}

fn traffic(mut value: Value, count: &Traffic) -> Value {
    value["rx_packets"] = count.rx_packets.into();
    value["rx_bytes"] = count.rx_bytes.into();
    value["tx_packets"] = count.tx_packets.into();
    value["tx_bytes"] = count.tx_bytes.into();
    value
}

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

/// Say whether portlane can work here, what is loaded, and what there is
#[derive(Debug, Args)]
pub(super) struct Status;

impl Status {
    /// Exit status 1 if something is missing that portlane cannot do without.
    pub(super) async fn run(self, global: &Global) -> Result<i32> {
        let missing = bpf::probe(&global.bpffs);
        let code = i32::from(missing.iter().any(|missing| !missing.optional));
        // Without privileges there is nothing more to see than that.
        let engine = if code == 0 { Some(global.engine().await?) } else { None };
        let datapath = engine.as_ref().map(Engine::datapath).transpose()?.flatten();
        let programs = datapath.as_ref().map(Datapath::programs).transpose()?.unwrap_or_default();
        let attachments = datapath.as_ref().map(Datapath::attachments).transpose()?.unwrap_or_default();
        let state = engine.as_ref().map(Engine::state);
        let networks = state.map_or(0, |state| state.networks.len());
        let containers = state.map_or(0, |state| state.live().count());
        let ports = state.map_or(0, |state| state.publishes().count());
        if global.json {
            let programs = programs.iter().map(|program| {
                json!({"name": program.name, "id": program.id, "verified_instructions": program.verified_insns,
                       "machine_code_bytes": program.jited_bytes})
            });
            let missing = missing.iter().map(
                |missing| json!({"feature": missing.feature, "remedy": missing.remedy, "optional": missing.optional}),
            );
            print::json(&json!({
                "missing": missing.collect::<Vec<_>>(),
                "programs": programs.collect::<Vec<_>>(),
                "attachments": attachments.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "networks": networks,
                "containers": containers,
                "published": ports,
            }))?;
            return Ok(code);
        }
        for missing in &missing {
            print::line(format_args!("{} {missing}", if missing.optional { "better with" } else { "missing:" }))?;
        }
        print::line(format_args!(
            "{networks} network(s), {containers} running container(s), {ports} published port(s) or range(s)"
        ))?;
        print::line(format_args!("{}", plural(attachments.len(), "program attachment")))?;
        for attachment in &attachments {
            print::line(format_args!("  {attachment}"))?;
        }
        if programs.is_empty() {
            print::line("no program is loaded: the first network or container loads them")?;
            return Ok(code);
        }
        let rows: Vec<_> = programs
            .iter()
            .map(|program| {
                vec![
                    program.name.clone(),
                    program.id.to_string(),
                    program.verified_insns.to_string(),
                    program.jited_bytes.to_string(),
                ]
            })
            .collect();
        print::table(&["PROGRAM", "ID", "VERIFIED INSTRUCTIONS", "MACHINE CODE BYTES"], &rows)?;
        Ok(code)
    }
}

fn plural(count: usize, noun: impl Display) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
