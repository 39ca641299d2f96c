//! The rules of netavark 1.17, Podman 5's, for nftables: as `nft list ruleset` shows them, in its order.

use std::fmt::Write as _;

use anyhow::Result;

use super::{
    Peer, nft,
    published::{Port, rules as each},
};
use crate::bench::topology::{BRIDGE, SUBNETS};

pub fn peer(count: usize) -> Result<Peer> {
    nft::peer("netavark", "netavark", count, true, rules)
}

/// What `nft -f` takes, for the ports of either family.
fn rules(ports: &[Vec<Port>; 2]) -> String {
    let (mut hostport, mut dnat) = (String::new(), String::new());
    let [four, six] = SUBNETS;
    for (ports, name) in ports.iter().zip(["net4", "net6"]) {
        for (port, protocol) in each(ports) {
            let _ = writeln!(hostport, "    {protocol} dport {} jump {name}_dnat", port.host);
        }
    }
    for ((ports, ip), (name, subnet)) in ports.iter().zip(["ip", "ip6"]).zip([("net4", four), ("net6", six)]) {
        let _ = writeln!(dnat, "  chain {name}_dnat {{");
        for (port, protocol) in each(ports) {
            let Port { host, to } = port;
            let _ = writeln!(dnat, "    {ip} saddr {subnet} {protocol} dport {host} jump NETAVARK-HOSTPORT-SETMARK");
            if to.is_ipv4() {
                let _ = writeln!(dnat, "    ip saddr 127.0.0.1 {protocol} dport {host} jump NETAVARK-HOSTPORT-SETMARK");
            }
            let _ = writeln!(dnat, "    {protocol} dport {host} dnat {ip} to {to}");
        }
        let _ = writeln!(dnat, "  }}");
    }
    format!(
        "table inet netavark {{
  chain NETAVARK-HOSTPORT-SETMARK {{
    meta mark set meta mark | 0x00002000
  }}
  chain NETAVARK-ISOLATION-1 {{ }}
  chain NETAVARK-ISOLATION-2 {{ }}
  chain NETAVARK-ISOLATION-3 {{
    oifname \"{BRIDGE}\" drop
    jump NETAVARK-ISOLATION-2
  }}
  chain net4 {{
    ip daddr {four} accept
    ip daddr != 224.0.0.0/4 masquerade
  }}
  chain net6 {{
    ip6 daddr {six} accept
    ip6 daddr != ff00::/8 masquerade
  }}
{dnat}  chain NETAVARK-HOSTPORT-DNAT {{
{hostport}  }}
  chain INPUT {{
    type filter hook input priority filter; policy accept;
    ip saddr {four} meta l4proto {{ tcp, udp }} th dport 53 accept
    ip6 saddr {six} meta l4proto {{ tcp, udp }} th dport 53 accept
  }}
  chain FORWARD {{
    type filter hook forward priority filter; policy accept;
    ct state invalid drop
    jump NETAVARK-ISOLATION-1
    ip daddr {four} ct state established,related accept
    ip saddr {four} accept
    ip6 daddr {six} ct state established,related accept
    ip6 saddr {six} accept
  }}
  chain POSTROUTING {{
    type nat hook postrouting priority srcnat; policy accept;
    meta mark & 0x00002000 == 0x00002000 masquerade
    ip saddr {four} jump net4
    ip6 saddr {six} jump net6
  }}
  chain PREROUTING {{
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local jump NETAVARK-HOSTPORT-DNAT
  }}
  chain OUTPUT {{
    type nat hook output priority -100; policy accept;
    fib daddr type local jump NETAVARK-HOSTPORT-DNAT
  }}
}}
"
    )
}
