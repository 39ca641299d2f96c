//! The rules of Docker 28 with docker-proxy, which is its default: as `iptables-save` shows them, in its order.
//!
//! For each container a rule in `raw`, which every packet meets; for each port one in `nat` and one in `filter`, which the
//! first packet of a connection meets.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use super::{
    Peer, Topology, bridge,
    published::{Port, ports, rules as each},
};
use crate::bench::{
    paths::{Family, Path},
    topology::{BRIDGE, Place, SUBNETS, fed},
};

pub const SUBJECT: &str = "Docker 28";
pub const EACH: &str = "Docker 28, a container for each port";

/// The host's own processes and containers that call a published port talk to docker-proxy.
const RELAYED: &[Path] = &[Path::Loopback, Path::Hairpin];

/// Whose the published ports are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Containers {
    One,
    OnePerPort,
}

/// With one container for each port, it is only asked what a published port then costs.
pub fn peer(count: usize, containers: Containers) -> Result<Peer> {
    let of_one = containers == Containers::One;
    let net = Topology::bridged(&format!("docker-{count}{}", if of_one { "" } else { "-each" }))?;
    // As where br_netfilter is loaded, which Docker has done on most hosts.
    bridge::call_iptables(&net, true)?;
    for family in Family::BOTH {
        let rules = rules(&ports(count, family, of_one), family);
        let program = family.pick("iptables-restore", "ip6tables-restore");
        fed(&mut net.command(Place::Host, program), &rules).with_context(|| format!("the rules of {count} ports"))?;
    }
    let subject = if of_one { SUBJECT } else { EACH };
    let carries: fn(Path, Family) -> bool = if of_one { |_, _| true } else { |path, _| path == Path::Published };
    Ok(Peer { carries, relayed: RELAYED, ..Peer::new(subject, Some(count), net) })
}

/// What `iptables-restore` takes.
fn rules(ports: &[Port], family: Family) -> String {
    let whole = family.pick(32, 128);
    let mut raw = String::new();
    let mut addresses: Vec<_> = ports.iter().map(|port| port.to.ip()).collect();
    addresses.dedup();
    for address in addresses {
        let _ = writeln!(raw, "-A PREROUTING -d {address}/{whole} ! -i {BRIDGE} -j DROP");
    }
    let (mut filter, mut nat) = (String::new(), String::new());
    // The last published comes first here.
    for (port, protocol) in each(ports).rev() {
        let (address, to) = (port.to.ip(), port.to.port());
        let _ = writeln!(
            filter,
            "-A DOCKER -d {address}/{whole} ! -i {BRIDGE} -o {BRIDGE} -p {protocol} -m {protocol} --dport {to} -j ACCEPT"
        );
    }
    for (port, protocol) in each(ports) {
        let Port { host, to } = port;
        let _ = writeln!(
            nat,
            "-A DOCKER ! -i {BRIDGE} -p {protocol} -m {protocol} --dport {host} -j DNAT --to-destination {to}"
        );
    }
    let [four, six] = SUBNETS;
    let (subnet, loopback) = family.pick((four, "127.0.0.0/8"), (six, "::1/128"));
    format!(
        "*raw
:PREROUTING ACCEPT
:OUTPUT ACCEPT
{raw}COMMIT
*filter
:INPUT ACCEPT
:FORWARD DROP
:OUTPUT ACCEPT
:DOCKER -
:DOCKER-BRIDGE -
:DOCKER-CT -
:DOCKER-FORWARD -
:DOCKER-ISOLATION-STAGE-1 -
:DOCKER-ISOLATION-STAGE-2 -
:DOCKER-USER -
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
{filter}-A DOCKER ! -i {BRIDGE} -o {BRIDGE} -j DROP
-A DOCKER-BRIDGE -o {BRIDGE} -j DOCKER
-A DOCKER-CT -o {BRIDGE} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i {BRIDGE} -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i {BRIDGE} ! -o {BRIDGE} -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-2 -o {BRIDGE} -j DROP
COMMIT
*nat
:PREROUTING ACCEPT
:INPUT ACCEPT
:OUTPUT ACCEPT
:POSTROUTING ACCEPT
:DOCKER -
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d {loopback} -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s {subnet} ! -o {BRIDGE} -j MASQUERADE
-A DOCKER -i {BRIDGE} -j RETURN
{nat}COMMIT
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_as_docker_makes_them() {
        let rules = rules(&ports(3, Family::V4, false), Family::V4);
        let lines = |start: &str| rules.lines().filter(|line| line.starts_with(start)).collect::<Vec<_>>();
        assert_eq!(
            lines("-A PREROUTING -d"),
            [
                "-A PREROUTING -d 172.17.0.4/32 ! -i br0 -j DROP",
                "-A PREROUTING -d 172.17.0.2/32 ! -i br0 -j DROP",
                "-A PREROUTING -d 172.17.0.6/32 ! -i br0 -j DROP",
            ]
        );
        assert_eq!(
            lines("-A DOCKER "),
            [
                "-A DOCKER -d 172.17.0.6/32 ! -i br0 -o br0 -p tcp -m tcp --dport 80 -j ACCEPT",
                "-A DOCKER -d 172.17.0.2/32 ! -i br0 -o br0 -p udp -m udp --dport 80 -j ACCEPT",
                "-A DOCKER -d 172.17.0.2/32 ! -i br0 -o br0 -p tcp -m tcp --dport 80 -j ACCEPT",
                "-A DOCKER -d 172.17.0.4/32 ! -i br0 -o br0 -p tcp -m tcp --dport 80 -j ACCEPT",
                "-A DOCKER ! -i br0 -o br0 -j DROP",
                "-A DOCKER -i br0 -j RETURN",
                "-A DOCKER ! -i br0 -p tcp -m tcp --dport 10000 -j DNAT --to-destination 172.17.0.4:80",
                "-A DOCKER ! -i br0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80",
                "-A DOCKER ! -i br0 -p udp -m udp --dport 8080 -j DNAT --to-destination 172.17.0.2:80",
                "-A DOCKER ! -i br0 -p tcp -m tcp --dport 10002 -j DNAT --to-destination 172.17.0.6:80",
            ]
        );
    }

    #[test]
    fn a_container_has_one_rule_of_its_own_however_many_its_ports_are() {
        let rules = rules(&ports(100, Family::V6, true), Family::V6);
        assert_eq!(rules.matches("-A PREROUTING -d").count(), 1);
        assert_eq!(rules.matches("--to-destination [fd00:17::2]:80").count(), 101);
    }
}
