//! Makes sequences up: mostly conversations, with answers to what really came out, and now and then something odd.
//!
//! Ports and addresses come from small pools, so that conversations get in each other's way.

use std::{collections::VecDeque, net::IpAddr};

use super::{
    cases::At,
    choices::Choices,
    sequence::{Change, Event, Outcome, Play},
    wire::{Body, Head, Wire},
    world::{
        INNER, Interfaces, LEFT, MEMBERS, Member, OTHER, OUTSIDE_MAC, PEER, QUIET, STORE, UPLINK_MAC, Version, WEB,
    },
};
use crate::{
    stage::parse::{ACK, FIN, RST, SYN},
    verdict,
};

/// Most packets and changes that are made up; fragments come on top.
const MOST: usize = 12;
/// Ports of clients: of the dynamic range, of a published one, published themselves, low, and published containers'.
const CLIENTS: [u16; 7] = [30_001, 45_001, 30_001, 8080, 700, 80, 81];
/// Ports of servers outside; one of them is a client's, too.
const SERVERS: [u16; 4] = [53, 9000, 53, 30_001];
/// Ports of the host that somebody outside asks for; most are published.
const ASKED: [u16; 10] = [8080, 8080, 9090, 45_001, 40_000, 7070, 22, 30_001, 9191, LEFT];
/// Containers, those that may do most first.
const SPEAKERS: [Member; 10] = [WEB, PEER, OTHER, WEB, PEER, WEB, QUIET, STORE, QUIET, INNER];
/// SCTP chunks: INIT, INIT ACK, DATA, ABORT, COOKIE ECHO, SHUTDOWN COMPLETE.
const CHUNKS: [u8; 6] = [1, 2, 0, 6, 10, 14];

struct Maker<'a, C> {
    choices: &'a mut C,
    version: Version,
    play: Play,
    /// Fragments on their way.
    pieces: VecDeque<Event>,
    id: u32,
}

/// A sequence, and what the host build makes of it.
pub fn sequence(choices: &mut impl Choices, interfaces: Interfaces) -> Play {
    let version = choices.pick(&Version::BOTH);
    let length = 1 + choices.below(MOST);
    let mut maker = Maker { choices, version, play: Play::begin(interfaces), pieces: VecDeque::new(), id: 1 };
    for _ in 0..length {
        if let Some(event) = maker.event() {
            maker.happen(event);
        }
    }
    while let Some(event) = maker.pieces.pop_front() {
        maker.happen(event);
    }
    maker.play
}

impl<C: Choices> Maker<'_, C> {
    fn happen(&mut self, event: Event) {
        self.play.happen(event);
        // What overtook its first fragment comes again, behind it.
        let back: Vec<_> = self.play.memory.put_back.borrow_mut().drain(..).collect();
        for (ifindex, bytes) in back.into_iter().rev() {
            let uplink = ifindex == self.play.interfaces.uplink;
            let at = if uplink { At::FromUplink(ifindex) } else { At::FromContainer(ifindex) };
            self.pieces.push_front(Event::Packet { at, bytes });
        }
    }

    fn event(&mut self) -> Option<Event> {
        if !self.pieces.is_empty() && !self.choices.rarely(4) {
            return self.pieces.pop_front();
        }
        let (at, wire) = match self.choices.below(32) {
            0..8 => self.by_container(),
            8..13 => self.by_outside(),
            13..15 => self.by_host(),
            15..26 => self.answer()?,
            26..29 => self.error()?,
            29 => self.bridged(),
            30 => return Some(Event::Change(self.change())),
            _ => return self.again(),
        };
        let wire = self.oddity(wire);
        if self.choices.rarely(8) {
            self.cut(at, &wire);
            return self.pieces.pop_front();
        }
        let bytes = self.spoil(wire.bytes());
        Some(Event::Packet { at, bytes })
    }

    fn remote(&mut self) -> IpAddr {
        self.version.address(0, self.choices.pick(&[2, 2, 3]))
    }

    fn opening(&mut self, sport: u16, dport: u16) -> Body {
        let ports = (sport, dport);
        match self.choices.below(16) {
            0..6 => Body::Tcp { ports, flags: SYN, numbers: (self.choices.word(), 0), offset: 0x50 },
            6..10 => Body::Udp { ports, summed: !self.choices.rarely(5) },
            10..12 => Body::Echo { request: !self.choices.rarely(6), id: sport },
            12..14 => Body::Sctp { ports, chunk: self.chunk() },
            14 => {
                let flags = self.flags();
                Body::Tcp { ports, flags, numbers: (self.choices.word(), self.choices.word()), offset: 0x50 }
            }
            _ => Body::Other { proto: self.choices.pick(&[47, 50, 0, 60, 2]) },
        }
    }

    fn chunk(&mut self) -> u8 {
        if self.choices.rarely(3) { self.choices.pick(&CHUNKS) } else { 1 }
    }

    fn flags(&mut self) -> u8 {
        self.choices.pick(&[ACK, FIN | ACK, SYN | ACK, RST, SYN, ACK | 8, RST | ACK, 0, FIN, SYN | FIN])
    }

    fn wire(&mut self, macs: ([u8; 6], [u8; 6]), src: IpAddr, dst: IpAddr, body: Body) -> Wire {
        let length = self.choices.pick(&[9, 0, 1, 64]);
        let payload = (0..length).map(|at| b"portlane!"[at % 9]).collect();
        Wire { macs, src, dst, ttl: 64, options: 0, divisible: false, body, payload, padding: 0 }
    }

    fn by_container(&mut self) -> (At, Wire) {
        let by = self.choices.pick(&SPEAKERS);
        let sport = self.choices.pick(&CLIENTS);
        let version = self.version;
        let (dst, dport, mac) = match self.choices.below(16) {
            0..10 => (self.remote(), self.choices.pick(&SERVERS), by.gateway()),
            10..13 => (self.host(), self.choices.pick(&ASKED), by.gateway()),
            13 => (self.gateway(by), self.choices.pick(&ASKED), by.gateway()),
            _ => {
                let peer = self.choices.pick(&MEMBERS);
                let mac = if peer.network == by.network { peer.mac() } else { by.gateway() };
                (peer.address(version), self.choices.pick(&[80, 81, 91]), mac)
            }
        };
        let body = self.opening(sport, dport);
        let wire = self.wire((mac, by.mac()), by.address(version), dst, body);
        (At::FromContainer(self.play.interfaces.veth(by)), wire)
    }

    /// Of the container's own network, or of another.
    fn gateway(&mut self, of: Member) -> IpAddr {
        let network = if self.choices.rarely(3) { self.choices.pick(&MEMBERS).network } else { of.network };
        self.version.address(network, 1)
    }

    fn host(&mut self) -> IpAddr {
        self.version.address(0, self.choices.pick(&[1, 9]))
    }

    fn by_outside(&mut self) -> (At, Wire) {
        let (sport, dport) = (self.choices.pick(&CLIENTS), self.choices.pick(&ASKED));
        let dst = match self.choices.below(16) {
            0..14 => self.host(),
            14 => self.choices.pick(&MEMBERS).address(self.version),
            _ => self.version.address(0, 200),
        };
        let src = if self.choices.rarely(24) { WEB.address(self.version) } else { self.remote() };
        let body = self.opening(sport, dport);
        (At::FromUplink(self.play.interfaces.uplink), self.wire((UPLINK_MAC, OUTSIDE_MAC), src, dst, body))
    }

    fn by_host(&mut self) -> (At, Wire) {
        let (sport, dport) = (self.choices.pick(&CLIENTS), self.choices.pick(&SERVERS));
        let (src, dst) = (self.host(), self.remote());
        let body = self.opening(sport, dport);
        (At::ToUplink(self.play.interfaces.uplink), self.wire((OUTSIDE_MAC, UPLINK_MAC), src, dst, body))
    }

    /// What the host says to a container, or the bridge floods.
    fn bridged(&mut self) -> (At, Wire) {
        let (to, uplink) = (self.choices.pick(&MEMBERS), self.play.interfaces.uplink);
        let by = self.choices.pick(&MEMBERS);
        let origin = self.choices.pick(&[0, self.play.interfaces.veth(by), uplink]);
        let (src, dst) = (by.address(self.version), to.address(self.version));
        let body = self.opening(1, 2);
        let wire = self.wire((to.mac(), to.gateway()), src, dst, body);
        (At::ToContainer(self.play.interfaces.veth(to), origin), wire)
    }

    /// A packet that came out of an earlier step, and where its receiver's answer is met.
    fn received(&mut self) -> Option<(At, Vec<u8>)> {
        let interfaces = self.play.interfaces;
        let delivered: Vec<_> = self.play.steps.iter().filter_map(|step| whereto(interfaces, step)).collect();
        if delivered.is_empty() {
            return None;
        }
        // The last one first.
        let nth = self.choices.below(delivered.len());
        delivered.into_iter().rev().nth(nth).map(|(at, bytes)| (at, bytes.to_vec()))
    }

    fn answer(&mut self) -> Option<(At, Wire)> {
        let (at, bytes) = self.received()?;
        let mut wire = Wire::read(&bytes)?.turned();
        wire.macs = macs(at, &self.play, wire.macs);
        let other = self.choices.rarely(4);
        match &mut wire.body {
            Body::Tcp { flags, numbers, offset, .. } => {
                let (sequence, acknowledged) = *numbers;
                *offset = 0x50;
                *flags = match *flags & (SYN | ACK) {
                    _ if other => self.flags(),
                    SYN => SYN | ACK,
                    _ => ACK,
                };
                let next = if *flags & SYN == 0 { acknowledged } else { self.choices.word() };
                *numbers = (next, sequence.wrapping_add(1));
            }
            Body::Sctp { chunk, .. } => {
                *chunk = if other { self.choices.pick(&CHUNKS) } else { 2 - (*chunk != 1) as u8 * 2 }
            }
            _ => {}
        }
        Some((at, wire))
    }

    /// An ICMP error about a packet that was received, by who received it or a router before that.
    fn error(&mut self) -> Option<(At, Wire)> {
        let (at, mut bytes) = self.received()?;
        let about = Head::read(&bytes)?;
        let four = about.src.is_ipv4();
        if self.choices.rarely(6) {
            // Invented: about another port, or protocol.
            let place = about.l4.0 + self.choices.below(4);
            *bytes.get_mut(place)? ^= self.choices.byte() | 1;
        }
        let least = about.l4.0 + 8;
        let end = self.choices.pick(&[least, about.l4.1, least, least + 4, least - 3]).min(bytes.len());
        let (kind, code) = if four {
            self.choices.pick(&[(3, 4), (3, 3), (11, 0), (12, 0), (4, 0)])
        } else {
            self.choices.pick(&[(2, 0), (1, 4), (3, 0), (4, 0)])
        };
        let by_router = matches!(at, At::FromUplink(_)) && self.choices.rarely(3);
        let src = if by_router { self.version.address(0, 77) } else { about.dst };
        let mut wire = self.wire(
            (bytes[6..12].try_into().ok()?, bytes[..6].try_into().ok()?),
            src,
            about.src,
            Body::Error { kind, code },
        );
        wire.macs = macs(at, &self.play, wire.macs);
        wire.payload = bytes[14..end].to_vec();
        Some((at, wire))
    }

    /// An earlier packet, as it was or a little different.
    fn again(&mut self) -> Option<Event> {
        let packets: Vec<_> =
            self.play.steps.iter().filter(|(event, _)| matches!(event, Event::Packet { .. })).collect();
        if packets.is_empty() {
            return None;
        }
        let (event, _) = packets[packets.len() - 1 - self.choices.below(packets.len())];
        let Event::Packet { at, bytes } = event.clone() else { return None };
        let bytes = match Wire::read(&bytes) {
            Some(mut wire) => {
                if let Body::Tcp { flags, .. } = &mut wire.body {
                    *flags = self.flags();
                }
                wire.bytes()
            }
            None => bytes,
        };
        Some(Event::Packet { at, bytes })
    }

    fn change(&mut self) -> Change {
        let (publish, to) = (self.choices.pick(&[2, 1, 3, 4, 5, 6, 7, 8]), self.choices.below(MEMBERS.len()));
        let network = self.choices.pick(&[1, 3, 2]);
        match self.choices.below(8) {
            0..3 => Change::Move { publish, to },
            3 => Change::Withdraw { publish },
            4 | 5 => Change::Add { to },
            6 => Change::Icc { network },
            _ => Change::Masquerade { network },
        }
    }

    fn oddity(&mut self, mut wire: Wire) -> Wire {
        match self.choices.below(48) {
            41 => wire.ttl = 1,
            42 => wire.ttl = self.choices.pick(&[0, 2]),
            43 => wire.payload = vec![7; self.choices.pick(&[1452, 1460, 1473, 1600])],
            44 if wire.src.is_ipv4() => wire.options = 1 + self.choices.below(10) as u8,
            45 => wire.padding = 1 + self.choices.below(16) as u8,
            46 => wire.divisible = true,
            47 => wire.macs.1 = PEER.mac(),
            40 => wire.src = PEER.address(self.version),
            _ => {}
        }
        wire
    }

    /// In pieces, which come in any order, and again, and overlapping.
    fn cut(&mut self, at: At, wire: &Wire) {
        let mut wire = wire.clone();
        wire.payload.resize(wire.payload.len().max(40), b'f');
        let length = wire.l4().len();
        let first = self.choices.pick(&[24, 8, 16, 32]);
        let second = first + self.choices.pick(&[8, 16]);
        let mut parts = vec![0..first, first..second, second..length];
        match self.choices.below(12) {
            4 | 5 => parts.swap(0, 1),
            6 => parts.rotate_left(1),
            7 => parts.reverse(),
            8 => parts.push(first..second),
            9 => parts[1].end = second + 8,
            10 => parts[2].start = first,
            11 => parts.truncate(2),
            _ => {}
        }
        self.id += usize::from(!self.choices.rarely(8)) as u32;
        let id = self.id;
        self.pieces.extend(parts.into_iter().map(|part| Event::Packet { at, bytes: wire.piece(id, part) }));
    }

    /// Now and then what should not be: a wrong bit, an early end.
    fn spoil(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        match self.choices.below(48) {
            45 | 46 => {
                let place = 14 + self.choices.below(bytes.len() - 14);
                // Only the kernel knows where other addresses lead.
                let addresses = if bytes[14] >> 4 == 4 { 26..34 } else { 22..54 };
                if !addresses.contains(&place) {
                    bytes[place] ^= 1 << self.choices.below(8);
                }
            }
            // The kernel runs no program over less than an IP header.
            47 => bytes.truncate(54 + self.choices.below(24)),
            _ => {}
        }
        bytes
    }
}

/// Where the answer to what came out of a step is met, and what came out.
fn whereto(interfaces: Interfaces, (event, outcome): &(Event, Option<Outcome>)) -> Option<(At, &[u8])> {
    let (Event::Packet { at, .. }, Some(Outcome { verdict, bytes, .. })) = (event, outcome) else { return None };
    let uplink = interfaces.uplink;
    let at = match (at, verdict.action()) {
        (_, verdict::ENDPOINT) => At::FromContainer(verdict.ifindex()),
        (_, verdict::UPLINK | verdict::NEIGHBOUR) => At::FromUplink(uplink),
        (At::ToUplink(_), verdict::PASS | verdict::HOST) => At::FromUplink(uplink),
        (At::FromUplink(_), verdict::PASS | verdict::HOST) => At::ToUplink(uplink),
        _ => return None,
    };
    Some((at, bytes))
}

/// The MAC addresses of what is met there: those of a packet that the kernel finds the neighbour for are not right yet.
fn macs(at: At, play: &Play, turned: ([u8; 6], [u8; 6])) -> ([u8; 6], [u8; 6]) {
    match at {
        At::FromUplink(_) => (UPLINK_MAC, OUTSIDE_MAC),
        At::ToUplink(_) => (OUTSIDE_MAC, UPLINK_MAC),
        At::FromContainer(ifindex) => {
            (turned.0, play.memory.world.veth.get(&ifindex).map_or(turned.1, |veth| veth.mac))
        }
        At::ToContainer(..) => turned,
    }
}
