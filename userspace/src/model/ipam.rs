//! Numbers, addresses, subnets and MACs: which one is next.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    error::ModelError,
    hash::{hash, mix},
    state::Pool,
};

/// Docker's default pools: the length of a network's prefix, and where it is cut from.
const POOLS: [(u8, Ipv4Addr, u8); 16] = [
    sixteen(17),
    sixteen(18),
    sixteen(19),
    sixteen(20),
    sixteen(21),
    sixteen(22),
    sixteen(23),
    sixteen(24),
    sixteen(25),
    sixteen(26),
    sixteen(27),
    sixteen(28),
    sixteen(29),
    sixteen(30),
    sixteen(31),
    (20, Ipv4Addr::new(192, 168, 0, 0), 16),
];

const fn sixteen(second: u8) -> (u8, Ipv4Addr, u8) {
    (16, Ipv4Addr::new(172, second, 0, 0), 16)
}

/// Length of the prefix of a network's IPv6 addresses, where none was asked for.
const PREFIX6: u8 = 64;

/// The lowest number from 1 that is below `limit` and not taken.
pub fn lowest_free(taken: impl IntoIterator<Item = u32>, limit: u32) -> Option<u32> {
    all_free(taken, limit).next()
}

/// The numbers from 1 that are below `limit` and not taken, in order.
pub fn all_free(taken: impl IntoIterator<Item = u32>, limit: u32) -> impl Iterator<Item = u32> {
    let mut known: Vec<bool> = Vec::new();
    for number in taken.into_iter().filter(|number| *number < limit).map(|number| number as usize) {
        known.resize(known.len().max(number + 1), false);
        known[number] = true;
    }
    (1..limit).filter(move |number| known.get(*number as usize) != Some(&true))
}

/// The next address of a part of the subnet that a container can have: not the network's, the broadcast or a taken one.
/// The search begins behind `last`, so that an address that was let go of does not come back at once.
pub fn next4(subnet: Ipv4Net, range: Ipv4Net, last: Option<Ipv4Addr>, taken: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    let (hosts, range) = (hosts4(subnet), range.network().to_bits()..=range.broadcast().to_bits());
    let (first, end) = (hosts.start.max(*range.start()), hosts.end.min(range.end().saturating_add(1)));
    let from = last.map_or(first, |last| last.to_bits().saturating_add(1)).clamp(first, end.max(first));
    (from..end).chain(first..from).map(Ipv4Addr::from_bits).find(|address| !taken.contains(address))
}

/// The address of a part of the subnet with the host number of `addr4`, or the lowest free one if that one is taken.
pub fn next6(
    (subnet, range): (Ipv6Net, Ipv6Net),
    taken: &BTreeSet<Ipv6Addr>,
    subnet4: Ipv4Net,
    addr4: Ipv4Addr,
) -> Option<Ipv6Addr> {
    let free = |address: &Ipv6Addr| check6(subnet, *address) && range.contains(address) && !taken.contains(address);
    let base = range.network().to_bits();
    let hosts = |number: &u128| base.checked_add(*number).map(Ipv6Addr::from_bits);
    // As many numbers as can be taken, and the routers': one of them is free, or there is none.
    let numbers = 0..=taken.len() as u128 + 2;
    [same_host6(subnet, subnet4, addr4)].into_iter().chain(numbers.filter_map(|number| hosts(&number))).find(free)
}

/// The address of `subnet` with the host number that `addr4` has in `subnet4`.
pub fn same_host6(subnet: Ipv6Net, subnet4: Ipv4Net, addr4: Ipv4Addr) -> Ipv6Addr {
    let number = addr4.to_bits() & subnet4.hostmask().to_bits();
    Ipv6Addr::from_bits(subnet.network().to_bits() | (u128::from(number) & subnet.hostmask().to_bits()))
}

/// Whether a host can have the address in the subnet.
pub fn check4(subnet: Ipv4Net, address: Ipv4Addr) -> bool {
    hosts4(subnet).contains(&address.to_bits())
}

/// Whether a host can have the address in the subnet; the first one is every router's (RFC 4291 §2.6.1).
pub fn check6(subnet: Ipv6Net, address: Ipv6Addr) -> bool {
    subnet.contains(&address) && address != subnet.network()
}

/// Whether a network can be made of the subnet: unicast, and with room for a gateway and a container.
pub fn check_subnet4(subnet: Ipv4Net) -> bool {
    let first = subnet.network();
    subnet.prefix_len() <= 30
        && subnet.prefix_len() >= 8
        && !first.is_loopback()
        && !matches!(first.octets()[0], 0 | 224..)
}

/// As [`check_subnet4`].
pub fn check_subnet6(subnet: Ipv6Net) -> bool {
    let first = subnet.network();
    let link_local = first.segments()[0] & 0xffc0 == 0xfe80;
    (16..=126).contains(&subnet.prefix_len()) && !first.is_multicast() && !link_local && first.segments()[0] != 0
}

fn hosts4(subnet: Ipv4Net) -> std::ops::Range<u32> {
    subnet.network().to_bits() + 1..subnet.broadcast().to_bits()
}

/// Docker's MAC for an address: `02:42` and the address.
pub const fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

/// A bridge's MAC, the same whenever a network of this name is made.
pub fn bridge_mac(name: &str) -> [u8; 6] {
    let [a, b, c, d, ..] = hash(&[b"bridge mac", name.as_bytes()]).to_be_bytes();
    [0x02, 0x42, a, b, c, d]
}

/// Interface name of the bridge of a network with this name: `pl-` and eight hexadecimal digits.
pub fn bridge_name(name: &str) -> String {
    format!("pl-{:08x}", hash(&[b"bridge", name.as_bytes()]) >> 32)
}

/// The first subnet of the pools, Docker's own if there are none, that overlaps nothing in use.
///
/// # Errors
/// [`ModelError::NoFreeSubnet`].
pub fn free_subnet4(pools: &[Pool], used: &[IpNet]) -> Result<Ipv4Net, ModelError> {
    let dockers = POOLS.iter().filter(|_| pools.is_empty());
    let dockers = dockers.filter_map(|(size, base, length)| Some((Ipv4Net::new(*base, *length).ok()?, *size)));
    pools
        .iter()
        .map(|pool| (pool.base, pool.size))
        .chain(dockers)
        .flat_map(|(base, size)| base.subnets(size))
        .flatten()
        .find(|subnet| used.iter().all(|other| !overlaps((*subnet).into(), *other)))
        .ok_or(ModelError::NoFreeSubnet)
}

/// A unique local prefix (RFC 4193 §3.1): the host's seed gives its global identifier, the name its subnet.
pub fn free_subnet6(name: &str, seed: u64, used: &[IpNet]) -> Ipv6Net {
    let global = u128::from(mix(seed) >> 24);
    let first = hash(&[b"subnet", name.as_bytes()]);
    let candidate = |step: u64| {
        let subnet = u128::from(first.wrapping_add(step) & 0xffff);
        let bits = 0xfd << 120 | global << 80 | subnet << 64;
        Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), PREFIX6)
    };
    (0..=0xffff)
        .map(candidate)
        .find(|subnet| used.iter().all(|other| !overlaps((*subnet).into(), *other)))
        .unwrap_or_else(|| candidate(0))
}

/// Whether two subnets share an address; a default route overlaps nothing.
pub fn overlaps(one: IpNet, other: IpNet) -> bool {
    one.prefix_len() != 0 && other.prefix_len() != 0 && (one.contains(&other) || other.contains(&one))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net4(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn the_next_address_is_the_lowest_that_a_host_can_have() {
        fn check(subnet: &str, last: &str, taken: &[&str], expected: Option<&str>) {
            let (subnet, range) = subnet.split_once(' ').unwrap_or((subnet, subnet));
            let taken = taken.iter().map(|a| a.parse().unwrap()).collect();
            let found = next4(net4(subnet), net4(range), last.parse().ok(), &taken);
            assert_eq!(found, expected.map(|a| a.parse().unwrap()), "{subnet} {range} {last} {taken:?}");
        }
        check("172.17.0.0/16", "", &["172.17.0.1"], Some("172.17.0.2"));
        check("172.17.0.0/16", "", &["172.17.0.1", "172.17.0.2", "172.17.0.4"], Some("172.17.0.3"));
        check("172.17.0.0/16", "", &["172.17.0.2"], Some("172.17.0.1"));
        check("10.0.0.8/30", "", &["10.0.0.9"], Some("10.0.0.10"));
        check("10.0.0.8/30", "", &["10.0.0.9", "10.0.0.10"], None);
        // What was given out last comes back last.
        check("10.0.0.8/29", "10.0.0.10", &["10.0.0.9"], Some("10.0.0.11"));
        check("10.0.0.8/29", "10.0.0.14", &["10.0.0.9"], Some("10.0.0.10"));
        check("10.0.0.8/30", "10.0.0.10", &["10.0.0.9"], Some("10.0.0.10"));
        // Out of a part of the subnet alone.
        check("10.0.0.0/16 10.0.5.0/24", "", &["10.0.0.1"], Some("10.0.5.0"));
        check("10.0.0.0/16 10.0.5.0/30", "10.0.5.3", &["10.0.5.0"], Some("10.0.5.1"));
        check("10.0.0.0/16 10.0.255.252/30", "10.0.255.253", &[], Some("10.0.255.254"));
        check("10.0.0.0/24 10.0.0.0/30", "", &["10.0.0.1", "10.0.0.2", "10.0.0.3"], None);
    }

    #[test]
    fn an_ipv6_address_has_the_host_number_of_the_ipv4_one() {
        fn check(subnet: &str, gateway: &str, taken: &[&str], addr4: &str, expected: Option<&str>) {
            let taken: Vec<Ipv6Addr> = taken.iter().map(|a| a.parse().unwrap()).collect();
            let subnet: Ipv6Net = subnet.parse().unwrap();
            let addr4 = addr4.parse().unwrap();
            let taken: BTreeSet<Ipv6Addr> = BTreeSet::from_iter(taken).into_iter().chain(gateway.parse()).collect();
            let found = next6((subnet, subnet), &taken, net4("172.17.0.0/16"), addr4);
            assert_eq!(found, expected.map(|a| a.parse().unwrap()), "{subnet} {gateway} {taken:?}");
        }
        check("fd00::/64", "fd00::1", &[], "172.17.0.2", Some("fd00::2"));
        check("fd00::/64", "fd00::1", &[], "172.17.3.4", Some("fd00::304"));
        check("fd00::/64", "fd00::2", &[], "172.17.0.2", Some("fd00::1"));
        check("fd00::/64", "fd00::1", &["fd00::2"], "172.17.0.2", Some("fd00::3"));
        check("fd00::/120", "fd00::1", &[], "172.17.3.0", Some("fd00::2"));
        check("fd00::/126", "fd00::1", &["fd00::2", "fd00::3"], "172.17.0.2", None);
    }

    #[test]
    fn a_free_subnet_is_the_first_pool_that_nobody_uses() {
        fn check(used: &[&str], expected: Option<&str>) {
            let used: Vec<IpNet> = used.iter().map(|n| n.parse().unwrap()).collect();
            assert_eq!(free_subnet4(&[], &used).ok(), expected.map(net4), "{used:?}");
        }
        check(&[], Some("172.17.0.0/16"));
        check(&["0.0.0.0/0", "10.0.0.0/8", "::/0"], Some("172.17.0.0/16"));
        check(&["172.17.0.0/16", "172.18.5.1/32"], Some("172.19.0.0/16"));
        check(&["172.16.0.0/12"], Some("192.168.0.0/20"));
        check(&["172.16.0.0/12", "192.168.1.0/24"], Some("192.168.16.0/20"));
        check(&["172.16.0.0/12", "192.168.0.0/16"], None);
        let pools = [Pool { base: net4("10.32.0.0/23"), size: 24 }];
        assert_eq!(free_subnet4(&pools, &[net4("10.32.0.0/24").into()]).ok(), Some(net4("10.32.1.0/24")));
        assert!(free_subnet4(&pools, &[net4("10.32.0.0/16").into()]).is_err(), "none of Docker's own then");
    }

    #[test]
    fn names_and_macs_are_dockers() {
        assert_eq!(mac_of(Ipv4Addr::new(172, 17, 0, 2)), [0x02, 0x42, 0xac, 0x11, 0x00, 0x02]);
        assert_eq!(bridge_mac("portlane0")[..2], [0x02, 0x42]);
        // Written down: a later version must find the bridges of an earlier one.
        assert_eq!(bridge_name("web"), "pl-d6a304b8");
        assert_eq!(bridge_name("db"), "pl-40cc112f");
    }

    #[test]
    fn a_prefix_is_the_hosts_own_and_the_networks_own() {
        let one = free_subnet6("web", 7, &[]);
        assert_eq!(one.addr().octets()[0], 0xfd);
        assert_eq!(one.prefix_len(), 64);
        assert_ne!(one, free_subnet6("db", 7, &[]));
        assert_ne!(one, free_subnet6("web", 8, &[]));
        assert_ne!(one, free_subnet6("web", 7, &[one.into()]));
        assert_eq!(one.addr().octets()[..6], free_subnet6("db", 7, &[]).addr().octets()[..6]);
    }

    proptest! {
        #[test]
        fn addresses_are_hosts_of_the_subnet_and_never_given_twice(
            bits: u32, length in 20u8..=30, number in 1usize..40,
        ) {
            let subnet = Ipv4Net::new_assert(Ipv4Addr::from_bits(bits), length).trunc();
            let gateway = Ipv4Addr::from_bits(subnet.network().to_bits() + 1);
            let mut taken = BTreeSet::from([gateway]);
            let room = subnet.hosts().count();
            let mut last = None;
            for _ in 0..number.min(room - 1) {
                let address = next4(subnet, subnet, last, &taken).expect("there is room");
                last = Some(address);
                prop_assert!(check4(subnet, address));
                prop_assert_ne!(address, gateway);
                prop_assert!(taken.insert(address));
            }
            if taken.len() == room {
                prop_assert_eq!(next4(subnet, subnet, last, &taken), None);
            }
        }

        #[test]
        fn a_free_subnet_overlaps_nothing(used in prop::collection::vec((any::<u16>(), 8u8..=32), 0..20)) {
            let used: Vec<IpNet> = used
                .into_iter()
                .map(|(bits, length)| (Ipv4Addr::from_bits(0xac10_0000 + (u32::from(bits) << 4)), length))
                .map(|(address, length)| Ipv4Net::new_assert(address, length).into())
                .collect();
            if let Ok(subnet) = free_subnet4(&[], &used) {
                prop_assert!(used.iter().all(|other| !overlaps(subnet.into(), *other)));
                prop_assert!(check_subnet4(subnet));
            }
        }
    }
}
