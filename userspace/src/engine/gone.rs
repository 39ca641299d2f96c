//! What a change takes away: the conversations that went by it end, and whoever holds one is told.

use std::{collections::BTreeSet, net::IpAddr};

use log::info;
use portlane_common::span::Span;

use super::Result;
use crate::{
    bpf::Datapath,
    linux::sockets,
    model::{Container, Proto, Row, State, Step},
};

/// Containers and publications that are no more.
#[derive(Debug, Default)]
pub(super) struct Gone {
    endpoints: Vec<u32>,
    addresses: BTreeSet<IpAddr>,
    /// Of containers that stay: where host processes were sent that called the published port.
    services: Vec<(Proto, IpAddr, Span)>,
    /// That were the host's: what was masqueraded as one of them gets no answer any more.
    host_addresses: BTreeSet<IpAddr>,
}

impl Gone {
    /// What `next` lacks of what there was before.
    pub(super) fn between(before: &State, next: &State) -> Self {
        let mut gone = Self::default();
        for container in before.live().filter(|container| container.is_bridged()) {
            match next.containers.get(&container.id).filter(|container| container.is_live()) {
                None => {
                    gone.endpoints.push(container.endpoint);
                    gone.addresses.extend(addresses(container));
                }
                Some(stays) => {
                    let withdrawn = container.publishes.iter().filter(|publish| !stays.publishes.contains(publish));
                    for publish in withdrawn {
                        let first = publish.container_first;
                        let span = Span { first, last: first + (publish.host.last - publish.host.first) };
                        gone.services.extend(addresses(container).map(|address| (publish.proto, address, span)));
                    }
                }
            }
        }
        gone
    }

    /// And the addresses that the host has no more, by the steps that say so.
    pub(super) fn with_host_addresses(mut self, steps: &[Step]) -> Self {
        self.host_addresses.extend(steps.iter().filter_map(|step| match step {
            Step::Delete(Row::Host4(address, _)) => Some(IpAddr::from(*address)),
            Step::Delete(Row::Host6(address, _)) => Some(IpAddr::from(*address)),
            _ => None,
        }));
        self
    }

    /// Ends the flows of what is gone: what still comes for one is the host's, whose stack says that nobody is there.
    pub(super) fn end_flows(&self, datapath: &Datapath) -> Result<()> {
        Ok(datapath.end_flows(&self.endpoints, &self.host_addresses)?)
    }

    /// Ends the host's own sockets that talk to what is gone. Over TCP, who called a published port keeps its connection
    /// while the container is there.
    pub(super) fn end_sockets(&self, datapath: &Datapath) -> Result<()> {
        if self.addresses.is_empty() && self.services.is_empty() {
            return Ok(());
        }
        let led = if self.services.is_empty() { BTreeSet::new() } else { datapath.led_sockets()? };
        let ended = sockets::end(|socket| {
            let (address, port) = (socket.peer.ip(), socket.peer.port());
            let served = |(proto, at, span): &(Proto, IpAddr, Span)| {
                (*proto, *at) == (socket.proto, address) && span.contains(port)
            };
            self.addresses.contains(&address)
                || (socket.proto == Proto::Udp && self.services.iter().any(served) && led.contains(&socket.cookie))
        });
        if let Err(error) = ended {
            // They come to their end by themselves, if slowly.
            info!("{error}");
        }
        Ok(())
    }
}

fn addresses(container: &Container) -> impl Iterator<Item = IpAddr> + use<> {
    [Some(IpAddr::from(container.addr4)), container.addr6.map(IpAddr::from)].into_iter().flatten()
}
