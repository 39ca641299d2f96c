//! A small host: one uplink, four networks, six containers, thirteen published ports, two of them for some senders only, and
//! two left to the host at the gateways of all networks but the first.
//!
//! ```text
//!  outside .2 ── uplink .1 (also .9) ─┬─ net 1 (17): web .2, peer .3
//!                                     ├─ net 2 (18): other .2
//!                                     ├─ net 3 (19), icc=false: quiet .2 ─links to→ store .3, port 80/tcp
//!                                     └─ net 4 (20), internal: inner .2
//! ```

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use portlane_common::{
    endpoint::{Endpoint, Veth, veth},
    family::{Addr4, Addr6},
    network::{HostAddr, Uplink},
    policy::{Policy, PolicyKey},
    publish::{Publish, PublishKey, UDP_BACK, flag as publish_flag},
    source::{Source, SourceKey},
    span::Span,
};

use super::frame::Mac;
use crate::packet::{Route, route};

/// MAC of the uplink.
pub const UPLINK_MAC: Mac = [2, 0, 0, 0, 1, 1];
/// MAC of the machine outside.
pub const OUTSIDE_MAC: Mac = [2, 0, 0, 0, 1, 2];
/// The MTU of the uplink, in bytes.
pub const MTU: u32 = 1500;
/// Published on every address of the host, but for the gateways of all networks but the first.
pub const LEFT: u16 = 53;
/// UDP ports that are published for [`WEB`].
pub const RANGE: Span = Span { first: 40_000, last: 55_999 };
/// TCP.
const TCP: u8 = 6;
/// UDP.
const UDP: u8 = 17;
/// SCTP.
const SCTP: u8 = 132;

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// IPv4.
    Four,
    /// IPv6.
    Six,
}

impl Version {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Four, Self::Six];

    /// Of the machines outside (1) or of a network: the host with this number.
    pub const fn address(self, network: u8, host: u8) -> IpAddr {
        match (self, network) {
            (Self::Four, 0) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, host)),
            (Self::Four, _) => IpAddr::V4(Ipv4Addr::new(172, 16 + network, 0, host)),
            (Self::Six, _) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, network as u16, 0, 0, 0, 0, host as u16)),
        }
    }

    /// The host, on its uplink.
    pub const fn host(self) -> IpAddr {
        self.address(0, 1)
    }

    /// The host's second address.
    pub const fn second(self) -> IpAddr {
        self.address(0, 9)
    }

    /// The machine outside.
    pub const fn outside(self) -> IpAddr {
        self.address(0, 2)
    }

    /// A second machine outside, behind the same router as the first.
    pub const fn farther(self) -> IpAddr {
        self.address(0, 3)
    }
}

/// A container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its endpoint's number; the veths are in this order.
    pub endpoint: u32,
    /// Its network's number.
    pub network: u8,
    /// Its host number there.
    pub host: u8,
}

/// On network 1, with published ports.
pub const WEB: Member = Member { endpoint: 1, network: 1, host: 2 };
/// On network 1.
pub const PEER: Member = Member { endpoint: 2, network: 1, host: 3 };
/// On network 2.
pub const OTHER: Member = Member { endpoint: 3, network: 2, host: 2 };
/// On network 3 (icc=false), linked to [`STORE`].
pub const QUIET: Member = Member { endpoint: 4, network: 3, host: 2 };
/// On network 3.
pub const STORE: Member = Member { endpoint: 5, network: 3, host: 3 };
/// On network 4 (internal).
pub const INNER: Member = Member { endpoint: 6, network: 4, host: 2 };
/// All of them.
pub const MEMBERS: [Member; 6] = [WEB, PEER, OTHER, QUIET, STORE, INNER];

impl Member {
    /// Its address.
    pub const fn address(self, version: Version) -> IpAddr {
        version.address(self.network, self.host)
    }

    /// Its MAC.
    pub const fn mac(self) -> Mac {
        [2, 0x42, 0, 0, self.network, self.host]
    }

    /// Its network's bridge's MAC.
    pub const fn gateway(self) -> Mac {
        bridge_mac(self.network)
    }
}

/// MAC of a network's bridge.
pub const fn bridge_mac(network: u8) -> Mac {
    [2, 0x42, 0, 0, network, 1]
}

/// Numbers of the interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interfaces {
    /// The uplink.
    pub uplink: u32,
    /// Bridges of the networks 1 to 4.
    pub bridges: [u32; 4],
    /// Veths of the [`MEMBERS`].
    pub veths: [u32; 6],
}

impl Interfaces {
    /// Numbers that no two interfaces share.
    pub const ANY: Self = Self { uplink: 2, bridges: [3, 4, 5, 6], veths: [11, 12, 13, 14, 15, 16] };

    /// A container's.
    pub const fn veth(&self, of: Member) -> u32 {
        self.veths[of.endpoint as usize - 1]
    }
}

/// A port, or range, that is published.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// IP protocol number.
    pub proto: u8,
    /// Which of the host's addresses; every one if none.
    pub host: Option<u8>,
    /// Ports of the host.
    pub span: Span,
    /// The first of the container's.
    pub target: u16,
    /// Whom it is open to; everybody if none.
    pub sources: &'static [Prefix],
}

/// Addresses of the machines outside (0) or of a network: a host number, and how many bits of IPv4's 32 count.
pub type Prefix = (u8, u8, u8);

/// Whom the ports are open to that are not open to everybody: one machine outside, others outside, and [`WEB`].
pub const ADMITTED: [Prefix; 3] = [(0, 2, 32), (0, 64, 26), (WEB.network, WEB.host, 32)];

/// What the control tables hold.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "one field for each table, under its name, and what is published in the user's words")]
pub struct World {
    pub veth: BTreeMap<u32, Veth>,
    pub uplink: BTreeMap<u32, Uplink>,
    pub endpoint4: BTreeMap<Addr4, Endpoint>,
    pub endpoint6: BTreeMap<Addr6, Endpoint>,
    pub host4: BTreeMap<Addr4, HostAddr>,
    pub host6: BTreeMap<Addr6, HostAddr>,
    pub publish4: BTreeMap<PublishKey<Addr4>, Publish<Addr4>>,
    pub publish6: BTreeMap<PublishKey<Addr6>, Publish<Addr6>>,
    pub source4: BTreeMap<SourceKey<Addr4>, Source>,
    pub source6: BTreeMap<SourceKey<Addr6>, Source>,
    pub generation: BTreeMap<u32, u32>,
    pub policy: BTreeMap<PolicyKey, Policy>,
    pub published: BTreeMap<u32, Published>,
}

impl World {
    /// The host above.
    pub fn new(interfaces: &Interfaces) -> Self {
        let mut world = Self::default();
        let addr4 = four(Version::Four.host());
        let addr6 = six(Version::Six.host());
        world.uplink.insert(interfaces.uplink, Uplink { addr4, addr6, mtu: MTU, pad: 0 });
        for host in [1, 9] {
            world.add_host(0, host, interfaces.uplink);
        }
        for (network, ifindex) in (1..).zip(interfaces.bridges) {
            world.add_host(network, 1, ifindex);
        }
        for member in MEMBERS {
            world.add_member(interfaces, member);
        }
        let one = |port| Span { first: port, last: port };
        world.publish(1, TCP, None, one(8080), WEB, 80);
        world.publish(2, UDP, None, one(8080), WEB, 80);
        world.publish(3, UDP, None, RANGE, WEB, 5000);
        world.publish(4, TCP, Some(1), one(9090), WEB, 90);
        world.publish(5, TCP, None, one(9090), PEER, 91);
        world.publish(6, TCP, None, one(7070), STORE, 70);
        world.publish(7, SCTP, None, one(3869), WEB, 3868);
        for (id, proto) in [(8, UDP), (9, TCP)] {
            world
                .published
                .insert(id, Published { proto, host: None, span: one(9191), target: 81, sources: &ADMITTED });
            world.generation.insert(id, id + 10);
            world.lead(id, PEER);
        }
        world.publish(12, UDP, None, one(7070), STORE, 70);
        world.publish(13, SCTP, None, one(7070), STORE, 70);
        for (id, proto) in [(10, UDP), (11, TCP)] {
            world.publish(id, proto, None, one(LEFT), WEB, 5353);
            (2..=4).for_each(|network| world.leave_to_host(network, proto));
        }
        let link = PolicyKey::new(QUIET.endpoint, STORE.endpoint, TCP, one(80));
        world.policy.insert(link, Policy { first: 80, last: 80 });
        world
    }

    fn add_host(&mut self, network: u8, host: u8, ifindex: u32) {
        self.host4.insert(four(Version::Four.address(network, host)), HostAddr { ifindex });
        self.host6.insert(six(Version::Six.address(network, host)), HostAddr { ifindex });
    }

    /// On a network's gateway, [`LEFT`] is the host's own.
    fn leave_to_host(&mut self, network: u8, proto: u8) {
        let (four, six) = (four(Version::Four.address(network, 1)), six(Version::Six.address(network, 1)));
        let span = Span { first: LEFT, last: LEFT };
        let (first, last, flags) = (LEFT, LEFT, publish_flag::HOST);
        let row = Publish { first, last, target: LEFT, flags, ..Publish::default() };
        self.publish4.insert(PublishKey::new(four, proto, span), row);
        let row = Publish { first, last, target: LEFT, flags, ..Publish::default() };
        self.publish6.insert(PublishKey::new(six, proto, span), row);
    }

    fn add_member(&mut self, interfaces: &Interfaces, member: Member) {
        let flags = match member.network {
            3 => veth::MASQUERADE | veth::ICC_OFF,
            4 => veth::INTERNAL,
            _ => veth::MASQUERADE,
        };
        let (addr4, addr6) = (four(member.address(Version::Four)), six(member.address(Version::Six)));
        let (mac, gateway_mac) = (member.mac(), member.gateway());
        let (network, ifindex) = (u32::from(member.network), interfaces.veth(member));
        let bridge = interfaces.bridges[usize::from(member.network) - 1];
        let endpoint = member.endpoint;
        self.veth.insert(
            ifindex,
            Veth { endpoint, network, bridge, addr4, addr6, mac, gateway_mac, flags, ..Veth::default() },
        );
        let endpoint = Endpoint { id: endpoint, network, ifindex, mac, gateway_mac };
        self.endpoint4.insert(addr4, endpoint);
        self.endpoint6.insert(addr6, endpoint);
    }

    fn publish(&mut self, id: u32, proto: u8, host: Option<u8>, span: Span, to: Member, target: u16) {
        self.published.insert(id, Published { proto, host, span, target, sources: &[] });
        self.generation.insert(id, id + 10);
        self.lead(id, to);
    }

    /// Has a publish entry lead to a container.
    fn lead(&mut self, id: u32, to: Member) {
        let Published { proto, host, span, target, sources } = self.published[&id];
        let generation = self.generation[&id];
        let Span { first, last } = span;
        let back = Span { first: target, last: target + (last - first) };
        self.withdraw(id);
        for (network, host, bits) in sources.iter().copied() {
            let addr4 = four(Version::Four.address(network, host));
            self.source4.insert(SourceKey::new(id, addr4, bits), Source::ADMITTED);
            let addr6 = six(Version::Six.address(network, host));
            self.source6.insert(SourceKey::new(id, addr6, bits + 96), Source::ADMITTED);
        }
        let flags = if sources.is_empty() { 0 } else { publish_flag::SOURCES };
        let on4 = host.map_or(Addr4::default(), |host| four(Version::Four.address(0, host)));
        let addr = four(to.address(Version::Four));
        let value = Publish { addr, first, last, target, flags, id, generation };
        self.publish4.insert(PublishKey::new(on4, proto, span), value);
        if proto == UDP {
            let value =
                Publish { addr: on4, first: back.first, last: back.last, target: first, flags: 0, id, generation };
            self.publish4.insert(PublishKey::new(addr, UDP_BACK, back), value);
        }
        let on6 = host.map_or(Addr6::default(), |host| six(Version::Six.address(0, host)));
        let addr = six(to.address(Version::Six));
        let value = Publish { addr, first, last, target, flags, id, generation };
        self.publish6.insert(PublishKey::new(on6, proto, span), value);
        if proto == UDP {
            let value =
                Publish { addr: on6, first: back.first, last: back.last, target: first, flags: 0, id, generation };
            self.publish6.insert(PublishKey::new(addr, UDP_BACK, back), value);
        }
    }

    /// Publishes a port for a container anew, or by an entry that there is, which then leads there.
    pub fn republish(&mut self, id: u32, new: Option<Published>, to: Member) {
        self.renew(id);
        self.published.extend(new.map(|new| (id, new)));
        if self.published.contains_key(&id) {
            self.lead(id, to);
        }
    }

    /// Takes a publish entry away.
    pub fn unpublish(&mut self, id: u32) {
        self.renew(id);
        self.published.remove(&id);
        self.withdraw(id);
    }

    fn withdraw(&mut self, id: u32) {
        self.publish4.retain(|_, row| row.id != id);
        self.publish6.retain(|_, row| row.id != id);
        self.source4.retain(|source, _| source.publish() != id);
        self.source6.retain(|source, _| source.publish() != id);
    }

    /// Ends what goes by a publish entry.
    fn renew(&mut self, id: u32) {
        *self.generation.entry(id).or_default() += 100;
    }

    /// What is known beyond the host is on the uplink's link, or on a bridge.
    pub fn route(&self, four: bool, dst: IpAddr) -> Route {
        let version = if four { Version::Four } else { Version::Six };
        let ifindex = self.uplink.keys().next().copied().unwrap_or_default();
        if dst == version.outside() || dst == version.farther() {
            return Route { status: route::FOUND, ifindex, mtu: 0, dst_mac: OUTSIDE_MAC, src_mac: UPLINK_MAC };
        }
        // Its neighbours are on the link, but nobody has asked for their MAC addresses yet.
        if (3..=254).any(|host| dst == version.address(0, host)) {
            return Route { status: route::FOUND, ifindex, ..Route::default() };
        }
        // To neighbours on a bridge that no container has the address of.
        let on_bridge = |veth: &&Veth| (2..=254).any(|host| dst == version.address(veth.network as u8, host));
        if let Some(veth) = self.veth.values().find(on_bridge) {
            return Route { status: route::FOUND, ifindex: veth.bridge, ..Route::default() };
        }
        Route { status: route::STACK, ..Route::default() }
    }
}

/// An IPv4 address as the tables hold it. Panics for an IPv6 address.
pub fn four(address: IpAddr) -> Addr4 {
    match address {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => panic!("{address} is no IPv4 address"),
    }
}

/// An IPv6 address as the tables hold it. Panics for an IPv4 address.
pub fn six(address: IpAddr) -> Addr6 {
    match address {
        IpAddr::V6(address) => address.into(),
        IpAddr::V4(address) => panic!("{address} is no IPv6 address"),
    }
}
