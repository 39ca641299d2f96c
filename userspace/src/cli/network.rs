//! `network create|ls|inspect|rm`.

use std::net::IpAddr;

use anyhow::Result;
use clap::{Args, Subcommand};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::{Global, print};
use crate::{
    engine::EngineError,
    model::{self, NetworkRequest, State, network::remove_network, state::Mac},
};

/// Make, list and remove networks
#[derive(Debug, Subcommand)]
pub(super) enum Network {
    Create(Create),
    Ls(Ls),
    Inspect(Inspect),
    Rm(Rm),
}

impl Network {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        match self {
            Self::Create(create) => create.run(global).await,
            Self::Ls(ls) => ls.run(global).await,
            Self::Inspect(inspect) => inspect.run(global).await,
            Self::Rm(rm) => rm.run(global).await,
        }
    }
}

/// Make a bridge network
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portlane network create --subnet 10.20.0.0/16 --gateway 10.20.0.1 back
  portlane network create --ipv6 -o icc=false quiet
Options: icc=true|false, masquerade=true|false, mtu=BYTES; Docker's long names of them are understood.")]
pub(super) struct Create {
    /// Subnet [default: a free one]; one for each family
    #[arg(long, value_name = "CIDR")]
    subnet: Vec<IpNet>,
    /// Gateway, which the bridge has [default: the first address]; one for each family
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<IpAddr>,
    /// IPv6 too
    #[arg(long)]
    ipv6: bool,
    /// Nothing outside the network is reached
    #[arg(long)]
    internal: bool,
    /// Driver option
    #[arg(short, long = "opt", value_parser = option, value_name = "KEY=VALUE")]
    opt: Vec<Opt>,
    /// Name
    name: String,
}

/// One `-o`.
#[derive(Clone, Copy, Debug)]
enum Opt {
    Icc(bool),
    Masquerade(bool),
    Mtu(u32),
}

fn option(text: &str) -> Result<Opt, String> {
    let wrong = |wanted: &str| format!("`{text}` is no driver option: write {wanted}");
    let Some((key, value)) = text.split_once('=') else { return Err(wrong("icc=, masquerade= or mtu=, and a value")) };
    let truth = || value.parse().map_err(|_| wrong(&format!("{key}=true or {key}=false")));
    match key {
        "icc" | "com.docker.network.bridge.enable_icc" => truth().map(Opt::Icc),
        "masquerade" | "com.docker.network.bridge.enable_ip_masquerade" => truth().map(Opt::Masquerade),
        "mtu" | "com.docker.network.driver.mtu" => {
            value.parse().map(Opt::Mtu).map_err(|_| wrong("a number of bytes after mtu="))
        }
        _ => Err(wrong("icc=, masquerade= or mtu=")),
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
        for opt in self.opt {
            match opt {
                Opt::Icc(icc) => request.icc = icc,
                Opt::Masquerade(masquerade) => request.masquerade = masquerade,
                Opt::Mtu(mtu) => request.mtu = mtu,
            }
        }
        global.engine().await?.add_network(request).await?;
        if global.json { print::json(&json!({"name": self.name})) } else { print::line(&self.name) }
    }
}

/// List networks
#[derive(Debug, Args)]
pub(super) struct Ls;

impl Ls {
    async fn run(self, global: &Global) -> Result<()> {
        let engine = global.engine().await?;
        let state = engine.state();
        if global.json {
            return print::json(&state.networks.values().map(|network| describe(state, network)).collect());
        }
        let rows: Vec<_> = state
            .networks
            .values()
            .map(|network| {
                let flags = [
                    (!network.icc, "icc=false"),
                    (!network.masquerade, "masquerade=false"),
                    (network.internal, "internal"),
                ];
                vec![
                    network.name.clone(),
                    network.bridge.clone(),
                    network.subnet4.to_string(),
                    network.subnet6.map(|subnet| subnet.to_string()).unwrap_or_default(),
                    state.live_on(&network.name).count().to_string(),
                    flags.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect::<Vec<_>>().join(" "),
                ]
            })
            .collect();
        print::table(&["NAME", "BRIDGE", "IPV4", "IPV6", "CONTAINERS", "OPTIONS"], &rows)
    }
}

/// Print all that is known of a network, as JSON
#[derive(Debug, Args)]
#[command(after_help = "Example: portlane network inspect portlane0")]
pub(super) struct Inspect {
    /// Name
    name: String,
}

impl Inspect {
    async fn run(self, global: &Global) -> Result<()> {
        let engine = global.engine().await?;
        let network = engine.state().network(&self.name).map_err(EngineError::from)?;
        print::json(&describe(engine.state(), network))
    }
}

/// Remove networks that no container uses
#[derive(Debug, Args)]
#[command(after_help = "Example: portlane network rm quiet")]
pub(super) struct Rm {
    /// Names
    #[arg(required = true)]
    names: Vec<String>,
}

impl Rm {
    async fn run(self, global: &Global) -> Result<()> {
        let mut engine = global.engine().await?;
        // All or none.
        let mut trial = engine.state().clone();
        for name in &self.names {
            remove_network(&mut trial, name).map_err(EngineError::from)?;
        }
        let mut gone = Vec::new();
        for name in &self.names {
            gone.push(engine.remove_network(name).await?);
        }
        print::names(global, gone)
    }
}

fn describe(state: &State, network: &model::Network) -> Value {
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
