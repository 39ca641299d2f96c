//! `network create|ls|inspect|rm|prune|connect|disconnect`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use clap::{Args, Subcommand};
use ipnet::IpNet;
use serde_json::Value;

use super::{Global, later::Later, options::Addresses, print};
use crate::{
    model::{ConnectRequest, NetworkRequest, state::DEFAULT_MTU},
    request::Request,
};

/// Make, list and remove networks, and connect containers to them
#[derive(Debug, Subcommand)]
pub(super) enum Network {
    /// Make a bridge network
    Create(Later<Create>),
    /// List networks
    Ls(Later<Ls>),
    /// Print all that is known of a network, as JSON
    Inspect(Later<Inspect>),
    /// Remove networks that no container uses
    Rm(Later<Rm>),
    /// Remove every created network that no container uses
    Prune(Later<Prune>),
    /// Connect a running container to one more network
    Connect(Later<Connect>),
    /// Disconnect a container from a network
    Disconnect(Later<Disconnect>),
}

impl Network {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        match self {
            Self::Create(create) => create.0.run(global).await,
            Self::Ls(ls) => ls.0.run(global).await,
            Self::Inspect(inspect) => inspect.0.run(global).await,
            Self::Rm(rm) => rm.0.run(global).await,
            Self::Prune(prune) => prune.0.run(global).await,
            Self::Connect(connect) => connect.0.run(global).await,
            Self::Disconnect(disconnect) => disconnect.0.run(global).await,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portlane network create --subnet 10.20.0.0/16 --gateway 10.20.0.1 back
  portlane network create --ipv6 -o icc=false quiet
  portlane network create --subnet 10.30.0.0/16 --ip-range 10.30.5.0/24 -o host-ipv4=192.0.2.7 front
Options (Docker's long names of them are understood):
  icc=true|false          containers reach each other without a link [default: true]
  masquerade=true|false   what leaves the host takes the host's address [default: true]
  mtu=BYTES               [default: that of the interface that the host's default route leads out by]
  link-mtu=BYTES          largest packet between its containers, up to 65535; what leaves has mtu's [default: mtu's]
  gro=true|false          the host puts segments together that containers send one by one [default: false]
  big-tcp=true|false      TCP trains of 192 KiB instead of 64, if the uplink has them too (gso_max_size) [default: false]
  host-binding=ADDRESS    host address of ports that are published without one [default: every one]
  host-ipv4=ADDRESS, host-ipv6=ADDRESS   what masqueraded packets leave with [default: the uplink's address]")]
pub(super) struct Create {
    /// Subnet [default: a free one]; one for each family
    #[arg(long, value_name = "CIDR")]
    subnet: Vec<IpNet>,
    /// Gateway, which the bridge has [default: the first address]; one for each family
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<IpAddr>,
    /// Part of the subnet to give addresses out of [default: all of it]; one for each family
    #[arg(long, value_name = "CIDR")]
    ip_range: Vec<IpNet>,
    /// IPv6 too
    #[arg(long)]
    ipv6: bool,
    /// Nothing outside the network is reached
    #[arg(long)]
    internal: bool,
    /// Driver option
    #[arg(short, long = "opt", value_parser = option, value_name = "KEY=VALUE")]
    opt: Vec<Opt>,
    /// Note for `inspect`, or for whoever reads it
    #[arg(long, value_parser = label, value_name = "KEY[=VALUE]")]
    label: Vec<(String, String)>,
    /// Name
    name: String,
}

/// One `-o`.
#[derive(Clone, Copy, Debug)]
enum Opt {
    Icc(bool),
    Masquerade(bool),
    Mtu(u32),
    LinkMtu(u32),
    Gro(bool),
    BigTcp(bool),
    HostBinding(IpAddr),
    Host4(Ipv4Addr),
    Host6(Ipv6Addr),
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() { Err(format!("`{text}` is no label: write KEY=VALUE")) } else { Ok((key.into(), value.into())) }
}

fn option(text: &str) -> Result<Opt, String> {
    let wrong = |wanted: &str| format!("`{text}` is no driver option: write {wanted}");
    const KEYS: &str = "icc=, masquerade=, mtu=, link-mtu=, gro=, big-tcp=, host-binding=, host-ipv4= or host-ipv6=";
    let Some((key, value)) = text.split_once('=') else { return Err(wrong(&format!("{KEYS} and a value"))) };
    let truth = || value.parse().map_err(|_| wrong(&format!("{key}=true or {key}=false")));
    let bytes = || value.parse().map_err(|_| wrong(&format!("a number of bytes after {key}=")));
    match key {
        "icc" | "com.docker.network.bridge.enable_icc" => truth().map(Opt::Icc),
        "masquerade" | "com.docker.network.bridge.enable_ip_masquerade" => truth().map(Opt::Masquerade),
        "mtu" | "com.docker.network.driver.mtu" => bytes().map(Opt::Mtu),
        "link-mtu" => bytes().map(Opt::LinkMtu),
        "gro" => truth().map(Opt::Gro),
        "big-tcp" => truth().map(Opt::BigTcp),
        "host-binding" | "com.docker.network.bridge.host_binding_ipv4" => {
            value.parse().map(Opt::HostBinding).map_err(|_| wrong("an address after host-binding="))
        }
        "host-ipv4" | "com.docker.network.host_ipv4" => {
            value.parse().map(Opt::Host4).map_err(|_| wrong("an IPv4 address after host-ipv4="))
        }
        "host-ipv6" | "com.docker.network.host_ipv6" => {
            value.parse().map(Opt::Host6).map_err(|_| wrong("an IPv6 address after host-ipv6="))
        }
        _ => Err(wrong(KEYS)),
    }
}

impl Create {
    async fn run(self, global: &Global) -> Result<()> {
        let mut request =
            NetworkRequest { ipv6: self.ipv6, internal: self.internal, ..NetworkRequest::named(&self.name) };
        for subnet in self.subnet {
            let twice = match subnet {
                IpNet::V4(subnet) => request.subnet4.replace(subnet).is_some(),
                IpNet::V6(subnet) => request.subnet6.replace(subnet).is_some(),
            };
            anyhow::ensure!(!twice, "{subnet} is one subnet too many: a network has one for each family");
        }
        for gateway in self.gateway {
            let twice = match gateway {
                IpAddr::V4(gateway) => request.gateway4.replace(gateway).is_some(),
                IpAddr::V6(gateway) => request.gateway6.replace(gateway).is_some(),
            };
            anyhow::ensure!(!twice, "{gateway} is one gateway too many: a network has one for each family");
        }
        for range in self.ip_range {
            let twice = match range {
                IpNet::V4(range) => request.range4.replace(range).is_some(),
                IpNet::V6(range) => request.range6.replace(range).is_some(),
            };
            anyhow::ensure!(!twice, "{range} is one range too many: a network has one for each family");
        }
        request.labels.extend(self.label);
        for opt in self.opt {
            match opt {
                Opt::Icc(icc) => request.icc = icc,
                Opt::Masquerade(masquerade) => request.masquerade = masquerade,
                Opt::Mtu(mtu) => request.mtu = Some(mtu),
                Opt::LinkMtu(mtu) => request.links.mtu = Some(mtu),
                Opt::Gro(gro) => request.links.gro = gro,
                Opt::BigTcp(big) => request.links.big_tcp = big,
                Opt::HostBinding(address) => request.host_binding = Some(address),
                Opt::Host4(address) => request.host4 = Some(address),
                Opt::Host6(address) => request.host6 = Some(address),
            }
        }
        let made = global.ask(Request::CreateNetwork(Box::new(request))).await?;
        if global.json { print::json(&made) } else { print::line(&self.name) }
    }
}

#[derive(Debug, Args)]
pub(super) struct Ls {
    /// Print names only
    #[arg(short, long)]
    quiet: bool,
}

impl Ls {
    async fn run(self, global: &Global) -> Result<()> {
        let networks = global.ask(Request::Networks).await?;
        if self.quiet {
            return print::names(global, print::rows(&networks).map(|row| print::field(row, "name")).collect());
        }
        if global.json {
            return print::json(&networks);
        }
        let rows: Vec<_> = print::rows(&networks)
            .map(|row| {
                let field = |name| print::field(row, name);
                vec![
                    field("name"),
                    field("bridge"),
                    field("subnet4"),
                    field("subnet6"),
                    print::rows(&row["containers"]).count().to_string(),
                    options(row),
                ]
            })
            .collect();
        print::table(&["NAME", "BRIDGE", "IPV4", "IPV6", "CONTAINERS", "OPTIONS"], &rows)
    }
}

/// What was asked for that is not so by itself, in the words of `create`.
fn options(network: &Value) -> String {
    const USUAL_MTU: u64 = DEFAULT_MTU as u64;
    let switches = [("icc", true), ("masquerade", true), ("gro", false), ("big_tcp", false)];
    let switched = switches.into_iter().filter(|(name, usual)| network[*name] == Value::Bool(!usual));
    let switched = switched.map(|(name, usual)| format!("{}={}", name.replace('_', "-"), !usual));
    let values = ["mtu", "link_mtu", "host_binding", "host_ipv4", "host_ipv6"].into_iter();
    let set = values.filter(|name| *name != "mtu" || network[*name] != USUAL_MTU).filter_map(|name| {
        let value = print::field(network, name);
        (!value.is_empty()).then(|| format!("{}={value}", name.replace('_', "-")))
    });
    let internal = (network["internal"] == true).then(|| "internal".to_owned());
    switched.chain(internal).chain(set).collect::<Vec<_>>().join(" ")
}

#[derive(Debug, Args)]
#[command(after_help = "Example: portlane network inspect portlane0")]
pub(super) struct Inspect {
    /// Name
    name: String,
}

impl Inspect {
    async fn run(self, global: &Global) -> Result<()> {
        print::json(&global.ask(Request::InspectNetwork { name: self.name }).await?)
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example: portlane network prune")]
pub(super) struct Prune;

impl Prune {
    async fn run(self, global: &Global) -> Result<()> {
        print::names(global, print::texts(&global.ask(Request::PruneNetworks).await?))
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portlane network connect back web
  portlane network connect --ip 10.20.0.9 --alias db --gw-priority 1 back web
It appears there as eth1, eth2 and so on. The default route, and published ports, lead to the network with the highest
priority; among equals to the first.")]
pub(super) struct Connect {
    #[command(flatten)]
    addresses: Addresses,
    /// Name that others on the network know it by (repeatable)
    #[arg(long)]
    alias: Vec<String>,
    /// How much the default route is drawn to this network
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_name = "NUMBER")]
    gw_priority: i32,
    /// Network
    network: String,
    /// Container
    container: String,
}

impl Connect {
    async fn run(self, global: &Global) -> Result<()> {
        let place = ConnectRequest {
            network: self.network,
            aliases: self.alias,
            priority: self.gw_priority,
            ..ConnectRequest::default()
        };
        let (container, request) = (self.container, Box::new(self.addresses.over(place)));
        global.ask(Request::Connect { container, request }).await.map(drop)
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example: portlane network disconnect back web")]
pub(super) struct Disconnect {
    /// Network
    network: String,
    /// Container
    container: String,
}

impl Disconnect {
    async fn run(self, global: &Global) -> Result<()> {
        let Self { network, container } = self;
        global.ask(Request::Disconnect { container, network }).await.map(drop)
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example: portlane network rm quiet")]
pub(super) struct Rm {
    /// Names
    #[arg(required = true)]
    names: Vec<String>,
}

impl Rm {
    async fn run(self, global: &Global) -> Result<()> {
        print::names(global, print::texts(&global.ask(Request::RemoveNetworks { names: self.names }).await?))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::options;

    #[test]
    fn of_a_networks_options_those_are_listed_that_somebody_asked_for() {
        let usual = json!({"icc": true, "masquerade": true, "gro": false, "big_tcp": false, "internal": false,
            "mtu": 1500, "link_mtu": null, "host_binding": null, "host_ipv4": null, "host_ipv6": null});
        assert_eq!(options(&usual), "");
        let asked = json!({"icc": false, "masquerade": true, "gro": true, "big_tcp": false, "internal": true,
            "mtu": 1400, "link_mtu": 65535, "host_binding": "127.0.0.1", "host_ipv4": null, "host_ipv6": null});
        assert_eq!(options(&asked), "icc=false gro=true internal mtu=1400 link-mtu=65535 host-binding=127.0.0.1");
    }
}
