//! What a change takes away: the conversations that went by it end, and whoever holds one is told.

use std::{collections::BTreeSet, net::IpAddr};

use log::info;
use portlane_common::span::Span;

use super::Result;
use crate::{
    bpf::Datapath,
    linux::sockets,
    model::{Endpoint, Proto, Publish, Row, State, Step},
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
        for (container, stays) in before.unlike(next).filter(|(container, _)| container.is_live()) {
            let stays = stays.filter(|container| container.is_live());
            for endpoint in &container.endpoints {
                if stays
                    .and_then(|stays| stays.on(&endpoint.network))
                    .is_none_or(|other| other.number != endpoint.number)
                {
                    gone.endpoints.push(endpoint.number);
                    gone.addresses.extend(addresses(endpoint));
                }
            }
            let withdrawn = |publish: &&Publish| stays.is_some_and(|stays| !stays.publishes.contains(publish));
            for publish in container.publishes.iter().filter(withdrawn) {
                let places = container.endpoints.iter().flat_map(addresses);
                gone.services.extend(places.map(|address| (publish.proto, address, publish.container_span())));
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
        let led = if self.services.is_empty() { BTreeSet::new() } else { datapath.led_sockets()? };
        // The kernel looks through every bucket of its table of TCP connections, milliseconds long.
        let protos: &[Proto] = match (self.addresses.is_empty(), led.is_empty()) {
            (false, _) => &[Proto::Tcp, Proto::Udp],
            (true, false) => &[Proto::Udp],
            (true, true) => return Ok(()),
        };
        let ended = sockets::end(protos, |socket| {
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

fn addresses(endpoint: &Endpoint) -> impl Iterator<Item = IpAddr> + use<> {
    [Some(IpAddr::from(endpoint.addr4)), endpoint.addr6.map(IpAddr::from)].into_iter().flatten()
}
