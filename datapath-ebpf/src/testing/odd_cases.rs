//! The table of cases, continued: ICMP errors, fragments, SCTP, and the ways back to oneself.

use std::net::IpAddr;

use portlane_common::reason::Reason;

use super::{
    cases::{At, Step, Table},
    frame::{Body, Frame},
    quote::{IcmpError, fragments},
    world::{Member, OUTSIDE_MAC, PEER, QUIET, STORE, UPLINK_MAC, Version, WEB},
};
use crate::{
    stage::parse::{ACK, SYN},
    verdict,
};

/// SCTP's first chunks.
const INIT: u8 = 1;
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
    fn told(&self, told: (u8, u8), by: IpAddr, quoted: &Frame, original: &Frame, to: Member, bytes: usize) -> Step {
        let mut error = IcmpError {
            macs: (UPLINK_MAC, OUTSIDE_MAC),
            src: by,
            dst: self.version.host(),
            ttl: 60,
            icmp: told,
            mtu: 1400,
            quoted: quoted.bytes(),
            bytes,
        };
        let input = error.frame();
        error.macs = (to.mac(), to.gateway());
        error.dst = to.address(self.version);
        error.ttl -= 1;
        error.quoted = original.bytes();
        self.step(self.uplink(), input, verdict::ENDPOINT, self.interfaces.veth(to), error.frame())
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
                steps.push(self.told(told, by, &left, &original, WEB, whole));
            }
            if !matches!(body, Body::Sctp(..)) {
                steps.push(self.told(
                    IcmpError::expired(outside),
                    self.router(),
                    &left,
                    &original,
                    WEB,
                    self.ip_header() + LEAST,
                ));
            }
            self.case("what routers and the far side say of a container's packet reaches it, as if of its own", steps);
        }
        self.error_of_container();
        self.errors_about_nothing();
    }

    fn error_of_container(&mut self) {
        let version = self.version;
        let asked = self.arriving(version.host(), Body::Udp(33_333, 8080));
        let inside = asked.clone().to(WEB.address(version), 80).one_hop().with_macs(WEB.mac(), WEB.gateway());
        let mut error = IcmpError {
            macs: (WEB.gateway(), WEB.mac()),
            src: WEB.address(version),
            dst: version.outside(),
            ttl: 64,
            icmp: IcmpError::unreachable(version.host()),
            mtu: 0,
            quoted: inside.bytes(),
            bytes: 1000,
        };
        let input = error.frame();
        // The kernel fills the MAC addresses in: no next hop is known yet.
        error.src = version.host();
        error.ttl -= 1;
        error.quoted = Frame { ttl: inside.ttl, ..asked.clone() }.bytes();
        let steps = vec![
            self.delivered(self.uplink(), &asked, WEB, &inside),
            self.step(self.of(WEB), input, verdict::NEIGHBOUR, self.interfaces.uplink, error.frame()),
        ];
        self.case("what a container says of a packet to its published port comes from the host's address", steps);
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
        let refused = |at, input: Vec<u8>, reason| Step {
            reason: Some(reason),
            ..self.step(at, input.clone(), verdict::DROP, 0, input)
        };
        let steps = vec![
            self.step(self.uplink(), to_host.clone(), verdict::PASS, 0, to_host),
            refused(self.uplink(), direct, Reason::DirectAccess),
            refused(self.of(WEB), from_web, Reason::QuotedUnknown),
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
        let refused = |n: usize, reason| Step {
            reason: Some(reason),
            ..self.step(self.uplink(), came[n].clone(), verdict::DROP, 0, came[n].clone())
        };
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
        let steps = pieces.iter().map(|piece| self.step(self.uplink(), piece.clone(), verdict::PASS, 0, piece.clone()));
        let steps = steps.collect();
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
        for called in [version.host(), version.second(), version.address(1, 1), version.address(2, 1)] {
            for (caller, target, body, port) in [
                (WEB, WEB, Body::Tcp(30_004, 8080, SYN), 80),
                (PEER, WEB, Body::Udp(30_004, 8080), 80),
                (WEB, WEB, Body::Udp(30_004, 45_001), 10_001),
                (PEER, WEB, Body::Sctp(30_004, 3869, INIT), 3868),
                // Without icc a published port is reachable all the same, as under Docker.
                (QUIET, STORE, Body::Tcp(30_004, 7070, SYN), 70),
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
