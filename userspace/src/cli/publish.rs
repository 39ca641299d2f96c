//! `port`, `publish`, `unpublish`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, bail};
use clap::Args;
use portlane_common::span::Span;
use serde_json::Value;

use super::{Global, print};
use crate::{
    model::{PortSpec, Publish as Entry, PublishRequest, spec},
    request::{PublishedPort, Request},
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portlane port web                     80/tcp -> 0.0.0.0:8080 and 80/tcp -> [::]:8080, a line for each port
  portlane port web 80/tcp              0.0.0.0:8080 and [::]:8080
  portlane --json port game             a range is one entry
JSON: a list of {proto, host_address (null: every one), host_ports: [first, last], container_ports: [first, last],
sources (none: everybody)}")]
pub(super) struct Port {
    /// Name or identifier
    name: String,
    /// Only this container port
    #[arg(value_parser = spec::port, value_name = "PORT[/PROTO]")]
    port: Option<PortSpec>,
}

impl Port {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let answer = global.ask(Request::Ports { name: self.name.clone(), port: self.port }).await?;
        if global.json {
            return print::json(&answer);
        }
        let wanted = entries(answer)?;
        if let (Some(port), true) = (self.port, wanted.is_empty()) {
            bail!("container `{}` does not publish {port}: `portlane port {0}` lists what it does", self.name);
        }
        // Every address of the host means IPv6 ones too where the container has any.
        let every = wanted.iter().any(|entry| entry.host_addr.is_none());
        let ipv6 = every && {
            let container = global.ask(Request::Inspect { name: self.name }).await?;
            print::rows(&container["networks"]).any(|at| !at["addr6"].is_null())
        };
        let found = bindings(&wanted, ipv6, self.port.map(|port| port.span));
        let alone = self.port.is_some_and(|port| port.span.first == port.span.last);
        let line = |binding: &Binding| match alone {
            true => format!("{}\n", binding.host),
            false => format!("{}/{} -> {}\n", binding.port, binding.proto, binding.host),
        };
        print::text(&found.iter().map(line).collect::<String>())
    }
}

/// A container port, and where the host has it: a line of `docker port`, which orders them like this.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Binding {
    port: u16,
    proto: String,
    host: SocketAddr,
}

/// Docker lists each port of a range, and every address of the host as those that stand for them. `only`: some of the
/// container's ports.
fn bindings(publishes: &[Entry], ipv6: bool, only: Option<Span>) -> Vec<Binding> {
    let mut bindings = Vec::new();
    for publish in publishes {
        let every = [Some(Ipv4Addr::UNSPECIFIED.into()), ipv6.then_some(Ipv6Addr::UNSPECIFIED.into())];
        let addresses = publish.host_addr.map_or(every, |address| [Some(address), None]);
        let ports = publish.host.first..=publish.host.last;
        for (port, host) in ports.filter_map(|host| Some((publish.container_port(host)?, host))) {
            if only.is_none_or(|only| only.contains(port)) {
                let proto = publish.proto.to_string();
                let binding = |address| Binding { port, proto: proto.clone(), host: SocketAddr::new(address, host) };
                bindings.extend(addresses.into_iter().flatten().map(binding));
            }
        }
    }
    bindings.sort();
    bindings
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portlane publish web 8443:443
  portlane publish game 40000-55999:40000-55999/udp     16,000 ports, one map entry
  portlane publish web 127.0.0.1::80                    a free port of loopback, which is printed
  portlane publish web 80:80,from=10.0.0.0/8,from=2001:db8::7
With `,from=` only these sources may use the port: others outside, and other containers, are refused
(`portlane stats` counts them as source-refused). An address family that none of them is of is refused as a whole. The
host's own processes may always use it. Other sources: unpublish the port, and publish it again.")]
pub(super) struct Publish {
    /// Name or identifier
    name: String,
    /// [address:][hostPort[-hostPort]]:containerPort[-containerPort][/proto], address::containerPort, or containerPort;
    /// then ,from=PREFIX for each source that alone may use it
    #[arg(required = true, value_parser = spec::publish, value_name = "SPEC")]
    specs: Vec<PublishRequest>,
}

impl Publish {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let added = global.ask(Request::Publish { name: self.name, specs: self.specs }).await?;
        list(global, added)
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portlane unpublish web 8443:443
  portlane unpublish web 443            every entry that leads to port 443/tcp of the container
`,from=` may be left out; if it is there, the sources must be those of the entry.")]
pub(super) struct Unpublish {
    /// Name or identifier
    name: String,
    /// As it was published
    #[arg(required = true, value_parser = spec::publish, value_name = "SPEC")]
    specs: Vec<PublishRequest>,
}

impl Unpublish {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let gone = global.ask(Request::Unpublish { name: self.name, specs: self.specs }).await?;
        list(global, gone)
    }
}

fn list(global: &Global, answer: Value) -> Result<()> {
    if global.json {
        return print::json(&answer);
    }
    print::text(&entries(answer)?.iter().map(|entry| format!("{entry}\n")).collect::<String>())
}

fn entries(answer: Value) -> Result<Vec<Entry>> {
    let ports: Vec<PublishedPort> = serde_json::from_value(answer).context("the answer makes no sense")?;
    Ok(ports.iter().map(PublishedPort::entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Proto;

    #[test]
    fn ports_are_listed_as_docker_lists_them() {
        let publish = |host_addr: Option<&str>, first, last, container_first, proto| Entry {
            id: 1,
            generation: 1,
            proto,
            host_addr: host_addr.map(|address| address.parse().unwrap()),
            host: Span { first, last },
            container_first,
            sources: Vec::new(),
        };
        let publishes = [
            publish(None, 10443, 10443, 443, Proto::Tcp),
            publish(Some("127.0.0.1"), 9, 9, 80, Proto::Tcp),
            publish(None, 10080, 10081, 80, Proto::Tcp),
            publish(Some("::1"), 53, 53, 80, Proto::Sctp),
        ];
        let listed = |ipv6, only: Option<u16>| {
            let only = only.map(|port| Span { first: port, last: port });
            let found = bindings(&publishes, ipv6, only);
            found.iter().map(|b| format!("{}/{} {}", b.port, b.proto, b.host)).collect::<Vec<_>>()
        };
        assert_eq!(
            listed(true, None),
            [
                "80/sctp [::1]:53",
                "80/tcp 0.0.0.0:10080",
                "80/tcp 127.0.0.1:9",
                "80/tcp [::]:10080",
                "81/tcp 0.0.0.0:10081",
                "81/tcp [::]:10081",
                "443/tcp 0.0.0.0:10443",
                "443/tcp [::]:10443",
            ]
        );
        assert_eq!(listed(false, Some(81)), ["81/tcp 0.0.0.0:10081"]);
    }
}
