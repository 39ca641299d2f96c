//! `run`, `exec`, `ps`, `inspect`, `stop`, `rm`.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::{Global, print};
use crate::{
    engine::{self, Engine, EngineError},
    linux::{Place, exec_in},
    model::{
        ConnectRequest, Container, ContainerRequest, Endpoint, LinkRequest, PortSpec, PublishRequest, Status,
        publish::all_exposed, spec, state::Mac, state::Nat,
    },
};

/// Run a command in a container: network, UTS and mount namespaces of its own
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portlane run -d --name web -p 8080:80 -- nginx -g 'daemon off;'
  portlane run -d --name app --expose 80 --expose 443 -P -- ./server
  portlane run --rm -p 127.0.0.1::53/udp --dns 10.0.0.2 -- dnsmasq -k
  portlane run -d -p 5432:5432,from=10.0.0.0/8,from=2001:db8::/32 -- postgres
  portlane run --rm --network container:web -- curl http://localhost/
Published ports: [address:][hostPort[-hostPort]]:containerPort[-containerPort][/tcp|/udp|/sctp],
address::containerPort, or containerPort; an IPv6 address in brackets. Without a host port, a free one is taken; of a
range for one container port (8000-8009:80), the first that is free. Behind that, `,from=PREFIX` as often as needed: only
these sources may use the port, and the host's own processes, which always may.")]
pub(super) struct Run {
    /// Name [default: drawn at random]
    #[arg(long)]
    name: Option<String>,
    /// A network, `host`, `none`, or `container:NAME`; a further network (repeatable). In full:
    /// name=NETWORK,alias=NAME,ip=ADDRESS,ip6=ADDRESS,mac-address=MAC,gw-priority=NUMBER
    #[arg(long, visible_alias = "net", value_parser = spec::network, default_value = "bridge", value_name = "NETWORK")]
    network: Vec<ConnectRequest>,
    /// Name that others on the first network know it by (repeatable)
    #[arg(long, value_name = "ALIAS")]
    network_alias: Vec<String>,
    /// IPv4 address [default: a free one of the network]
    #[arg(long)]
    ip: Option<Ipv4Addr>,
    /// IPv6 address [default: a free one of the network]
    #[arg(long)]
    ip6: Option<Ipv6Addr>,
    /// MAC address [default: made from the IPv4 address]
    #[arg(long, value_parser = spec::mac, value_name = "MAC")]
    mac_address: Option<[u8; 6]>,
    /// Publish a port or a range of them (repeatable)
    #[arg(short, long, value_parser = spec::publish, value_name = "SPEC")]
    publish: Vec<PublishRequest>,
    /// Publish every exposed port on a free port of the host
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// Open a port to containers that link to this one (repeatable)
    #[arg(long, value_parser = spec::port, value_name = "PORT[/PROTO]")]
    expose: Vec<PortSpec>,
    /// Know a container by an alias, and reach its exposed and published ports (repeatable)
    #[arg(long, value_parser = spec::link, value_name = "NAME[:ALIAS]")]
    link: Vec<LinkRequest>,
    /// Host name [default: the short identifier]
    #[arg(short = 'H', long)]
    hostname: Option<String>,
    /// Name server instead of the host's (repeatable)
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<IpAddr>,
    /// Search domain instead of the host's; `.` for none (repeatable)
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Option of resolv.conf instead of the host's (repeatable)
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,
    /// Line for /etc/hosts (repeatable)
    #[arg(long, value_parser = spec::extra_host, value_name = "HOST:IP")]
    add_host: Vec<(String, IpAddr)>,
    /// How UDP sockets are mapped to ports outside: `per-peer`, as the kernel does it, or `full-cone`: one port for all
    /// peers, and anybody may send to it (games, WebRTC, RFC 4787 REQ-1)
    #[arg(long, value_parser = nat, default_value = "per-peer", value_name = "KIND")]
    nat: Nat,
    /// Do not wait: print the identifier; `inspect` shows where the output goes
    #[arg(short, long)]
    detach: bool,
    /// Remove the container when it ends
    #[arg(long)]
    rm: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Run {
    pub(super) async fn run(self, global: &Global) -> Result<i32> {
        let detach = self.detach;
        let mut engine = global.engine().await?;
        let settings = engine.settings().clone();
        let verbose = settings.log_level > 0;
        let log = if verbose { engine.listen()? } else { None };
        let request = self.request(engine.settings());
        let started = engine.run(request, detach).await?;
        drop(engine);
        let code = if detach {
            if global.json {
                print::json(&json!({"id": started.id, "name": started.name}))?;
            } else {
                print::line(&started.id)?;
            }
            0
        } else {
            engine::finish(settings.clone(), started).await?
        };
        drop(log);
        if verbose {
            Engine::open(engine::Settings { log_level: 0, ..settings }).await?.listen()?;
        }
        Ok(code)
    }

    fn request(mut self, settings: &engine::Settings) -> ContainerRequest {
        if self.publish_all {
            self.publish.extend(all_exposed(&self.expose, &self.publish));
        }
        let mut networks = self.network.into_iter();
        let first = networks.next().unwrap_or_default();
        ContainerRequest {
            id: String::new(),
            name: self.name.unwrap_or_default(),
            network: first.network,
            addr4: self.ip.or(first.addr4),
            addr6: self.ip6.or(first.addr6),
            mac: self.mac_address.or(first.mac),
            aliases: first.aliases.into_iter().chain(self.network_alias).collect(),
            priority: first.priority,
            more: networks.collect(),
            hostname: self.hostname,
            dns: or(self.dns, &settings.daemon.dns),
            dns_search: or(self.dns_search, &settings.daemon.dns_search),
            dns_options: or(self.dns_option, &settings.daemon.dns_options),
            extra_hosts: self.add_host,
            links: self.link,
            exposed: self.expose,
            publishes: self.publish,
            command: self.command,
            auto_remove: self.rm,
            nat: self.nat,
        }
    }
}

fn nat(text: &str) -> Result<Nat, String> {
    match text {
        "per-peer" => Ok(Nat::PerPeer),
        "full-cone" => Ok(Nat::FullCone),
        _ => Err("use per-peer or full-cone".to_owned()),
    }
}

/// What was asked for, or else what the administrator configured.
fn or<T: Clone>(asked: Vec<T>, configured: &[T]) -> Vec<T> {
    if asked.is_empty() { configured.to_vec() } else { asked }
}

/// Run a command where a container is
#[derive(Debug, Args)]
#[command(after_help = "Example: portlane exec web -- ss -tln")]
pub(super) struct Exec {
    /// Name or identifier
    name: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Exec {
    pub(super) async fn run(self, global: &Global) -> Result<i32> {
        let (pid, start_time) = global.engine().await?.process_of(&self.name)?;
        let [command, args @ ..] = self.command.as_slice() else { return Err(EngineError::NoCommand.into()) };
        exec_in(Place::Process { pid, start_time }, command, args).map_err(|error| EngineError::from(error).into())
    }
}

/// List containers
#[derive(Debug, Args)]
pub(super) struct Ps {
    /// Print identifiers only
    #[arg(short, long)]
    quiet: bool,
}

impl Ps {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let engine = global.engine().await?;
        let containers = engine.state().containers.values();
        if self.quiet {
            return print::names(global, containers.map(|container| container.short_id().to_owned()).collect());
        }
        if global.json {
            return print::json(&containers.map(|container| describe(&engine, container)).collect());
        }
        let rows: Vec<_> = containers
            .map(|container| {
                vec![
                    container.short_id().to_owned(),
                    container.name.clone(),
                    status(container.status),
                    network(&engine, container),
                    addresses(container),
                    ports(container),
                    shortened(&container.command.join(" ")),
                ]
            })
            .collect();
        print::table(&["CONTAINER ID", "NAME", "STATUS", "NETWORK", "ADDRESS", "PORTS", "COMMAND"], &rows)
    }
}

/// Print all that is known of a container, as JSON
#[derive(Debug, Args)]
#[command(after_help = "Example: portlane inspect web")]
pub(super) struct Inspect {
    /// Name or identifier
    name: String,
}

impl Inspect {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let engine = global.engine().await?;
        let container = engine.state().container(&self.name).map_err(EngineError::from)?;
        print::json(&describe(&engine, container))
    }
}

/// Stop containers: SIGTERM, and SIGKILL to those still there after a while
#[derive(Debug, Args)]
#[command(after_help = "Example: portlane stop -t 2 web")]
pub(super) struct Stop {
    /// Seconds before SIGKILL
    #[arg(short, long, default_value_t = 10, value_name = "SECONDS")]
    time: u64,
    /// Names or identifiers
    #[arg(required = true)]
    names: Vec<String>,
}

impl Stop {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let settings = global.settings()?;
        let mut stopped = Vec::new();
        for name in &self.names {
            let name = engine::stop(&settings, name, Duration::from_secs(self.time)).await?;
            if !global.json {
                print::line(&name)?;
            }
            stopped.push(name);
        }
        if global.json { print::json(&stopped.into()) } else { Ok(()) }
    }
}

/// Remove containers
#[derive(Debug, Args)]
#[command(after_help = "Example: portlane rm -f web db")]
pub(super) struct Rm {
    /// Kill those that run
    #[arg(short, long)]
    force: bool,
    /// Names or identifiers
    #[arg(required = true)]
    names: Vec<String>,
}

impl Rm {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let settings = global.settings()?;
        let engine = Engine::open(settings.clone()).await?;
        // All or none: a name that is unknown is found before anything is killed.
        let ids = self.names.iter().map(|name| engine.state().container(name).map(|found| found.id.clone()));
        let mut ids = ids.collect::<Result<Vec<_>, _>>().map_err(EngineError::from)?;
        ids.sort_unstable();
        ids.dedup();
        drop(engine);
        if self.force {
            for id in &ids {
                engine::stop(&settings, id, Duration::ZERO).await?;
            }
        }
        let mut engine = Engine::open(settings).await?;
        // One that was to go away when it ended has.
        ids.retain(|id| engine.state().containers.contains_key(id));
        engine.remove(&ids).await?;
        print::names(global, self.names)
    }
}

/// A container, for `inspect` and `ps --json`: always the same fields, null where they say nothing.
fn describe(engine: &Engine, container: &Container) -> Value {
    let name = |id: &String| engine.state().containers.get(id).map(|target| target.name.clone());
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
        Status::Creating => (None, None),
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
        Status::Exited { code: Some(code) } => format!("exited ({code})"),
        Status::Exited { code: None } => "exited".to_owned(),
    }
}

/// `container:` with the name that the other one has by now.
fn network(engine: &Engine, container: &Container) -> String {
    let other = container.network.strip_prefix("container:").and_then(|id| engine.state().containers.get(id));
    other.map_or_else(|| container.networks(), |other| format!("container:{}", other.name))
}

fn addresses(container: &Container) -> String {
    let texts = container.endpoints.iter().flat_map(|endpoint| {
        [Some(endpoint.addr4.to_string()), endpoint.addr6.map(|address| address.to_string())].into_iter().flatten()
    });
    texts.collect::<Vec<_>>().join(", ")
}

fn ports(container: &Container) -> String {
    container.publishes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn shortened(command: &str) -> String {
    const WIDTH: usize = 40;
    if command.chars().count() <= WIDTH {
        return command.to_owned();
    }
    command.chars().take(WIDTH - 1).chain(['…']).collect()
}
