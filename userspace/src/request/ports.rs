//! Published ports.

use std::net::IpAddr;

use ipnet::IpNet;
use portlane_common::span::Span;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Result;
use crate::{
    engine::{Engine, Settings},
    model::{PortSpec, Proto, Publish, PublishRequest},
};

/// Ports of the host that lead to a container, as an answer tells them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Protocol.
    pub proto: Proto,
    /// None: every address of the host.
    pub host_address: Option<IpAddr>,
    /// First and last port of the host.
    pub host_ports: (u16, u16),
    /// First and last port of the container.
    pub container_ports: (u16, u16),
    /// Who may use it; everybody if empty.
    pub sources: Vec<IpNet>,
}

impl From<&Publish> for PublishedPort {
    fn from(publish: &Publish) -> Self {
        let span = publish.container_span();
        Self {
            proto: publish.proto,
            host_address: publish.host_addr,
            host_ports: (publish.host.first, publish.host.last),
            container_ports: (span.first, span.last),
            sources: publish.sources.clone(),
        }
    }
}

impl PublishedPort {
    /// The entry, without the numbers that it has inside portlane.
    pub fn entry(&self) -> Publish {
        Publish {
            id: 0,
            generation: 0,
            proto: self.proto,
            host_addr: self.host_address,
            host: Span { first: self.host_ports.0, last: self.host_ports.1 },
            container_first: self.container_ports.0,
            sources: self.sources.clone(),
        }
    }
}

pub(super) async fn list(settings: Settings, name: &str, port: Option<PortSpec>) -> Result<Value> {
    let engine = Engine::open(settings).await?;
    let container = engine.state().container(name)?;
    let live = container.publishes.iter().filter(|_| container.is_live());
    let leads = |publish: &&Publish| {
        port.is_none_or(|port| port.proto == publish.proto && port.span.overlaps(publish.container_span()))
    };
    Ok(live.filter(leads).map(described).collect())
}

pub(super) async fn publish(settings: Settings, name: &str, specs: &[PublishRequest]) -> Result<Value> {
    Ok(Engine::open_believing(settings).await?.publish(name, specs).await?.iter().map(described).collect())
}

pub(super) async fn unpublish(settings: Settings, name: &str, specs: &[PublishRequest]) -> Result<Value> {
    Ok(Engine::open(settings).await?.unpublish(name, specs).await?.iter().map(described).collect())
}

fn described(publish: &Publish) -> Value {
    json!(PublishedPort::from(publish))
}
