//! What a container reads about names: `/etc/hosts`, `/etc/resolv.conf`, `/etc/hostname`, as Docker writes them.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
};

use super::state::{Container, DEFAULT_NETWORK, Endpoint, State};

/// The lines that come first in `/etc/hosts`.
const LOCAL: [(&str, &str); 6] = [
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::0", "ip6-localnet"),
    ("ff00::0", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
];

/// Name servers for containers whose host has none that they can reach.
const FALLBACK: [Ipv4Addr; 2] = [Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(8, 8, 4, 4)];

/// `/etc/hosts`: the local names, `--add-host`, the links, and the container itself.
pub fn hosts(state: &State, container: &Container) -> String {
    let mut text = String::new();
    let mut line = |address: &dyn std::fmt::Display, names: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{address}\t{names}");
    };
    for (address, names) in LOCAL {
        line(&address, names);
    }
    for (name, address) in &container.extra_hosts {
        line(address, name);
    }
    for link in &container.links {
        let Some(target) = state.containers.get(link.target.as_str()).filter(|target| target.is_live()) else {
            continue;
        };
        let names = aliases(&link.alias, target);
        let shared = |theirs: &&Endpoint| container.on(&theirs.network).is_some();
        if let Some(theirs) = target.endpoints.iter().find(shared) {
            line(&theirs.addr4, &names);
            if let Some(address) = theirs.addr6.filter(|_| container.has_ipv6()) {
                line(&address, &names);
            }
        }
    }
    for endpoint in &container.endpoints {
        line(&endpoint.addr4, &container.hostname);
        if let Some(address) = endpoint.addr6 {
            line(&address, &container.hostname);
        }
    }
    text
}

/// The name servers of a `resolv.conf`, with the zones of IPv6 addresses; others that anybody may ask if it has none.
pub fn name_servers(text: &str) -> Vec<(IpAddr, Option<&str>)> {
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if let (Some("nameserver"), Some(server)) = (words.next(), words.next()) {
            let (address, zone) = server.split_once('%').map_or((server, None), |(it, zone)| (it, Some(zone)));
            servers.extend(address.parse().ok().map(|address| (address, zone)));
        }
    }
    if servers.is_empty() {
        servers.extend(FALLBACK.map(|server| (server.into(), None)));
    }
    servers
}

/// `/etc/hostname`.
pub fn hostname(container: &Container) -> String {
    format!("{}\n", container.hostname)
}

/// `/etc/resolv.conf`, made from the host's: servers at the host's loopback addresses do not answer a container, and
/// IPv6 ones only one that has IPv6.
///
/// On created networks a gateway comes first, which knows the containers' names while `portlane daemon` runs; while it
/// does not, libraries learn at once that nobody listens there, and go on. From an internal network they would go on in
/// vain. One gateway is enough: libraries read three servers, and everybody has an IPv4 address.
pub fn resolv_conf(host: &str, state: &State, container: &Container) -> String {
    let asked_search = !container.dns_search.is_empty();
    let reachable = |server: &IpAddr| !server.is_loopback() && (server.is_ipv4() || container.has_ipv6());
    let mut text = String::new();
    let mut servers: Vec<String> = container.dns.iter().map(ToString::to_string).collect();
    let asked_servers = !servers.is_empty();
    for line in host.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") if asked_servers => {}
            Some("nameserver") => {
                let address = words.next().unwrap_or_default();
                // An IPv6 server's zone names an interface of the host.
                servers.extend(address.parse().ok().filter(reachable).map(|server: IpAddr| server.to_string()));
            }
            Some("search" | "domain") if asked_search => {}
            Some("options") if !container.dns_options.is_empty() => {}
            _ => text.extend([line, "\n"]),
        }
    }
    if servers.is_empty() {
        servers.extend(FALLBACK.map(|server| server.to_string()));
    }
    // `.` alone means no search domain at all.
    if asked_search && container.dns_search != ["."] {
        text.extend(["search ", &container.dns_search.join(" "), "\n"]);
    }
    if !container.dns_options.is_empty() {
        text.extend(["options ", &container.dns_options.join(" "), "\n"]);
    }
    let gateway = gateway(state, container);
    if let Some(gateway) = gateway {
        let mut networks = container.endpoints.iter().filter_map(|endpoint| state.networks.get(&endpoint.network));
        if networks.all(|network| network.internal) {
            servers.clear();
        }
        servers.insert(0, gateway.to_string());
    }
    for server in servers {
        text.extend(["nameserver ", &server, "\n"]);
    }
    // As Docker has it: containers' names have one label, and are asked for as they are before they are searched for.
    if gateway.is_some() && !text.contains(" ndots:") {
        text.push_str("options ndots:0\n");
    }
    text
}

/// The gateway that knows names: any does, of all the networks that the container is on. The default route's is the one
/// that stays longest.
fn gateway(state: &State, container: &Container) -> Option<Ipv4Addr> {
    let first = state.gateways(container).0.into_iter();
    let networks = first.chain(&container.endpoints).filter_map(|endpoint| state.networks.get(&endpoint.network));
    networks.filter(|network| network.name != DEFAULT_NETWORK).map(|network| network.gateway4).next()
}

/// The alias, the linked container's host name, and its name: each once.
fn aliases(alias: &str, target: &Container) -> String {
    let mut names = vec![alias];
    for name in [target.hostname.as_str(), target.name.as_str()] {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(" ")
}
