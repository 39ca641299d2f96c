//! The desired content of every control map, and one row of any of them.

use std::{cmp::Ordering, collections::BTreeMap, fmt, iter, net::IpAddr};

use portlane_common::{
    config::{Config, ReservedBlock, map},
    endpoint::{Endpoint, Veth},
    family::{Addr4, Addr6, Address},
    network::{HostAddr, Uplink},
    policy::{Policy, PolicyKey},
    publish::{Publish, PublishKey, UDP_BACK, flag},
    source::{Source, SourceKey},
    span::Span,
};

use super::state::{Mac, Ports};

macro_rules! tables {
    ($($(#[$doc:meta])* $field:ident $variant:ident($key:ty, $value:ty) = $map:expr;)+) => {
        /// What the control maps hold, or must hold.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Tables {
            $($(#[$doc])* pub $field: BTreeMap<$key, $value>,)+
            /// `pl_config`.
            pub config: Config,
        }

        /// One entry of one map, `pl_config` aside.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Row {
            $($(#[$doc])* $variant($key, $value),)+
        }

        impl Row {
            /// The map that it belongs to.
            pub const fn map(&self) -> &'static str {
                match self { $(Self::$variant(..) => $map,)+ }
            }
        }

        impl fmt::Display for Row {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $(Self::$variant(key, value) => value.describe(key, f),)+ }
            }
        }

        impl Tables {
            /// Rows to put, so that nothing refers to what is not there yet, and rows to delete, the other way round.
            pub fn difference(&self, observed: &Self) -> (Vec<Row>, Vec<Row>) {
                let (mut puts, mut deletes) = (Vec::new(), Vec::new());
                $({
                    let (put, delete) = difference(&self.$field, &observed.$field);
                    puts.extend(put.map(|(key, value)| Row::$variant(*key, *value)));
                    deletes.extend(delete.map(|(key, value)| Row::$variant(*key, *value)));
                })+
                deletes.reverse();
                (puts, deletes)
            }

            /// Adds a row, or changes it.
            pub fn put(&mut self, row: Row) {
                match row { $(Row::$variant(key, value) => { self.$field.insert(key, value); })+ }
            }

            /// Takes the row with this key away.
            pub fn delete(&mut self, row: &Row) {
                match row { $(Row::$variant(key, _) => { self.$field.remove(key); })+ }
            }
        }
    };
}

tables! {
    /// Ports that the administrator keeps for himself, one bit a port; the map is an array, where "none" is 0.
    reserved Reserved(u32, ReservedBlock) = map::RESERVED;
    /// By interface index.
    uplink Uplink(u32, Uplink) = map::UPLINK;
    /// The host's IPv4 addresses.
    host4 Host4(Addr4, HostAddr) = map::HOST4;
    /// The host's IPv6 addresses.
    host6 Host6(Addr6, HostAddr) = map::HOST6;
    /// By container address, IPv4.
    endpoint4 Endpoint4(Addr4, Endpoint) = map::ENDPOINT4;
    /// By container address, IPv6.
    endpoint6 Endpoint6(Addr6, Endpoint) = map::ENDPOINT6;
    /// By interface index.
    veth Veth(u32, Veth) = map::VETH;
    /// What links open.
    policy Policy(PolicyKey, Policy) = map::POLICY;
    /// Generation of each publish entry in force; the map is an array, where "none" is 0.
    generation Generation(u32, u32) = map::GENERATION;
    /// Who may use published ports, IPv4.
    source4 Source4(SourceKey<Addr4>, Source) = map::SOURCE4;
    /// Who may use published ports, IPv6.
    source6 Source6(SourceKey<Addr6>, Source) = map::SOURCE6;
    /// Published ports, IPv4.
    publish4 Publish4(PublishKey<Addr4>, Publish<Addr4>) = map::PUBLISH4;
    /// Published ports, IPv6.
    publish6 Publish6(PublishKey<Addr6>, Publish<Addr6>) = map::PUBLISH6;
}

/// Entries of `desired` that `observed` lacks or has otherwise, and entries of `observed` that `desired` lacks.
pub fn difference<'a, K: Ord, V: PartialEq>(
    desired: &'a BTreeMap<K, V>,
    observed: &'a BTreeMap<K, V>,
) -> (impl Iterator<Item = (&'a K, &'a V)>, impl Iterator<Item = (&'a K, &'a V)>) {
    let put = side_by_side(desired, observed).filter(|(_, desired, observed)| desired != observed);
    let delete = side_by_side(desired, observed).filter(|(_, desired, _)| desired.is_none());
    (
        put.filter_map(|(key, desired, _)| Some((key, desired?))),
        delete.filter_map(|(key, _, observed)| Some((key, observed?))),
    )
}

/// What two maps have under each of their keys, in their order: in one walk along both, because of hundreds that are the same
/// each search takes longer than a step.
pub fn side_by_side<'a, K: Ord, V>(
    one: &'a BTreeMap<K, V>,
    other: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, Option<&'a V>, Option<&'a V>)> {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    iter::from_fn(move || {
        let order = match (one.peek(), other.peek()) {
            (Some((a, _)), Some((b, _))) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        let left = if order.is_le() { one.next() } else { None };
        let right = if order.is_ge() { other.next() } else { None };
        let (key, _) = left.or(right)?;
        Some((key, left.map(|(_, value)| value), right.map(|(_, value)| value)))
    })
}

/// A row in words.
trait Describe<K> {
    fn describe(&self, key: &K, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

impl Describe<u32> for Uplink {
    fn describe(&self, key: &u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uplink {key} (IPv4 {}, IPv6 {})", or_none(self.addr4), or_none(self.addr6))
    }
}

impl<A: Address + Into<IpAddr>> Describe<A> for HostAddr {
    fn describe(&self, key: &A, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host address {} of interface {}", (*key).into(), self.ifindex)
    }
}

impl<A: Address + Into<IpAddr>> Describe<A> for Endpoint {
    fn describe(&self, key: &A, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "endpoint {} at {} ({}, interface {})", self.id, (*key).into(), Mac(self.mac), self.ifindex)
    }
}

impl Describe<u32> for Veth {
    fn describe(&self, key: &u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what interface {key} may send, as endpoint {} of network {}", self.endpoint, self.network)
    }
}

impl Describe<PolicyKey> for Policy {
    fn describe(&self, key: &PolicyKey, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = Ports(Span { first: self.first, last: self.last });
        write!(f, "endpoint {}'s way to port {ports}/{} of endpoint {}", key.from, proto(key.proto), key.to)
    }
}

impl Describe<u32> for ReservedBlock {
    fn describe(&self, key: &u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count: u32 = self.iter().map(|word| word.count_ones()).sum();
        write!(f, "{count} reserved ports of {} to {}", key * 256, key * 256 + 255)
    }
}

impl Describe<u32> for u32 {
    fn describe(&self, key: &u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {self} of publish entry {key}")
    }
}

impl<A: Address + Into<IpAddr>> Describe<SourceKey<A>> for Source {
    fn describe(&self, key: &SourceKey<A>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "publish entry {}'s being open to {}/{}", key.publish(), key.sender.addr.into(), key.length())
    }
}

impl<A: Address + Into<IpAddr>> Describe<PublishKey<A>> for Publish<A> {
    fn describe(&self, key: &PublishKey<A>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if key.proto == UDP_BACK {
            let (container, ports) = (key.addr.into(), Ports(self.span()));
            let host = if self.addr == A::ANY { "the uplink".to_owned() } else { self.addr.into().to_string() };
            let (target, id) = (self.target, self.id);
            return write!(
                f,
                "answers of port {ports}/udp of {container} by {host} port {target} (publish entry {id})"
            );
        }
        let (host, container) = (key.addr.into(), self.addr.into());
        let (proto, ports) = (proto(key.proto), Ports(self.span()));
        if self.flags & flag::HOST != 0 {
            return write!(f, "port {ports}/{proto} of {host} staying the host's own");
        }
        write!(f, "port {ports}/{proto} of {host} to {container} port {} (publish entry {})", self.target, self.id)
    }
}

fn or_none<A: Address + Into<IpAddr>>(address: A) -> String {
    if address == A::ANY { "none".to_owned() } else { address.into().to_string() }
}

fn proto(number: u8) -> String {
    match number {
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        132 => "sctp".to_owned(),
        other => format!("protocol {other}"),
    }
}
