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
    state::{self, Proto},
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
