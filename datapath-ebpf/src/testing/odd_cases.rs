//! The table of cases, continued: ICMP errors, fragments, SCTP, and the ways back to oneself.

use std::net::IpAddr;

use portlane_common::reason::Reason;

use super::{
    cases::{At, Step, Table},
    frame::{Body, Frame},
    quote::{IcmpError, behind_options, fragments},
    world::{Member, OUTSIDE_MAC, PEER, QUIET, STORE, UPLINK_MAC, Version, WEB},
};
use crate::{
    stage::parse::{ACK, SYN},
    verdict,
};

/// SCTP's first chunks.
pub(super) const INIT: u8 = 1;
const COOKIE_ECHO: u8 = 10;
/// Bytes of a quoted L4 header that are always told.
const LEAST: usize = 8;

impl Table {
    /// A router between the host and the machine outside.
    fn router(&self) -> IpAddr {
        self.version.address(0, 77)
    }

    fn ip_header(&self) -> usize {
        if self.version == Version::Four { 20 } else { 40 }
    }

    fn step(&self, at: At, input: Vec<u8>, action: u32, ifindex: u32, output: Vec<u8>) -> Step {
        Step { at, input, action, ifindex, reason: None, output }
    }

    /// An error about `quoted` (as it is seen out there) arrives, and reaches the container about `original`.
    fn told(&self, told: (u8, u8), by: IpAddr, quoted: Vec<u8>, original: Vec<u8>, to: Member, bytes: usize) -> Step {
        let mut error = self.by_router(told, by, quoted, bytes);
        let input = error.frame();
        error.macs = (to.mac(), to.gateway());
        error.dst = to.address(self.version);
        error.ttl -= 1;
        error.quoted = original;
        self.step(self.uplink(), input, verdict::ENDPOINT, self.interfaces.veth(to), error.frame())
    }

    /// An error that arrives from outside.
    fn by_router(&self, icmp: (u8, u8), src: IpAddr, quoted: Vec<u8>, bytes: usize) -> IcmpError {
        let (macs, dst) = ((UPLINK_MAC, OUTSIDE_MAC), self.version.host());
        IcmpError { macs, src, dst, ttl: 60, icmp, mtu: 1400, quoted, bytes }
    }

    pub(super) fn errors(&mut self) {
        let (version, outside) = (self.version, self.version.outside());
        let bodies = [Body::Tcp(30_001, 9000, SYN), Body::Udp(30_001, 9000), Body::EchoRequest(77)];
        for body in bodies.into_iter().chain([Body::Sctp(30_001, 9000, INIT)]) {
            let asked = self.sent(WEB, outside, body);
            let left = asked.clone().from(version.host(), 30_001).one_hop().with_macs(OUTSIDE_MAC, UPLINK_MAC);
            // An echo keeps its identifier.
            let left = if let Body::EchoRequest(id) = body { left.from(version.host(), id) } else { left };
            // Quoted as they left, and as they were sent: but for the TTL, which nobody turns back.
            let original = Frame { ttl: left.ttl, ..asked.clone() };
            let out = self.leaves(self.of(WEB), &asked, verdict::UPLINK, &left);
            // Where the quoted checksum is beyond what is told, the quoted packet is longer by the same bytes.
            let whole = if matches!(body, Body::Tcp(..)) { self.ip_header() + LEAST } else { 1000 };
            let mut steps = vec![out];
            for (told, by) in [
                (IcmpError::expired(outside), self.router()),
                (IcmpError::too_big(outside), self.router()),
                (IcmpError::unreachable(outside), outside),
            ] {
                steps.push(self.told(told, by, left.bytes(), original.bytes(), WEB, whole));
            }
            if !matches!(body, Body::Sctp(..)) {
                steps.push(self.told(
                    IcmpError::expired(outside),
                    self.router(),
                    left.bytes(),
                    original.bytes(),
                    WEB,
                    self.ip_header() + LEAST,
                ));
            }
            self.case("what routers and the far side say of a container's packet reaches it, as if of its own", steps);
        }
        self.errors_about_odd_packets();
        self.errors_of_container();
        self.errors_about_nothing();
    }

    /// What a container says of packets to its published ports, and of an answer to its own.
    fn errors_of_container(&mut self) {
        let (version, outside) = (self.version, self.version.outside());
        for (body, port, bytes) in [
            (Body::Tcp(33_333, 8080, SYN), 80, self.ip_header() + LEAST),
            (Body::Udp(33_333, 8080), 80, 1000),
            (Body::Udp(33_333, 8080), 80, self.ip_header() + LEAST),
            (Body::Sctp(33_333, 3869, INIT), 3868, self.ip_header() + LEAST),
        ] {
            let asked = self.arriving(version.host(), body);
            let inside = asked.clone().to(WEB.address(version), port).one_hop().with_macs(WEB.mac(), WEB.gateway());
            let error = self.said(inside.bytes(), bytes);
            let seen = Frame { ttl: inside.ttl, ..asked.clone() };
            // The kernel fills the MAC addresses in: no next hop is known yet.
            let left = IcmpError { src: version.host(), ttl: error.ttl - 1, quoted: seen.bytes(), ..error.clone() };
            let steps = vec![
                self.delivered(self.uplink(), &asked, WEB, &inside),
                self.step(self.of(WEB), error.frame(), verdict::NEIGHBOUR, self.interfaces.uplink, left.frame()),
            ];
            self.case("what a container says of a packet to its published port comes from the host's address", steps);
        }
        let asked = self.sent(WEB, outside, Body::EchoRequest(77));
        let left = asked.clone().from(version.host(), 77).one_hop().with_macs(OUTSIDE_MAC, UPLINK_MAC);
        let answer = left.answer();
        let back = answer.clone().to(WEB.address(version), 77).one_hop().with_macs(WEB.mac(), WEB.gateway());
        let error = self.said(back.bytes(), 1000);
        let seen = Frame { ttl: back.ttl, ..answer.clone() }.bytes();
        let (macs, src, ttl) = ((OUTSIDE_MAC, UPLINK_MAC), version.host(), error.ttl - 1);
        let out = IcmpError { macs, src, ttl, quoted: seen, ..error };
        let last = IcmpError { ttl: 1, ..error.clone() }.frame();
        let steps = vec![
            self.leaves(self.of(WEB), &asked, verdict::UPLINK, &left),
            self.delivered(self.uplink(), &answer, WEB, &back),
            self.step(self.of(WEB), error.frame(), verdict::UPLINK, self.interfaces.uplink, out.frame()),
            self.refused_bytes(self.of(WEB), last, Reason::TtlExpired),
        ];
        self.case("and so does what it says of an echo, unless that has no hop left", steps);
    }

    /// [`WEB`] says of a packet that it got that nobody there wants it.
    fn said(&self, quoted: Vec<u8>, bytes: usize) -> IcmpError {
        let (macs, src, dst) = ((WEB.gateway(), WEB.mac()), WEB.address(self.version), self.version.outside());
        IcmpError { macs, src, dst, ttl: 64, icmp: IcmpError::unreachable(dst), mtu: 0, quoted, bytes }
    }

    /// Errors about packets whose L4 header does not follow the IP header at once, or is in the first of several pieces.
    fn errors_about_odd_packets(&mut self) {
        let version = self.version;
        let mut asked = self.sent(WEB, version.outside(), Body::Udp(30_001, 9000));
        (asked.divisible, asked.payload) = (true, (0..100).collect());
        let seen = |asked: &Frame| asked.clone().from(version.host(), 30_001).one_hop();
        let left = seen(&asked).with_macs(OUTSIDE_MAC, UPLINK_MAC);
        let original = Frame { ttl: left.ttl, ..asked.clone() };
        let pair = |made: &dyn Fn(&Frame) -> Vec<u8>| (made(&left), made(&original));
        let first = pair(&|frame| fragments(&frame.bytes(), 64, 9).swap_remove(0));
        let behind = if version == Version::Four {
            pair(&|frame| Frame { options: 5, ..frame.clone() }.bytes())
        } else {
            pair(&|frame| behind_options(&frame.bytes()))
        };
        let whole = pair(&|frame| frame.bytes());
        let opened = self.leaves(self.of(WEB), &asked, verdict::UPLINK, &left);
        let tell = |(quoted, original): (Vec<u8>, Vec<u8>), bytes| {
            self.told(IcmpError::expired(version.outside()), self.router(), quoted, original, WEB, bytes)
        };
        // Options and extension headers, as far as eight bytes behind them.
        let room = if version == Version::Four { 20 + 20 + LEAST } else { 40 + 8 + LEAST };
        let last = self.told_at_last(&whole);
        let steps = vec![opened, tell(first, 1000), tell(behind.clone(), room), tell(behind, 1000), last];
        self.case("an error may quote a first fragment, IPv4 options and IPv6 extension headers", steps);
    }

    /// The same about a whole packet, with its last hop.
    fn told_at_last(&self, (quoted, original): &(Vec<u8>, Vec<u8>)) -> Step {
        let told = IcmpError::expired(self.version.outside());
        let mut error = self.by_router(told, self.router(), quoted.clone(), 1000);
        error.ttl = 1;
        let input = error.frame();
        (error.macs, error.dst) = ((WEB.mac(), WEB.gateway()), WEB.address(self.version));
        error.quoted = original.clone();
        self.step(self.uplink(), input, verdict::ENDPOINT, self.interfaces.veth(WEB), error.frame())
    }

    fn errors_about_nothing(&mut self) {
        let version = self.version;
        let stranger = self.sent(WEB, version.outside(), Body::Udp(1, 2));
        let error = |macs, src, dst| IcmpError {
            macs,
            src,
            dst,
            ttl: 64,
            icmp: IcmpError::unreachable(src),
            mtu: 0,
            quoted: stranger.bytes(),
            bytes: 28,
        };
        let (outside, host) = ((UPLINK_MAC, OUTSIDE_MAC), version.host());
        let to_host = error(outside, version.outside(), host).frame();
        let direct = error(outside, version.outside(), WEB.address(version)).frame();
        let from_web = error((WEB.gateway(), WEB.mac()), WEB.address(version), version.outside()).frame();
        let steps = vec![
            self.passed_bytes(self.uplink(), to_host),
            self.refused_bytes(self.uplink(), direct, Reason::DirectAccess),
            self.refused_bytes(self.of(WEB), from_web, Reason::QuotedUnknown),
        ];
        self.case("an error about no known packet is the host's, or refused", steps);
    }

    pub(super) fn pieces(&mut self) {
        let (version, host) = (self.version, self.version.host());
        let mut asked = self.arriving(host, Body::Udp(33_333, 8080));
        asked.payload = (0..100).collect();
        asked.divisible = true;
        let inside = asked.clone().to(WEB.address(version), 80).one_hop().with_macs(WEB.mac(), WEB.gateway());
        let (came, went) = (fragments(&asked.bytes(), 40, 7), fragments(&inside.bytes(), 40, 7));
        let veth = self.interfaces.veth(WEB);
        let into = |n: usize| self.step(self.uplink(), came[n].clone(), verdict::ENDPOINT, veth, went[n].clone());
        let refused = |n: usize, reason| self.refused_bytes(self.uplink(), came[n].clone(), reason);
        let steps =
            vec![into(0), into(1), refused(1, Reason::FragmentOverlap), refused(0, Reason::FragmentOverlap), into(2)];
        let overtaken = vec![refused(2, Reason::FragmentHeld), into(0), into(1), into(2)];
        self.case("fragments follow their first, and none comes twice", steps);
        self.case("a fragment that overtook the first is kept until that comes", overtaken);
        let mut sent = self.sent(WEB, version.outside(), Body::Udp(30_001, 53));
        sent.payload = (0..100).collect();
        sent.divisible = true;
        let left = sent.clone().from(host, 30_001).one_hop().with_macs(OUTSIDE_MAC, UPLINK_MAC);
        let (sent, left) = (fragments(&sent.bytes(), 64, 9), fragments(&left.bytes(), 64, 9));
        let uplink = self.interfaces.uplink;
        let steps = sent.iter().zip(left);
        let steps = steps.map(|(input, out)| self.step(self.of(WEB), input.clone(), verdict::UPLINK, uplink, out));
        let steps = steps.collect();
        self.case("a container's fragments leave as the host's", steps);
        let hosts = self.arriving(host, Body::Udp(33_333, 22));
        let pieces = fragments(&Frame { divisible: true, payload: vec![5; 64], ..hosts }.bytes(), 32, 3);
        let steps = pieces.into_iter().map(|piece| self.passed_bytes(self.uplink(), piece)).collect();
        self.case("fragments for the host itself are the host's", steps);
    }

    pub(super) fn associations(&mut self) {
        let (version, host) = (self.version, self.version.host());
        let asked = self.sent(WEB, version.outside(), Body::Sctp(30_002, 3868, INIT));
        let left = asked.clone().from(host, 30_002).one_hop().with_macs(OUTSIDE_MAC, UPLINK_MAC);
        let other = self.sent(WEB, version.outside(), Body::Sctp(30_003, 3868, COOKIE_ECHO));
        let answer = left.answer();
        let back = answer.clone().to(WEB.address(version), 30_002).one_hop().with_macs(WEB.mac(), WEB.gateway());
        let steps = vec![
            self.leaves(self.of(WEB), &asked, verdict::UPLINK, &left),
            self.delivered(self.uplink(), &answer, WEB, &back),
            self.refused(self.of(WEB), &other, Reason::NoFlow),
        ];
        self.case("an SCTP association leaves as the host's", steps);
        let asked = self.arriving(host, Body::Sctp(33_333, 3869, INIT));
        let inside = asked.clone().to(WEB.address(version), 3868).one_hop().with_macs(WEB.mac(), WEB.gateway());
        let answer = inside.answer();
        let left = answer.clone().from(host, 3869).one_hop();
        let steps = vec![
            self.delivered(self.uplink(), &asked, WEB, &inside),
            self.leaves(self.of(WEB), &answer, verdict::NEIGHBOUR, &left),
        ];
        self.case("a published SCTP port leads to another one, and the checksum is right", steps);
    }

    pub(super) fn round_trips(&mut self) {
        let version = self.version;
        let gateways = (1..=3).map(|network| version.address(network, 1));
        for called in [version.host(), version.second()].into_iter().chain(gateways) {
            for (caller, target, body, port) in [
                (WEB, WEB, Body::Tcp(30_004, 8080, SYN), 80),
                (PEER, WEB, Body::Tcp(30_004, 8080, SYN), 80),
                (PEER, WEB, Body::Udp(30_004, 8080), 80),
                (WEB, WEB, Body::Udp(30_004, 45_001), 10_001),
                (PEER, WEB, Body::Sctp(30_004, 3869, INIT), 3868),
                (WEB, WEB, Body::Sctp(30_004, 3869, INIT), 3868),
                // Without icc a published port is reachable all the same, as under Docker.
                (QUIET, STORE, Body::Tcp(30_004, 7070, SYN), 70),
                (QUIET, STORE, Body::Udp(30_004, 7070), 70),
                (QUIET, STORE, Body::Sctp(30_004, 7070, INIT), 70),
                (STORE, STORE, Body::Tcp(30_004, 7070, SYN), 70),
            ] {
                let asked = self.sent(caller, called, body);
                let published = match body {
                    Body::Tcp(_, port, _) | Body::Udp(_, port) | Body::Sctp(_, port, _) => port,
                    _ => 0,
                };
                let inside = asked.clone().from(called, 30_004).to(target.address(version), port).one_hop();
                let inside = inside.with_macs(target.mac(), target.gateway());
                let answer = inside.answer();
                let answer = match answer.body {
                    Body::Tcp(s, d, _) => Frame { body: Body::Tcp(s, d, SYN | ACK), ..answer },
                    _ => answer,
                };
                let back = answer.clone().from(called, published).to(caller.address(version), 30_004).one_hop();
                let back = back.with_macs(caller.mac(), caller.gateway());
                let steps = vec![
                    self.delivered(self.of(caller), &asked, target, &inside),
                    self.delivered(self.of(target), &answer, caller, &back),
                ];
                self.case("a container reaches a published port by every address of the host, itself included", steps);
            }
        }
    }
}
