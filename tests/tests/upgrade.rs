//! A portlane that takes over from an earlier version.
#![cfg(feature = "root")]

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use portlane::store::Store;
use portlane_tests::topology::{Family, PROTOS, Topology, at, both, test};
use redb::{Database, TableDefinition};
use serde_json::{Map, Value, json};

const TABLE: TableDefinition<'_, &str, &str> = TableDefinition::new("portlane");
const TEXTS: TableDefinition<'_, &str, &str> = TableDefinition::new("containers");
const PACKED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("packed");

/// Rewrites the state as an earlier version stored it, which `older` makes of today's.
fn store_as(folder: &Path, older: impl FnOnce(Value) -> Result<Rows>) -> Result<()> {
    let state = Store::look(folder)?.context("there is no state")?;
    let Rows { state, containers } = older(serde_json::to_value(state)?)?;
    let database = Database::open(folder.join("state.redb"))?;
    let transaction = database.begin_write()?;
    transaction.delete_table(PACKED)?;
    transaction.open_table(TABLE)?.insert("state", state.to_string().as_str())?;
    for (id, container) in &containers {
        transaction.open_table(TEXTS)?.insert(id.as_str(), container.to_string().as_str())?;
    }
    Ok(transaction.commit()?)
}

/// What an earlier version stored.
struct Rows {
    state: Value,
    /// Those that have rows of their own.
    containers: Map<String, Value>,
}

/// With one network a container, and all in one row.
fn first(mut state: Value) -> Result<Rows> {
    state["schema"] = 1.into();
    for container in state["containers"].as_object_mut().context("containers")?.values_mut() {
        let endpoint = container["endpoints"][0].take();
        for field in ["addr4", "addr6", "mac", "veth", "network"] {
            container[field] = endpoint[field].clone();
        }
        container["endpoint"] = endpoint["number"].clone();
        let container = container.as_object_mut().context("a container")?;
        container.retain(|key, _| !["endpoints", "dns_options"].contains(&key.as_str()));
    }
    for network in state["networks"].as_object_mut().context("networks")?.values_mut() {
        let known = ["labels", "range4", "range6", "last4", "router4", "router6", "host_binding", "host4", "host6"];
        network.as_object_mut().context("a network")?.retain(|key, _| !known.contains(&key.as_str()));
    }
    state["default_network"] =
        json!({"bip": null, "ipv6": true, "subnet6": null, "icc": true, "masquerade": true, "mtu": 1500});
    Ok(Rows { state, containers: Map::new() })
}

/// With a row of JSON for each container.
fn of_texts(mut state: Value) -> Result<Rows> {
    state["schema"] = 3.into();
    let containers = state["containers"].take().as_object().context("containers")?.clone();
    state["containers"] = json!({});
    Ok(Rows { state, containers })
}

/// The programs are of another version, and one table had another shape.
fn load_as_another_version(net: &Topology) -> Result<()> {
    fs::remove_file(net.bpffs().join("version"))?;
    Ok(fs::remove_file(net.bpffs().join("maps/pl_veth"))?)
}

#[test]
fn an_upgrade_from_the_first_version_keeps_live_conversations_and_everything_that_was_asked_for() -> Result<()> {
    upgrade_from(first)
}

#[test]
fn an_upgrade_from_rows_of_text_keeps_live_conversations_and_everything_that_was_asked_for() -> Result<()> {
    upgrade_from(of_texts)
}

fn upgrade_from(older: fn(Value) -> Result<Rows>) -> Result<()> {
    test(|net| {
        let _server = net.outside().serve("tcp [::]:9000 udp [::]:9000")?;
        let web = net.container("web", "-p 8080:80 -p 8080:80/udp", "tcp [::]:80 udp [::]:80")?;
        let mut talks = Vec::new();
        both(|family| {
            for proto in PROTOS {
                talks.push(net.outside().converse(proto, at(family.host(), 8080), &[])?);
                talks.push(web.inside().converse(proto, at(family.outside(), 9000), &[])?);
            }
            Ok(())
        })?;
        talks.iter_mut().try_for_each(|talk| talk.goes_on())?;
        let before = net.json(&["inspect", "web"])?;
        store_as(&net.state(), older)?;
        load_as_another_version(net)?;
        talks.iter_mut().try_for_each(|talk| talk.goes_on()).context("before the next command")?;
        let taken = net.portlane(&["repair"])?;
        ensure!(taken.contains("pl_veth"), "the table with another shape is not filled again: {taken}");
        talks.iter_mut().try_for_each(|talk| talk.goes_on()).context("after the upgrade")?;
        ensure!(net.json(&["inspect", "web"])? == before, "{before} is now {}", net.json(&["inspect", "web"])?);
        let plan = net.portlane(&["repair", "--dry-run"])?;
        ensure!(plan.trim() == "everything is as it must be", "{plan}");
        both(|family| {
            ensure!(net.outside().ask("tcp", at(family.host(), 8080))?.by == "web", "a new client");
            Ok(())
        })?;
        net.portlane(&["network", "create", "back"])?;
        net.portlane(&["network", "connect", "back", "web"])?;
        ensure!(web.inside().ask("tcp", at(Family::V4.outside(), 9000)).is_ok(), "a new connection");
        Ok(())
    })
}
