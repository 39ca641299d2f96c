//! Containers: listed, started, stopped, removed.

use std::time::Duration;

use serde_json::{Value, json};

use super::Result;
use crate::{
    engine::{self, Begun, Engine, EngineError, Settings, Started},
    model::{Container, ContainerRequest, Endpoint, Status, attach, state::Mac},
};

pub(super) async fn list(settings: Settings) -> Result<Value> {
    let engine = Engine::open(settings).await?;
    Ok(engine.state().containers.values().map(|container| describe(&engine, container)).collect())
}

pub(super) async fn inspect(settings: Settings, name: &str) -> Result<Value> {
    let engine = Engine::open(settings).await?;
    let container = engine.state().container(name)?;
    Ok(describe(&engine, container))
}

/// Starts a detached container; returns the answer, and what runs: whoever stays is the one to see its end.
///
/// # Errors
/// As [`Engine::run`].
pub async fn run(settings: Settings, request: ContainerRequest) -> Result<(Value, Started)> {
    let (mut engine, begun) = Engine::open_to_run(settings, &request, true).await?;
    let started = start(&mut engine, request, begun).await?;
    engine.leave();
    Ok((json!({"id": started.id, "name": started.name}), started))
}

/// Has a process that has begun be a container's, with the settings of names that the administrator configured for those that
/// ask for none.
///
/// # Errors
/// As [`Engine::run`].
pub async fn start(engine: &mut Engine, mut request: ContainerRequest, begun: Begun) -> Result<Started> {
    let daemon = &engine.settings().daemon;
    if request.dns.is_empty() {
        request.dns.clone_from(&daemon.resolver.servers);
    }
    if request.dns_search.is_empty() {
        request.dns_search.clone_from(&daemon.resolver.search);
    }
    if request.dns_options.is_empty() {
        request.dns_options.clone_from(&daemon.resolver.options);
    }
    engine.run(request, begun).await
}

/// Attaches a network namespace that somebody else made.
///
/// # Errors
/// As [`Engine::attach`].
pub(super) async fn attach(settings: Settings, netns: &str, mut request: ContainerRequest) -> Result<Value> {
    attach::check_attachable(&request)?;
    let mut engine = Engine::open(settings).await?;
    // What it asks at a gateway goes on to them.
    request.dns.clone_from(&engine.settings().daemon.resolver.servers);
    let (id, name) = engine.attach(netns, request).await?;
    Ok(json!({"id": id, "name": name}))
}

pub(super) async fn detach(settings: Settings, names: &[String]) -> Result<Value> {
    let mut engine = Engine::open(settings).await?;
    let (ids, _) = each_once(&engine, names)?;
    Ok(engine.detach(&ids).await?.into())
}

pub(super) async fn stop(settings: &Settings, name: &str, seconds: u64) -> Result<Value> {
    Ok(json!({"name": engine::stop(settings, name, Duration::from_secs(seconds)).await?}))
}

pub(super) async fn remove(settings: Settings, names: &[String], force: bool) -> Result<Value> {
    let engine = Engine::open_believing(settings.clone()).await?;
    // All or none: a name that is unknown is found before anything is killed.
    let (mut ids, names) = each_once(&engine, names)?;
    let killed: Vec<_> =
        ids.iter().filter(|_| force).filter_map(|id| engine.state().containers.get(id.as_str()).cloned()).collect();
    drop(engine);
    for container in &killed {
        engine::terminate(container, Duration::ZERO).await?;
    }
    // Takes note of all those ends at once.
    let mut engine = Engine::open(settings).await?;
    // One that was to go away when it ended has.
    ids.retain(|id| engine.state().containers.contains_key(id.as_str()));
    engine.remove(&ids, force).await?;
    Ok(names.into())
}

/// Identifiers and names of containers, each once, whatever they were called.
fn each_once(engine: &Engine, names: &[String]) -> Result<(Vec<String>, Vec<String>)> {
    let found = names.iter().map(|name| engine.state().container(name));
    let found = found.map(|found| found.map(|container| (container.id.to_string(), container.name.clone())));
    let mut found = found.collect::<Result<Vec<_>, _>>().map_err(EngineError::from)?;
    found.sort_unstable();
    found.dedup();
    Ok(found.into_iter().unzip())
}

/// A container, for `inspect` and `ps`: always the same fields, null where they say nothing.
fn describe(engine: &Engine, container: &Container) -> Value {
    let name = |id: &String| engine.state().containers.get(id.as_str()).map(|target| target.name.clone());
    let (four, six) = engine.state().gateways(container);
    let networks = container.endpoints.iter().map(|endpoint| {
        let leads = |best: Option<&Endpoint>| best.is_some_and(|best| best.number == endpoint.number);
        json!({
            "network": endpoint.network,
            "interface": endpoint.interface,
            "addr4": endpoint.addr4,
            "addr6": endpoint.addr6,
            "mac": Mac(endpoint.mac).to_string(),
            "veth": endpoint.veth,
            "number": endpoint.number,
            "aliases": endpoint.aliases,
            "priority": endpoint.priority,
            "leads4": leads(four),
            "leads6": leads(six),
        })
    });
    let links = container.links.iter().map(|link| json!({"container": name(&link.target), "alias": link.alias}));
    let (pid, code) = match container.status {
        Status::Running { pid, .. } => (Some(pid), None),
        Status::Exited { code } => (None, code),
        Status::Creating | Status::Attached => (None, None),
    };
    json!({
        "id": container.id,
        "name": container.name,
        "status": status(container.status),
        "pid": pid,
        "exit_code": code,
        "network": network(engine, container),
        "networks": networks.collect::<Vec<_>>(),
        // The place that published ports lead to, in short.
        "addr4": four.map(|main| main.addr4),
        "addr6": four.and_then(|main| main.addr6),
        "mac": four.map(|main| Mac(main.mac).to_string()),
        "veth": four.map(|main| main.veth.clone()),
        "endpoint": four.map(|main| main.number),
        "links": links.collect::<Vec<_>>(),
        "hostname": container.hostname,
        "netns": container.netns,
        "dns": container.dns,
        "dns_search": container.dns_search,
        "dns_options": container.dns_options,
        "extra_hosts": container.extra_hosts.iter().map(|(host, address)| format!("{host}:{address}")).collect::<Vec<_>>(),
        "exposed": container.exposed.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "publishes": container.publishes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "command": container.command,
        "auto_remove": container.auto_remove,
        "log": engine.log(container),
    })
}

fn status(status: Status) -> String {
    match status {
        Status::Creating => "creating".to_owned(),
        Status::Running { .. } => "running".to_owned(),
        Status::Attached => "attached".to_owned(),
        Status::Exited { code: Some(code) } => format!("exited ({code})"),
        Status::Exited { code: None } => "exited".to_owned(),
    }
}

/// `container:` with the name that the other one has by now.
fn network(engine: &Engine, container: &Container) -> String {
    let other = container.network.strip_prefix("container:").and_then(|id| engine.state().containers.get(id));
    other.map_or_else(|| container.networks(), |other| format!("container:{}", other.name))
}
