//! The least that netfilter can do: nftables with all published ports in one map, and one rule that looks them up.

use std::fmt::Write as _;

use anyhow::Result;

use super::{
    Peer, nft,
    published::{Port, rules as each},
};
use crate::bench::topology::{BRIDGE, SUBNETS};

pub fn peer(count: usize) -> Result<Peer> {
    // Its author knows that containers on one bridge need no netfilter.
    nft::peer("nft map", "nft", count, false, rules)
}

fn rules(ports: &[Vec<Port>; 2]) -> String {
    let elements = ports.each_ref().map(|ports| {
        let mut elements = String::new();
        for (port, protocol) in each(ports) {
            let _ = writeln!(elements, "{protocol} . {} : {} . {},", port.host, port.to.ip(), port.to.port());
        }
        elements
    });
    let [four, six] = SUBNETS;
    let [elements4, elements6] = elements;
    let translate = "fib daddr type local dnat ip to meta l4proto . th dport map @published4
    fib daddr type local dnat ip6 to meta l4proto . th dport map @published6";
    format!(
        "table inet best {{
  map published4 {{
    type inet_proto . inet_service : ipv4_addr . inet_service
    elements = {{ {elements4} }}
  }}
  map published6 {{
    type inet_proto . inet_service : ipv6_addr . inet_service
    elements = {{ {elements6} }}
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state vmap {{ established : accept, related : accept, invalid : drop }}
    ct status dnat accept
    iifname {BRIDGE} accept
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    {translate}
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    {translate}
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {four} oifname != {BRIDGE} masquerade
    ip6 saddr {six} oifname != {BRIDGE} masquerade
    ip saddr {four} ip daddr {four} ct status dnat masquerade
    ip6 saddr {six} ip6 daddr {six} ct status dnat masquerade
    ip saddr 127.0.0.0/8 oifname {BRIDGE} masquerade
  }}
}}
"
    )
}
