//! The rows of published ports: where they lead, and who may use them.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use portlane_common::{
    family::{Addr4, Addr6, Address},
    publish::{Publish, PublishKey, UDP_BACK, flag},
    source::{Source, SourceKey},
    span::Span,
};

use super::{
    desired::Placed,
    names,
    state::{self, Container, Proto, State},
    tables::Tables,
};

/// Writes the rows of one of a container's entries, where its endpoint has an address that they can lead to.
pub(super) fn rows(endpoint: &state::Endpoint, leads: [bool; 2], publish: &state::Publish, tables: &mut Tables) {
    tables.generation.insert(publish.id, publish.generation);
    if leads[0] && !matches!(publish.host_addr, Some(IpAddr::V6(_))) {
        let host = match publish.host_addr {
            Some(IpAddr::V4(address)) => address.into(),
            _ => Addr4::ANY,
        };
        row(publish, host, endpoint.addr4.into(), &mut tables.publish4);
        tables.source4.extend(publish.sources.iter().filter_map(|source| match source {
            IpNet::V4(net) => Some(admitted(publish, net.network().into(), net.prefix_len())),
            IpNet::V6(_) => None,
        }));
    }
    let six = endpoint.addr6.filter(|_| leads[1]);
    if let (Some(address), false) = (six, matches!(publish.host_addr, Some(IpAddr::V4(_)))) {
        let host = match publish.host_addr {
            Some(IpAddr::V6(address)) => address.into(),
            _ => Addr6::ANY,
        };
        row(publish, host, address.into(), &mut tables.publish6);
        tables.source6.extend(publish.sources.iter().filter_map(|source| match source {
            IpNet::V4(_) => None,
            IpNet::V6(net) => Some(admitted(publish, net.network().into(), net.prefix_len())),
        }));
    }
}

/// Leaves the port of name servers to the gateways of networks that have one, where it is published on every address of the
/// host and not on the gateway itself.
pub(super) fn leave_to_name_servers(state: &State, tables: &mut Tables) {
    for gateway in names::gateways(state) {
        match gateway {
            IpAddr::V4(gateway) => leave_to_host::<Addr4>(gateway.into(), &mut tables.publish4),
            IpAddr::V6(gateway) => leave_to_host::<Addr6>(gateway.into(), &mut tables.publish6),
        }
    }
}

fn leave_to_host<A: Address + Ord>(gateway: A, rows: &mut BTreeMap<PublishKey<A>, Publish<A>>) {
    let port = Span { first: names::PORT, last: names::PORT };
    for proto in [Proto::Tcp, Proto::Udp].map(Proto::number) {
        let published = |addr| {
            let filed = |class, block| PublishKey { addr, proto, class, block };
            let mut on_address = rows.range(filed(0, 0)..=filed(u8::MAX, u16::MAX));
            on_address.any(|(_, row)| row.span().contains(names::PORT))
        };
        if published(A::ANY) && !published(gateway) {
            let Span { first, last } = port;
            let row = Publish { first, last, target: first, flags: flag::HOST, ..Publish::default() };
            rows.insert(PublishKey::new(gateway, proto, port), row);
        }
    }
}

/// The classes of all entries of these containers, a bit each.
pub(super) fn classes_of<'a>(state: &State, containers: impl Iterator<Item = &'a Container>) -> u32 {
    containers.fold(0, |known, container| {
        // Mostly there is nothing new, wherever the entries lead.
        let at_most = container.publishes.iter().fold(0, |bits, publish| bits | 1 << publish.host.class());
        if at_most & !known == 0 { known } else { known | classes(state, container) }
    })
}

/// The classes of all entries of a container, a bit each.
fn classes(state: &State, container: &Container) -> u32 {
    let all = Placed::all(state, container).flat_map(|place| {
        container.publishes.iter().filter_map(move |publish| class(place.endpoint, place.leads, publish))
    });
    all.fold(0, |bits, class| bits | 1 << class)
}

/// The range class of the entry's rows, if it has any.
pub(super) fn class(endpoint: &state::Endpoint, leads: [bool; 2], publish: &state::Publish) -> Option<u8> {
    let four = leads[0] && !matches!(publish.host_addr, Some(IpAddr::V6(_)));
    let six = leads[1] && endpoint.addr6.is_some() && !matches!(publish.host_addr, Some(IpAddr::V4(_)));
    (four || six).then(|| publish.host.class())
}

const fn admitted<A>(publish: &state::Publish, addr: A, length: u8) -> (SourceKey<A>, Source) {
    (SourceKey::new(publish.id, addr, length), Source::ADMITTED)
}

fn row<A: Address + Ord>(
    publish: &state::Publish,
    host: A,
    container: A,
    rows: &mut BTreeMap<PublishKey<A>, Publish<A>>,
) {
    let Span { first, last } = publish.host;
    let value = Publish {
        addr: container,
        first,
        last,
        target: publish.container_first,
        flags: if publish.sources.is_empty() { 0 } else { flag::SOURCES },
        id: publish.id,
        generation: publish.generation,
    };
    rows.insert(PublishKey::new(host, publish.proto.number(), publish.host), value);
    if publish.proto == Proto::Udp && !host.is_loopback() {
        let span = Span { first: value.target, last: value.target + (last - first) };
        let back = Publish { addr: host, first: span.first, last: span.last, target: first, flags: 0, ..value };
        // Of several host ports for one of the container's, the first is the one.
        rows.entry(PublishKey::new(container, UDP_BACK, span)).or_insert(back);
    }
}
