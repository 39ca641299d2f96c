//! What a container may not do, and what must survive other CPUs and changed tables, beyond the table of cases.

use std::net::IpAddr;

use bytemuck::Pod;
use portlane_common::{flow::FlowKey, reason::Reason};
use portlane_datapath::{
    hook,
    packet::{Packet, Shared, Tables, table},
    stage::parse::{ACK, SYN},
    testing::{
        bytes::Bytes,
        cases::At,
        checksum,
        frame::{Body, Frame},
        run::carry_on,
        tables::Memory,
        talk::{INTERFACES, arriving, from_container, meets_bytes, memory, sent},
        world::{self, INNER, Member, OTHER, PEER, QUIET, STORE, Version, WEB},
    },
    verdict::{self, Verdict},
};

const ALL_NODES: &str = "ff02::1";
const ICMPV6: u8 = 58;

fn container(tables: &Memory, by: Member, bytes: Vec<u8>) -> (Verdict, Vec<u8>) {
    meets_bytes(tables, At::FromContainer(INTERFACES.veth(by)), bytes)
}

fn uplink(tables: &Memory, bytes: Vec<u8>) -> (Verdict, Vec<u8>) {
    meets_bytes(tables, At::FromUplink(INTERFACES.uplink), bytes)
}

fn into(tables: &Memory, to: Member, origin: u32, bytes: Vec<u8>) -> Verdict {
    meets_bytes(tables, At::ToContainer(INTERFACES.veth(to), origin), bytes).0
}

fn six(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The link-local address that a container's MAC makes.
fn link_local(of: Member) -> IpAddr {
    six(&format!("fe80::42:ff:fe00:{:x}", u16::from(of.network) << 8 | u16::from(of.host)))
}

/// An IPv6 packet of a container's with this payload behind the fixed header.
fn raw(by: Member, src: IpAddr, dst: IpAddr, proto: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Frame { src, payload: payload.to_vec(), ..sent(Version::Six, by, dst, Body::Other(proto)) }.bytes();
    // The builder puts eight zero bytes in front.
    bytes.drain(54..62);
    bytes[18..20].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    bytes[21] = 255;
    bytes
}

/// An ICMPv6 message about a target.
fn discovery(icmp: u8, target: IpAddr) -> Vec<u8> {
    let IpAddr::V6(target) = target else { panic!("an IPv6 target") };
    [&[icmp, 0, 0, 0, 0, 0, 0, 0][..], &target.octets()].concat()
}

/// The message behind an extension header of eight bytes.
fn behind(message: &[u8]) -> Vec<u8> {
    [&[ICMPV6, 0, 1, 4, 0, 0, 0, 0][..], message].concat()
}

#[test]
fn a_container_poses_neither_as_a_router_nor_as_another() {
    let tables = memory();
    let own = link_local(WEB);
    for (icmp, target, wanted) in [
        (134, six("::"), Some(Reason::RouterAdvertisement)),
        (137, six("::"), Some(Reason::RouterAdvertisement)),
        (136, PEER.address(Version::Six), Some(Reason::SpoofedNeighbour)),
        (136, link_local(PEER), Some(Reason::SpoofedNeighbour)),
        (136, WEB.address(Version::Six), None),
        (136, own, None),
        (135, PEER.address(Version::Six), None),
    ] {
        let packet = raw(WEB, own, six(ALL_NODES), ICMPV6, &discovery(icmp, target));
        let wanted = wanted.map_or(Verdict::PASS, Verdict::drop);
        assert_eq!(container(&tables, WEB, packet).0, wanted, "type {icmp} for {target}");
    }
}

#[test]
fn a_router_advertisement_behind_an_extension_header_is_refused() {
    for extension in [0, 60, 43] {
        let packet = raw(WEB, link_local(WEB), six(ALL_NODES), extension, &behind(&discovery(134, six("::"))));
        assert_eq!(container(&memory(), WEB, packet).0.action(), verdict::DROP, "next header {extension}");
    }
}

#[test]
fn a_claim_to_a_neighbours_address_behind_an_extension_header_is_refused() {
    let claim = behind(&discovery(136, PEER.address(Version::Six)));
    for dst in [six(ALL_NODES), PEER.address(Version::Six)] {
        let packet = raw(WEB, WEB.address(Version::Six), dst, 60, &claim);
        assert_eq!(container(&memory(), WEB, packet).0.action(), verdict::DROP, "to {dst}");
    }
}

#[test]
fn an_internal_network_reaches_nothing_outside_by_neighbour_discovery_either() {
    for icmp in [133, 135] {
        let message = discovery(icmp, Version::Six.outside());
        let packet = raw(INNER, INNER.address(Version::Six), Version::Six.outside(), ICMPV6, &message);
        assert_eq!(container(&memory(), INNER, packet).0.action(), verdict::DROP, "type {icmp}");
    }
}

#[test]
fn arp_speaks_only_for_its_sender() {
    let arp = |mac: [u8; 6], ip: [u8; 4]| {
        let mut bytes = [[0xff; 6], WEB.mac()].concat();
        bytes.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
        bytes.extend([&mac[..], &ip, &[0; 6], &[172, 17, 0, 1]].concat());
        bytes
    };
    let tables = memory();
    assert_eq!(container(&tables, WEB, arp(WEB.mac(), [172, 17, 0, 2])).0, Verdict::PASS);
    assert_eq!(container(&tables, WEB, arp(WEB.mac(), [0; 4])).0, Verdict::PASS);
    for claim in [arp(WEB.mac(), [172, 17, 0, 3]), arp(PEER.mac(), [172, 17, 0, 2])] {
        assert_eq!(container(&tables, WEB, claim).0, Verdict::drop(Reason::SpoofedNeighbour));
    }
}

#[test]
fn a_bridge_floods_only_within_its_network_and_not_without_icc() {
    for version in Version::BOTH {
        let group = if version == Version::Four { six("224.0.0.251") } else { six("ff02::fb") };
        let flood = |by: Member| {
            let mac = if version == Version::Four { [1, 0, 0x5e, 0, 0, 0xfb] } else { [0x33, 0x33, 0, 0, 0, 0xfb] };
            sent(version, by, group, Body::Udp(5353, 5353)).with_macs(mac, by.mac()).bytes()
        };
        let tables = memory();
        assert_eq!(into(&tables, PEER, INTERFACES.veth(WEB), flood(WEB)), Verdict::PASS);
        let wanted = Verdict::drop(Reason::IccOff);
        assert_eq!(into(&tables, STORE, INTERFACES.veth(QUIET), flood(QUIET)), wanted);
        let wanted = Verdict::drop(Reason::Forwarded);
        assert_eq!(into(&tables, OTHER, INTERFACES.veth(WEB), flood(WEB)), wanted);
        assert_eq!(into(&tables, WEB, INTERFACES.uplink, flood(WEB)), wanted);
    }
}

#[test]
fn a_neighbour_on_a_wide_network_is_reached_like_one_with_the_next_address() {
    let mut tables = memory();
    let rows = &mut tables.world;
    let (peer4, peer6) = (
        rows.endpoint4[&world::four(PEER.address(Version::Four))],
        rows.endpoint6[&world::six(PEER.address(Version::Six))],
    );
    let far = |version: Version| version.address(200, 7);
    rows.endpoint4.insert(world::four(far(Version::Four)), peer4);
    rows.endpoint6.insert(world::six(far(Version::Six)), peer6);
    for version in Version::BOTH {
        for dst in [PEER.address(version), far(version)] {
            let (verdict, _) = from_container(&tables, WEB, &sent(version, WEB, dst, Body::Udp(5, 6)));
            assert_eq!(verdict, Verdict::to(verdict::ENDPOINT, INTERFACES.veth(PEER)), "{version:?} to {dst}");
        }
    }
    assert_eq!(tables.traffic(PEER.endpoint).rx_packets, 4);
}

#[test]
fn an_icmp_error_about_no_flow_reaches_no_container() {
    for version in Version::BOTH {
        let icmp = if version == Version::Four { 1 } else { ICMPV6 };
        let mut error = sent(version, WEB, version.outside(), Body::Other(icmp)).bytes();
        error[if version == Version::Four { 34 } else { 54 }] = 3;
        assert_eq!(container(&memory(), WEB, error).0, Verdict::drop(Reason::QuotedUnknown), "{version:?}");
        let mut error = arriving(version, version.host(), Body::Other(icmp)).bytes();
        error[if version == Version::Four { 34 } else { 54 }] = 3;
        assert_eq!(uplink(&memory(), error.clone()), (Verdict::PASS, error), "the host's stack knows");
    }
}

#[test]
fn ports_behind_the_end_of_the_ip_packet_are_not_ports() {
    // The IP header says that four bytes follow; the rest of the frame is padding, whatever it looks like.
    for version in Version::BOTH {
        let ask = |body| {
            let mut bytes = sent(version, WEB, version.outside(), body).bytes();
            match version {
                Version::Four => {
                    bytes[16..18].copy_from_slice(&24u16.to_be_bytes());
                    checksum::mend(&mut bytes);
                }
                Version::Six => bytes[18..20].copy_from_slice(&4u16.to_be_bytes()),
            }
            bytes
        };
        for body in [Body::Tcp(1, 2, SYN), Body::Udp(1, 2), Body::EchoRequest(1)] {
            let tables = memory();
            let verdict = container(&tables, WEB, ask(body)).0;
            assert_eq!(verdict, Verdict::drop(Reason::Malformed), "{version:?} {body:?}");
        }
    }
}

#[test]
fn only_a_train_may_leave_its_length_out() {
    let mut bytes = sent(Version::Four, WEB, Version::Four.outside(), Body::Udp(1, 2)).bytes();
    bytes[16..18].copy_from_slice(&[0, 0]);
    assert_eq!(container(&memory(), WEB, bytes).0, Verdict::drop(Reason::Malformed));
}

/// A connection that WEB has opened to the outside and that was answered.
fn connected(version: Version) -> Memory {
    let tables = memory();
    container(&tables, WEB, sent(version, WEB, version.outside(), Body::Tcp(5000, 80, SYN)).bytes());
    uplink(&tables, arriving(version, version.host(), Body::Tcp(80, 5000, SYN | ACK)).bytes());
    tables
}

#[test]
fn a_flow_that_another_cpu_stamps_a_tick_ahead_is_alive() {
    // This CPU has read the clock, then another stamps the entry, then this one reads the stamp.
    for version in Version::BOTH {
        let tables = connected(version);
        tables.ticks.set(tables.ticks.get() - 1);
        let more = sent(version, WEB, version.outside(), Body::Tcp(5000, 80, ACK));
        assert_eq!(container(&tables, WEB, more.bytes()).0.reason(), 0, "{version:?}");
    }
}

#[test]
fn a_tuple_stamped_a_tick_ahead_is_not_given_away() {
    for version in Version::BOTH {
        let tables = connected(version);
        tables.ticks.set(tables.ticks.get() - 1);
        let same = sent(version, PEER, version.outside(), Body::Tcp(5000, 80, SYN));
        container(&tables, PEER, same.bytes());
        tables.ticks.set(tables.ticks.get() + 1);
        let answer = arriving(version, version.host(), Body::Tcp(80, 5000, ACK));
        let verdict = uplink(&tables, answer.bytes()).0;
        assert_eq!(verdict, Verdict::to(verdict::ENDPOINT, INTERFACES.veth(WEB)), "{version:?}");
    }
}

#[test]
fn a_port_published_anew_to_the_same_container_keeps_the_clients_port() {
    for version in Version::BOTH {
        let mut tables = memory();
        let asked = arriving(version, version.host(), Body::Udp(33_333, 8080)).bytes();
        let (_, before) = uplink(&tables, asked.clone());
        tables.world.generation.insert(2, 99);
        tables.world.publish4.values_mut().filter(|row| row.id == 2).for_each(|row| row.generation = 99);
        tables.world.publish6.values_mut().filter(|row| row.id == 2).for_each(|row| row.generation = 99);
        assert_eq!(uplink(&tables, asked).1, before, "{version:?}: nothing but the generation is new");
    }
}

#[test]
fn a_ping_from_outside_is_not_taken_for_an_answer() {
    for version in Version::BOTH {
        let tables = memory();
        container(&tables, WEB, sent(version, WEB, version.outside(), Body::EchoRequest(0)).bytes());
        let ping = arriving(version, version.host(), Body::EchoRequest(0)).bytes();
        assert_eq!(uplink(&tables, ping.clone()), (Verdict::PASS, ping), "{version:?}");
    }
}

/// A packet as tc knows it: unreadable until pulled, its L4 checksum left to the hardware
/// (`bpf_l4_csum_replace` with `CHECKSUM_PARTIAL`: only what the pseudo header adds is changed).
struct Partial {
    inner: Bytes,
    linear: usize,
}

impl Packet for Partial {
    fn length(&self) -> u32 {
        self.inner.length()
    }
    fn ifindex(&self) -> u32 {
        self.inner.ifindex
    }
    fn origin(&self) -> u32 {
        self.inner.origin
    }
    fn tagged(&self) -> bool {
        false
    }
    fn segment(&self) -> u32 {
        0
    }
    fn pull(&mut self, length: u32) {
        self.linear = self.linear.max(self.inner.bytes.len().min(length as usize));
    }
    fn read<T: Pod>(&self, offset: usize) -> Option<T> {
        if offset + size_of::<T>() > self.linear { None } else { self.inner.read(offset) }
    }
    fn write<T: Pod>(&mut self, offset: usize, value: T) -> bool {
        offset + size_of::<T>() <= self.linear && self.inner.write(offset, value)
    }
    fn checksum(&mut self, offset: usize, pseudo: u16, _ports: u16, optional: bool) -> bool {
        let Some(old) = self.inner.read::<u16>(offset) else { return false };
        if optional && old == 0 {
            return true;
        }
        let sum = u32::from(old) + u32::from(pseudo);
        self.inner.write(offset, ((sum & 0xffff) + (sum >> 16)) as u16)
    }
}

/// The folded sum of the pseudo header, as the kernel leaves it for the hardware.
fn half_done(bytes: &[u8], version: Version, proto: u8) -> (usize, u16) {
    let (addresses, l4) = if version == Version::Four { (26..34, 34) } else { (22..54, 54) };
    let pseudo = [&bytes[addresses], &((bytes.len() - l4) as u32).to_be_bytes(), &[0, 0, 0, proto]];
    (l4 + if proto == 6 { 16 } else { 6 }, !checksum::internet(&pseudo))
}

#[test]
fn a_checksum_left_to_the_hardware_covers_the_new_addresses_and_bytes_are_pulled_before_they_are_read() {
    for version in Version::BOTH {
        for (body, proto) in [(Body::Tcp(1, 2, SYN), 6), (Body::Udp(1, 2), 17)] {
            let mut bytes = sent(version, WEB, version.outside(), body).bytes();
            let (at, sum) = half_done(&bytes, version, proto);
            bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
            let ifindex = INTERFACES.veth(WEB);
            let inner = Bytes { bytes, ifindex, origin: ifindex, ..Bytes::default() };
            let mut packet = Partial { inner, linear: 0 };
            let tables = memory();
            let first = hook::from_container::run(&mut packet, &tables);
            let verdict = carry_on(first, &mut packet, &tables);
            assert_eq!(verdict, Verdict::to(verdict::UPLINK, INTERFACES.uplink), "{version:?} {body:?}");
            let out = packet.inner.bytes;
            let (at, sum) = half_done(&out, version, proto);
            assert_eq!(out[at..at + 2], sum.to_be_bytes(), "{version:?} {body:?}");
        }
    }
}

#[test]
fn the_kernel_is_asked_for_the_next_hop_once_a_second_whoever_speaks_first_and_both_entries_are_stamped() {
    for version in Version::BOTH {
        let tables = connected(version);
        let more = sent(version, WEB, version.outside(), Body::Tcp(5000, 80, ACK)).bytes();
        assert_eq!(container(&tables, WEB, more.clone()).0.action(), verdict::UPLINK);
        tables.pass(1);
        let (verdict, bytes) = container(&tables, WEB, more.clone());
        assert_eq!(verdict, Verdict::to(verdict::NEIGHBOUR, INTERFACES.uplink), "{version:?}");
        assert!(checksum::right(&bytes));
        assert_eq!(container(&tables, WEB, more.clone()).0.action(), verdict::UPLINK, "{version:?}");
        // Also where the far side speaks first in every second: the container's answers have a way of their own.
        let theirs = arriving(version, version.host(), Body::Tcp(80, 5000, ACK)).bytes();
        tables.pass(1);
        assert_eq!(uplink(&tables, theirs.clone()).0.action(), verdict::ENDPOINT, "{version:?}");
        assert_eq!(container(&tables, WEB, more.clone()).0.action(), verdict::NEIGHBOUR, "{version:?}");
        assert_eq!(container(&tables, WEB, more.clone()).0.action(), verdict::UPLINK, "{version:?}");
        // The entry that carried no packet is as young as the other.
        tables.pass(1);
        assert_eq!(container(&tables, WEB, more).0.action(), verdict::NEIGHBOUR, "{version:?}");
        let reply: FlowKey<_> = FlowKey {
            src: world::four(Version::Four.outside()),
            dst: world::four(Version::Four.host()),
            sport: 80,
            dport: 5000,
            zone: 0,
            proto: 6,
            pad: 0,
            pad2: 0,
        };
        if version == Version::Four {
            let flow =
                Tables::<portlane_common::family::V4>::flow(&tables, table::MAIN, &reply).expect("the replies' entry");
            assert_eq!((flow.touched, flow.seen), (tables.now() - tables.second(), tables.clock()));
        }
    }
}
