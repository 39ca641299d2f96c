//! `port`, `publish`, `unpublish`.

use anyhow::{Result, bail};
use clap::Args;
use portlane_common::span::Span;
use serde_json::json;

use super::{Global, print};
use crate::{
    engine::EngineError,
    model::{
        self, PortSpec, PublishRequest, spec,
        state::{Ports, Sources},
    },
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
        let engine = global.engine().await?;
        let container = engine.state().container(&self.name).map_err(EngineError::from)?;
        let live = container.publishes.iter().filter(|_| container.is_live());
        let wanted: Vec<_> = live
            .filter(|publish| {
                self.port.is_none_or(|port| port.proto == publish.proto && port.span.overlaps(publish.container_span()))
            })
            .collect();
        if global.json {
            return print::json(&wanted.iter().map(|publish| entry(publish)).collect());
        }
        if let (Some(port), true) = (self.port, wanted.is_empty()) {
            bail!("container `{}` does not publish {port}: `portlane port {0}` lists what it does", container.name);
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
            let from = Sources(&publish.sources);
            print::line(format_args!("{inside}/{} -> {}{host}{from}", publish.proto, publish.place()))?;
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
  portlane publish web 127.0.0.1::80                    a free port of loopback, which is printed
  portlane publish web 80:80,from=10.0.0.0/8,from=2001:db8::7
With `,from=` only these sources may use the port: others outside, and other containers of the network, are refused
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
        let added = global.engine().await?.publish(&self.name, &self.specs).await?;
        list(global, &added)
    }
}

/// Close published ports of a container; flows through them end
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
        let gone = global.engine().await?.unpublish(&self.name, &self.specs).await?;
        list(global, &gone)
    }
}

fn list(global: &Global, entries: &[model::Publish]) -> Result<()> {
    if global.json {
        return print::json(&entries.iter().map(entry).collect());
    }
    print::text(&entries.iter().map(|publish| format!("{publish}\n")).collect::<String>())
}

fn entry(publish: &model::Publish) -> serde_json::Value {
    let span = publish.container_span();
    json!({
        "proto": publish.proto,
        "host_address": publish.host_addr,
        "host_ports": [publish.host.first, publish.host.last],
        "container_ports": [span.first, span.last],
        "sources": publish.sources,
    })
}
