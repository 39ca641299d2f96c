//! What several verbs ask of networks.

use std::net::{Ipv4Addr, Ipv6Addr};

use clap::Args;

use crate::model::{
    ConnectRequest, ContainerRequest, LinkRequest, PortSpec, PublishRequest, publish::all_exposed, spec, state::Nat,
};

/// Addresses on one network.
#[derive(Debug, Args)]
pub(super) struct Addresses {
    /// IPv4 address [default: a free one of the network]
    #[arg(long)]
    ip: Option<Ipv4Addr>,
    /// IPv6 address [default: a free one of the network]
    #[arg(long)]
    ip6: Option<Ipv6Addr>,
    /// MAC address [default: made from the IPv4 address]
    #[arg(long, value_parser = spec::mac, value_name = "MAC")]
    mac_address: Option<[u8; 6]>,
}

impl Addresses {
    /// The place with these addresses where some were given.
    pub(super) fn over(self, place: ConnectRequest) -> ConnectRequest {
        ConnectRequest {
            addr4: self.ip.or(place.addr4),
            addr6: self.ip6.or(place.addr6),
            mac: self.mac_address.or(place.mac),
            ..place
        }
    }
}

/// Networks, ports and links of a container, whoever runs what is in it.
#[derive(Debug, Args)]
pub(super) struct Networking {
    /// A network, `host`, `none`, or `container:NAME`; a further network (repeatable). In full:
    /// name=NETWORK,alias=NAME,ip=ADDRESS,ip6=ADDRESS,mac-address=MAC,gw-priority=NUMBER
    #[arg(long, visible_alias = "net", value_parser = spec::network, default_value = "bridge", value_name = "NETWORK")]
    network: Vec<ConnectRequest>,
    /// Name that others on the first network know it by (repeatable)
    #[arg(long, value_name = "ALIAS")]
    network_alias: Vec<String>,
    #[command(flatten)]
    addresses: Addresses,
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
    /// How UDP sockets are mapped to ports outside: `per-peer`, as the kernel does it, or `full-cone`: one port for all
    /// peers, and anybody may send to it (games, WebRTC, RFC 4787 REQ-1)
    #[arg(long, value_parser = nat, default_value = "per-peer", value_name = "KIND")]
    nat: Nat,
}

impl Networking {
    /// A container of this name, or of one to be drawn.
    pub(super) fn request(mut self, name: Option<String>) -> ContainerRequest {
        if self.publish_all {
            self.publish.extend(all_exposed(&self.expose, &self.publish));
        }
        let mut networks = self.network.into_iter();
        let mut first = self.addresses.over(networks.next().unwrap_or_default());
        first.aliases.extend(self.network_alias);
        ContainerRequest {
            name: name.unwrap_or_default(),
            networks: std::iter::once(first).chain(networks).collect(),
            links: self.link,
            exposed: self.expose,
            publishes: self.publish,
            nat: self.nat,
            ..ContainerRequest::default()
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
