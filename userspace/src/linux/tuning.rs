//! What links carry beyond an ordinary veth pair: seen, and set.

use std::{collections::BTreeSet, io};

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage},
    route::{RouteAttribute, RouteMessage, RouteMetric},
};
use rtnetlink::LinkUnspec;

use super::{Attempt, Host, LinuxError, ethtool, netlink::IfThere, netns};
use crate::model::{
    DefaultRoute, EndpointLink, Trains, Tuned,
    network::LEAST_MTU6,
    tuning::{BIG_TRAIN, End, ORDINARY_TRAIN},
};

/// The longest TCP trains that an interface makes or carries, by what the kernel says of it.
pub(super) fn trains(link: &LinkMessage) -> Trains {
    let mut trains = Trains::default();
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::GsoMaxSize(bytes) => trains.v6 = *bytes,
            LinkAttribute::GsoIpv4MaxSize(bytes) => trains.v4 = *bytes,
            _ => {}
        }
    }
    trains
}

/// The longest TCP trains that the kernel knows of, by what it says of any interface: IPv6's bound came with
/// `IFLA_TSO_MAX_SIZE` (Linux 5.19), IPv4's has an attribute of its own (Linux 6.3).
pub(super) fn known_trains(link: &LinkMessage) -> Trains {
    let has = |is: fn(&LinkAttribute) -> bool| if link.attributes.iter().any(is) { BIG_TRAIN } else { ORDINARY_TRAIN };
    Trains {
        v4: has(|attribute| matches!(attribute, LinkAttribute::GsoIpv4MaxSize(_))),
        v6: has(|attribute| matches!(attribute, LinkAttribute::TsoMaxSize(_))),
    }
}

impl Host {
    /// Whether a link is as it must be.
    ///
    /// # Errors
    /// The kernel refuses to show it. An interface or a namespace that is not there is no error: the answer is no.
    pub async fn is_tuned(&self, tuned: &Tuned) -> Result<bool, LinuxError> {
        let attempt = || format!("look at {}", tuned.interface);
        let Some(outer) = self.end(&tuned.interface).await.attempt(attempt)? else { return Ok(false) };
        let gro = tuned.outer.gro.map(|_| ethtool::gro(&tuned.interface)).transpose().attempt(attempt)?;
        if !tuned.outer.is_met(&End { gro, ..outer }) {
            return Ok(false);
        }
        let Some(EndpointLink { netns, interface, .. }) =
            tuned.inside.as_ref().filter(|_| tuned.inner != End::default())
        else {
            return Ok(true);
        };
        if !netns::exists(netns) {
            return Ok(false);
        }
        let inner = Self::open_within(netns)?.end(interface).await;
        let inner = inner.attempt(|| format!("look at {interface} of {netns}"))?;
        Ok(inner.is_some_and(|inner| tuned.inner.is_met(&inner)))
    }

    /// Has a link carry what it must.
    ///
    /// # Errors
    /// There is no such interface or namespace, or the kernel refuses.
    pub async fn tune(&self, tuned: &Tuned) -> Result<(), LinuxError> {
        let attempt = || format!("tune {tuned}");
        self.set_end(&tuned.interface, &tuned.outer).await.attempt(attempt)?;
        if let Some(on) = tuned.outer.gro {
            ethtool::set_gro(&tuned.interface, on).attempt(attempt)?;
        }
        match &tuned.inside {
            Some(link) if tuned.inner != End::default() => {
                let inside = Self::open_within(&link.netns)?;
                let found = inside.end(&link.interface).await.attempt(attempt)?;
                inside.set_end(&link.interface, &tuned.inner).await.attempt(attempt)?;
                // Below that, the kernel takes IPv6 from an interface, addresses and routes included (RFC 8200 §5).
                let without_ipv6 = found.and_then(|end| end.mtu).is_some_and(|mtu| mtu < LEAST_MTU6);
                if without_ipv6 { Self::set_up_inside(link).await } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// Whether a container's default routes hold packets at what they must.
    ///
    /// # Errors
    /// The kernel refuses to list routes. A namespace that is not there is no error: the answer is no.
    pub async fn is_held(&self, route: &DefaultRoute) -> Result<bool, LinuxError> {
        if !netns::exists(&route.netns) {
            return Ok(false);
        }
        let inside = Self::open_within(&route.netns)?;
        for (family, wanted) in [AddressFamily::Inet, AddressFamily::Inet6].into_iter().zip(route.mtus()) {
            if wanted.is_some() && !inside.main_routes(family).await?.iter().any(|route| held_at(route) == wanted) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Indices of the interfaces that the host's default routes lead out by.
    ///
    /// # Errors
    /// The kernel refuses to list routes.
    pub async fn ways_out(&self) -> Result<BTreeSet<u32>, LinuxError> {
        let mut ways_out = BTreeSet::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let routes = self.main_routes(family).await?;
            ways_out.extend(routes.iter().filter(|route| is_default(route)).filter_map(leads_by));
        }
        Ok(ways_out)
    }

    async fn end(&self, interface: &str) -> io::Result<Option<End>> {
        let mtu = |link: &LinkMessage| {
            link.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::Mtu(mtu) => Some(*mtu),
                _ => None,
            })
        };
        let found = self.link(interface).await?;
        Ok(found.map(|link| End { mtu: mtu(&link), trains: Some(trains(&link)), gro: None }))
    }

    async fn set_end(&self, interface: &str, end: &End) -> io::Result<()> {
        let mut link = LinkUnspec::new_with_name(interface).build();
        link.attributes.extend(end.mtu.map(LinkAttribute::Mtu));
        if let Some(Trains { v4, v6 }) = end.trains {
            // IPv6's first: an ordinary one is IPv4's, too.
            link.attributes.extend([LinkAttribute::GsoMaxSize(v6), LinkAttribute::GroMaxSize(v6)]);
            link.attributes.extend([LinkAttribute::GsoIpv4MaxSize(v4), LinkAttribute::GroIpv4MaxSize(v4)]);
        }
        self.send(RouteNetlinkMessage::NewLink(link), IfThere::Change).await
    }
}

pub(super) fn is_default(route: &RouteMessage) -> bool {
    route.header.destination_prefix_length == 0
}

pub(super) fn leads_by(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

/// The largest IP packet that a default route takes; none if it says nothing of that, or is another route.
fn held_at(route: &RouteMessage) -> Option<u32> {
    let metrics = route.attributes.iter().filter(|_| is_default(route)).find_map(|attribute| match attribute {
        RouteAttribute::Metrics(metrics) => Some(metrics),
        _ => None,
    })?;
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}
