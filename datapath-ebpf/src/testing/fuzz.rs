//! What any bytes may do to the packet path, and what holds all the same. `cargo xtask fuzz` looks for bytes that reach
//! further, `tests/corpus.rs` runs those that were kept.
//!
//! [`hooks`] reads its bytes as a host's settings (one byte) and packets that come to it one after another, each with a
//! head of four bytes: the place that it is met at, what is done to it before ([`how`]), and its length.

use std::collections::BTreeMap;

use portlane_common::{
    endpoint::veth as veth_flag,
    family::{Address, Family, V4, V6},
    flow::{Flow, FlowKey, flag},
    reason::Reason,
};

use super::{
    bytes::Bytes,
    cases::{At, Step, cases},
    checksum,
    run::run,
    tables::Memory,
    turn,
    world::{INNER, Interfaces, MEMBERS, Version, World},
};
use crate::{
    header::{ARP, ETHERNET, SCTP, UDP, difference},
    packet::{Net, table},
    stage::parse,
    verdict::{self, Verdict},
};

const INTERFACES: Interfaces = Interfaces::ANY;
/// Packets that meet one host at most, and as many that it puts back after each.
const MOST: usize = 12;
/// Payload of a train's segments, in bytes.
const SEGMENT: u32 = 512;
/// Seconds that may pass before a packet: nothing, a stamp's age, UDP's time, TCP's.
const PAUSES: [u32; 4] = [0, 2, 40, 8000];

/// What is done to a packet before it is met: bits of the second byte of its head.
mod how {
    /// Its IP header tells the right length.
    pub const FIT: u8 = 1;
    /// Its checksums are made right.
    pub const MEND: u8 = 2;
    /// A VLAN tag travels beside it.
    pub const TAGGED: u8 = 4;
    /// It is a train of segments.
    pub const TRAIN: u8 = 8;
    /// From here on, two bits: which pause is before it.
    pub const PAUSE: u8 = 4;
    /// It answers the last one that went on, changed by exclusive or with what is given.
    pub const ANSWER: u8 = 64;
    /// It is an ICMP error about the last one that went on, changed in the same way.
    pub const ERROR: u8 = 128;
}

/// Where packets are met, by the lower half of the first byte of their head: six containers, the uplink, into each of
/// the six containers, and out by the uplink.
fn place(number: u8) -> At {
    let member = |number: u8| MEMBERS[usize::from(number) % MEMBERS.len()];
    match number & 15 {
        inside @ 0..=5 => At::FromContainer(INTERFACES.veth(member(inside))),
        6 | 7 => At::FromUplink(INTERFACES.uplink),
        into @ 8..=13 => {
            let origins = [0, INTERFACES.uplink, INTERFACES.veths[1], INTERFACES.veths[4]];
            At::ToContainer(INTERFACES.veth(member(into - 8)), origins[usize::from(number >> 4) & 3])
        }
        _ => At::ToUplink(INTERFACES.uplink),
    }
}

/// Has every parser read the bytes behind the first one, which says what kind of packet they are.
///
/// # Panics
/// When something does not hold.
pub fn parse(data: &[u8]) {
    let Some((control, bytes)) = data.split_first() else { return };
    let segment = if control & 1 == 0 { 0 } else { SEGMENT };
    let packet = Bytes { bytes: bytes.to_vec(), segment, ..Bytes::default() };
    read::<V4>(&packet, usize::from(control >> 1));
    read::<V6>(&packet, usize::from(control >> 1));
}

fn read<F: Net>(packet: &Bytes, offset: usize) {
    let length = packet.bytes.len();
    let quoted = |offset: usize| {
        if let Some(quoted) = F::quoted(packet, offset) {
            assert!(quoted.l4 >= offset + F::HEADER_LEN, "a quoted header has its least length");
        }
    };
    quoted(offset);
    let Some(ip) = parse::ip::<F, _>(&mut packet.clone()) else { return };
    assert!(ip.l4 >= ETHERNET + F::HEADER_LEN && ip.l4 <= ip.end as usize && ip.end as usize <= length);
    quoted(ip.l4 + 8);
    if let Some(piece) = F::piece(packet, &ip) {
        assert!(piece.offset < 1 << 13 && piece.l4 >= ip.l4);
    }
    let parsed = parse::l4::<F, _>(packet, &ip);
    for parsed in [parsed, parse::beginning::<F, _>(packet, &ip)] {
        assert!(parsed.l4 >= ip.l4 && parsed.end == ip.end);
        assert!(!parsed.is_quick() || parsed.trackable());
        parse::headers::<F, _, _>(packet, &parsed);
        parse::tcp_numbers(packet, &parsed);
        F::is_error(parsed.icmp);
    }
    if F::AF != V4::AF {
        return;
    }
    // What changes IPv4's header makes up for it in its checksum.
    let header = |packet: &Bytes| checksum::header_is_right(&packet.bytes[ETHERNET..ip.l4]);
    let delta = difference(ip.src.sum() + ip.dst.sum(), ip.dst.sum() + F::Addr::ANY.sum());
    let (mut moved, mut kept, mut nearer) = (packet.clone(), packet.clone(), packet.clone());
    let written = F::set_addresses(&mut moved, ip.dst, F::Addr::ANY, delta)
        && F::keep_whole(&mut kept)
        && (ip.ttl <= 1 || F::count_hop(&mut nearer, ip.ttl));
    assert!(written, "what was read can be written");
    assert!(!header(packet) || [&moved, &kept, &nearer].into_iter().all(header), "a right header stays right");
}

/// Has a host meet the packets that the bytes say.
///
/// # Panics
/// When something does not hold.
pub fn hooks(data: &[u8]) {
    let Some((settings, mut rest)) = data.split_first() else { return };
    let tables = host(*settings);
    let mut last: Option<(At, Vec<u8>)> = None;
    for _ in 0..MOST {
        let [number, how, low, high, tail @ ..] = rest else { break };
        let (given, after) = tail.split_at(tail.len().min(usize::from(u16::from_le_bytes([*low, *high]))));
        rest = after;
        tables.pass(PAUSES[usize::from(how >> how::PAUSE & 3)]);
        let (at, mut bytes) = match last.take().filter(|_| how & (how::ANSWER | how::ERROR) != 0) {
            Some((at, mut bytes)) => {
                let make =
                    if how & how::ERROR == 0 { |bytes: &mut Vec<u8>| turn::answer(bytes) } else { turn::complain };
                make(&mut bytes);
                bytes.iter_mut().skip(ETHERNET).zip(given).for_each(|(byte, change)| *byte ^= change);
                (at, bytes)
            }
            None => (place(*number), given.to_vec()),
        };
        if how & how::FIT != 0 {
            turn::fit(&mut bytes);
        }
        if how & how::MEND != 0 {
            checksum::mend(&mut bytes);
        }
        let segment = if how & how::TRAIN == 0 { 0 } else { SEGMENT };
        let mut packet = Bytes { bytes, segment, tagged: how & how::TAGGED != 0, ..Bytes::default() };
        let verdict = meet(&tables, at, &mut packet);
        last = match verdict.action() {
            verdict::ENDPOINT => Some((At::FromContainer(verdict.ifindex()), packet.bytes)),
            verdict::UPLINK | verdict::NEIGHBOUR => Some((At::FromUplink(verdict.ifindex()), packet.bytes)),
            _ => None,
        };
        meet_again(&tables);
    }
    books([table::MAIN, table::NEW].map(|table| tables.flows4(table)));
    books([table::MAIN, table::NEW].map(|table| tables.flows6(table)));
    shares(&tables);
}

/// The small world's host: full tables, small shares, busy sockets and reserved ports as the bits say.
fn host(settings: u8) -> Memory {
    let tables = Memory::new(World::new(&INTERFACES));
    let set = |bit: u8| settings & bit != 0;
    if set(1) {
        tables.room.set(3);
    }
    if set(2) {
        tables.share.set(1);
    }
    if set(4) {
        tables.sockets.borrow_mut().extend([(6, 8080), (17, 50_000)]);
    }
    if set(8) {
        tables.waiting.borrow_mut().push(30_001);
    }
    if set(16) {
        tables.reserved.borrow_mut().push(30_001);
    }
    tables
}

/// Frames that were put back meet the hook of their interface again.
fn meet_again(tables: &Memory) {
    for _ in 0..MOST {
        let Some((ifindex, bytes)) = tables.put_back.borrow_mut().pop_front() else { return };
        let uplink = ifindex == INTERFACES.uplink;
        let at = if uplink { At::FromUplink(ifindex) } else { At::FromContainer(ifindex) };
        meet(tables, at, &mut Bytes { bytes, ..Bytes::default() });
    }
}

/// Has a packet meet a hook, and looks at what comes of it.
fn meet(tables: &Memory, at: At, packet: &mut Bytes) -> Verdict {
    let before = packet.bytes.clone();
    let verdict = run(at, packet, tables);
    let after = &packet.bytes;
    assert_eq!(after.len(), before.len(), "{at:?}: {verdict:?}: no packet grows or shrinks");
    let action = verdict.action();
    if action == verdict::DROP {
        assert_ne!(verdict.reason(), 0, "{at:?}: everything refused has a reason");
        return verdict;
    }
    assert!(
        checksum::kept(&before, after),
        "{at:?}: {verdict:?}: a checksum that was right is wrong\n{before:02x?}\n{after:02x?}"
    );
    let veth = |ifindex: u32| tables.world.veth.get(&ifindex);
    match (at, action) {
        (At::FromContainer(from), verdict::ENDPOINT) => {
            let [from, to] = [from, verdict.ifindex()].map(|ifindex| veth(ifindex).expect("a container's"));
            if from.network != to.network {
                let as_host = turn::addresses(after).is_some_and(|(from, _)| is_host(tables, from));
                assert!(as_host, "{at:?}: {verdict:?}: to another network only by the host's addresses: {after:02x?}");
                assert_eq!(from.flags & veth_flag::INTERNAL, 0, "{at:?}: nothing leaves an internal network");
            }
        }
        (At::FromUplink(_), verdict::ENDPOINT) => {
            let to = veth(verdict.ifindex()).expect("into a container");
            assert_eq!(to.flags & veth_flag::INTERNAL, 0, "{at:?}: nothing from outside into an internal network");
        }
        (At::FromContainer(from), verdict::UPLINK | verdict::NEIGHBOUR) => {
            assert_eq!(verdict.ifindex(), INTERFACES.uplink);
            assert_ne!(from, INTERFACES.veth(INNER), "nothing leaves an internal network");
            assert!(
                turn::addresses(after).is_some_and(|(from, _)| is_host(tables, from)),
                "{at:?}: {verdict:?}: leaves as somebody else: {after:02x?}"
            );
        }
        (At::FromContainer(from), verdict::BRIDGE) => {
            assert_eq!(Some(verdict.ifindex()), veth(from).map(|veth| veth.bridge), "{at:?}: to its own bridge");
            assert_eq!(*after, before, "{at:?}: only handed on");
        }
        (At::FromContainer(_), verdict::PASS) => {
            assert!(
                to_the_stack(tables, verdict, after),
                "{at:?}: {verdict:?}: the stack would forward it: {after:02x?}"
            );
        }
        (At::FromUplink(_) | At::ToUplink(_), verdict::HOST | verdict::PASS) => {}
        (At::ToContainer(..), verdict::PASS) => assert_eq!(*after, before, "{at:?}: only looked at"),
        _ => panic!("{at:?}: {verdict:?}: no way to go from there"),
    }
    verdict
}

/// Whether an address is one of the host's.
fn is_host(tables: &Memory, address: &[u8]) -> bool {
    let World { host4, host6, .. } = &tables.world;
    host4.keys().any(|host| host.octets == *address) || host6.keys().any(|host| host.octets == *address)
}

/// Whether the host's stack keeps what a container sent and no hook carried on: it is for the host or a group, or the
/// stack will answer that it goes no further.
fn to_the_stack(tables: &Memory, verdict: Verdict, bytes: &[u8]) -> bool {
    if bytes[12..14] == ARP.to_be_bytes() {
        return true;
    }
    let Some((_, to)) = turn::addresses(bytes) else { return false };
    let on_link = match to {
        [first, _, _, _] => *first >= 224,
        [0xff, ..] => true,
        [0xfe, second, ..] => second & 0xc0 == 0x80,
        // What a container asks of its neighbours, or answers them, is the bridge's to carry.
        _ => matches!((bytes[20], bytes[54]), (58, 133..=137)),
    };
    let four = to.len() == 4;
    let ends = match verdict.reason() {
        reason if reason == Reason::StackRoute as u32 => true,
        reason if reason == Reason::StackTtl as u32 => bytes[if four { 22 } else { 21 }] <= 1,
        reason if reason == Reason::StackTooBig as u32 => !four || bytes[20] & 0x40 != 0,
        _ => false,
    };
    on_link || ends || is_host(tables, to)
}

/// Every entry has its mirror, which leads back.
fn books<A: Address>(tables: [BTreeMap<FlowKey<A>, Flow<A>>; 2]) {
    for (table, flows) in tables.iter().enumerate() {
        for (key, flow) in flows {
            let mirror = key.mirror(flow);
            let back = flows.get(&mirror).is_some_and(|flow| mirror.mirror(flow) == *key);
            assert!(back, "table {table}: {key:?} has no mirror {mirror:?}");
        }
    }
}

/// An endpoint's share is what it holds.
fn shares(tables: &Memory) {
    let four = tables.flows4(table::MAIN).into_values().map(|flow| (flow.owner, flow.flags));
    let six = tables.flows6(table::MAIN).into_values().map(|flow| (flow.owner, flow.flags));
    let owners: Vec<u32> =
        four.chain(six).filter(|(_, flags)| flags & flag::REPLY == 0).map(|(owner, _)| owner).collect();
    for member in MEMBERS {
        let count = owners.iter().filter(|owner| **owner == member.endpoint).count();
        assert_eq!(tables.holds(member.endpoint) as usize, count, "{member:?} holds what it opened");
    }
}

/// The table of cases, as [`hooks`] reads it: where a search begins. What goes on in it is also answered, complained
/// about, and sent as SCTP.
pub fn cases_for_hooks() -> Vec<Vec<u8>> {
    let of = |version| cases(version, INTERFACES).into_iter();
    Version::BOTH.into_iter().flat_map(of).flat_map(|case| variants(&case.steps)).collect()
}

fn variants(steps: &[Step]) -> Vec<Vec<u8>> {
    let number = |at: At| (0..=255).find(|number| place(*number) == at).unwrap_or_default();
    let packet = |number: u8, how: u8, bytes: &[u8]| {
        let [low, high] = (bytes.len() as u16).to_le_bytes();
        [&[number, how, low, high], bytes].concat()
    };
    let sent = |step: &Step| packet(number(step.at), how::MEND, &step.input);
    let mut variants = vec![[vec![0], steps.iter().flat_map(sent).collect()].concat()];
    let first = &steps[0];
    if matches!(first.action, verdict::DROP | verdict::PASS) {
        return variants;
    }
    let (answer, error) = (packet(0, how::MEND | how::ANSWER, &[]), packet(0, how::MEND | how::ERROR, &[]));
    let opener = sent(first);
    variants.push([&[0][..], &opener, &answer, &error, &opener, &error].concat());
    let (proto, l4) = if first.input[12..14] == [0x08, 0x00] { (23, 34) } else { (20, 54) };
    if first.input[proto] == UDP {
        let mut init = first.input.clone();
        (init[proto], init[l4 + 12]) = (SCTP, 1);
        let opener = packet(number(first.at), how::MEND, &init);
        variants.push([&[0][..], &opener, &answer, &error, &opener, &error].concat());
    }
    variants
}

/// The table of cases, as [`parse`] reads it.
pub fn cases_for_parse() -> Vec<Vec<u8>> {
    let of = |version| cases(version, INTERFACES).into_iter().flat_map(|case| case.steps);
    Version::BOTH.into_iter().flat_map(of).map(|step| [&[0], &step.input[..]].concat()).collect()
}
