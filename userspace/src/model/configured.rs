//! What the administrator configured in `daemon.json`, as it is stored.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use portlane_common::{
    config::{FLOW_SHARE, MAX_FLOWS},
    flow::Timeouts,
};
use serde::{Deserialize, Serialize};

use super::tuning::LinkSettings;

/// Settings of the default network (`daemon.json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DefaultNetwork {
    /// Docker's `bip`: the gateway's address with the prefix length of the subnet; a free pool if none.
    pub bip: Option<Ipv4Net>,
    /// Whether its containers get IPv6 addresses.
    pub ipv6: bool,
    /// Docker's `fixed-cidr-v6`; derived from the host's seed if none.
    pub subnet6: Option<Ipv6Net>,
    /// Whether its containers reach each other.
    pub icc: bool,
    /// Docker's `ip-masq`.
    pub masquerade: bool,
    /// Bytes; the uplink's if none.
    pub mtu: Option<u32>,
    /// Docker's `fixed-cidr`: the part of the subnet that addresses are given out of.
    pub range4: Option<Ipv4Net>,
    /// Docker's `default-gateway`: where containers' default route leads instead of the bridge.
    pub router4: Option<Ipv4Addr>,
    /// Docker's `default-gateway-v6`.
    pub router6: Option<Ipv6Addr>,
    /// Docker's `ip`: the host address of ports that are published without one.
    pub host_binding: Option<IpAddr>,
    /// How its links carry packets.
    pub links: LinkSettings,
}

impl Default for DefaultNetwork {
    fn default() -> Self {
        Self {
            bip: None,
            ipv6: false,
            subnet6: None,
            icc: true,
            masquerade: true,
            mtu: None,
            range4: None,
            router4: None,
            router6: None,
            host_binding: None,
            links: LinkSettings::default(),
        }
    }
}

/// What containers that ask for nothing else are told of names outside (`daemon.json`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResolverSettings {
    /// Docker's `dns`: name servers; the host's if none.
    pub servers: Vec<IpAddr>,
    /// Docker's `dns-search`: search domains.
    pub search: Vec<String>,
    /// Docker's `dns-opts`: options of `/etc/resolv.conf`.
    pub options: Vec<String>,
}

/// Where subnets are cut from that nobody chose (Docker's `default-address-pools`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// All of it.
    pub base: Ipv4Net,
    /// Length of a network's prefix.
    pub size: u8,
}

/// What becomes of conversations (`daemon.json`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FlowSettings {
    /// Conversations that each family's table holds.
    pub table: u32,
    /// Conversations that a container may hold.
    pub share: u32,
    /// When they are over.
    pub timeouts: TimeoutSettings,
}

impl Default for FlowSettings {
    fn default() -> Self {
        Self { table: MAX_FLOWS / 2, share: FLOW_SHARE, timeouts: TimeoutSettings::default() }
    }
}

/// Seconds without a packet after which conversations are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TimeoutSettings {
    /// TCP and SCTP, established.
    pub tcp: u32,
    /// TCP and SCTP, opening or closing.
    pub tcp_transitory: u32,
    /// UDP, answered.
    pub udp: u32,
    /// UDP, not answered yet.
    pub udp_unanswered: u32,
    /// ICMP echo.
    pub icmp: u32,
}

impl Default for TimeoutSettings {
    fn default() -> Self {
        let Timeouts { tcp, tcp_transitory, udp, udp_unanswered, icmp } = Timeouts::default();
        Self { tcp, tcp_transitory, udp, udp_unanswered, icmp }
    }
}

impl From<TimeoutSettings> for Timeouts {
    fn from(settings: TimeoutSettings) -> Self {
        let TimeoutSettings { tcp, tcp_transitory, udp, udp_unanswered, icmp } = settings;
        Self { tcp, tcp_transitory, udp, udp_unanswered, icmp }
    }
}

/// Which uplinks have an XDP program before the tc one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Xdp {
    /// Hardware whose driver has native XDP.
    #[default]
    Auto,
    /// Every uplink; one that cannot is an error.
    Native,
    /// None.
    Off,
}
