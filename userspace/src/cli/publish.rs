//! `port`, `publish`, `unpublish`.

use anyhow::{Context, Result, bail};
use clap::Args;
use portlane_common::span::Span;
use serde_json::Value;

use super::{Global, print};
use crate::{
    model::{PortSpec, Publish as Entry, PublishRequest, spec, state::Ports},
    request::{PublishedPort, Request},
};

/// List where a container's ports are published
#[derive(Debug, Args)]
#[command(after_help = "Example: portlane port web 80/tcp")]
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
        for publish in wanted {
            let span = publish.container_span();
            // One port of a range, as it was asked for.
            let (host, inside) = match self.port.map(|port| port.span).filter(|asked| asked.first == asked.last) {
                Some(asked) => {
                    let port = publish.host.first + (asked.first - span.first);
                    (Ports(Span { first: port, last: port }), Ports(asked))
                }
                None => (Ports(publish.host), Ports(span)),
            };
            print::line(format_args!("{inside}/{} -> {}{host}", publish.proto, publish.place()))?;
        }
        Ok(())
    }
}

/// Publish ports of a running container
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portlane publish web 8443:443
  portlane publish game 40000-55999:40000-55999/udp     16,000 ports, one map entry
  portlane publish web 127.0.0.1::80                    a free port of loopback, which is printed")]
pub(super) struct Publish {
    /// Name or identifier
    name: String,
    /// [address:][hostPort[-hostPort]]:containerPort[-containerPort][/proto], address::containerPort, or containerPort
    #[arg(required = true, value_parser = spec::publish, value_name = "SPEC")]
    specs: Vec<PublishRequest>,
}

impl Publish {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let added = global.ask(Request::Publish { name: self.name, specs: self.specs }).await?;
        list(global, added)
    }
}

/// Close published ports of a container; flows through them end
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portlane unpublish web 8443:443
  portlane unpublish web 443            every entry that leads to port 443/tcp of the container")]
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
