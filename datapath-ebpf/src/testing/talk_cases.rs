//! The table of cases, continued: how TCP connections begin and end, and what happens to a source port that is taken.

use portlane_common::{family::Address, flow::FlowKey};

use super::{
    cases::{OPENERS, Step, Table},
    frame::Body,
    odd_cases::INIT,
    sequence::SECRET,
    world::{Member, OUTSIDE_MAC, PEER, RANGE, UPLINK_MAC, Version, WEB, four, six},
};
use crate::{
    stage::{
        nat::{draw, nth_port},
        parse::{ACK, FIN, RST, SYN},
    },
    verdict,
};

/// Source port of the container's connection, which it leaves with.
const OWN: u16 = 30_001;
/// The server's port outside.
const SERVER: u16 = 9000;

impl Table {
    /// A segment that [`WEB`] sends to the server outside.
    fn says(&self, flags: u8) -> Step {
        let segment = self.sent(WEB, self.version.outside(), Body::Tcp(OWN, SERVER, flags));
        let left = segment.clone().from(self.version.host(), OWN).one_hop().with_macs(OUTSIDE_MAC, UPLINK_MAC);
        self.leaves(self.of(WEB), &segment, verdict::UPLINK, &left)
    }

    /// A segment that the server outside sends to [`WEB`].
    fn hears(&self, flags: u8) -> Step {
        let segment = self.arriving(self.version.host(), Body::Tcp(SERVER, OWN, flags));
        let inside = segment.clone().to(WEB.address(self.version), OWN).one_hop();
        self.delivered(self.uplink(), &segment, WEB, &inside.with_macs(WEB.mac(), WEB.gateway()))
    }

    pub(super) fn connections(&mut self) {
        let (says, hears) = (|flags| self.says(flags), |flags| self.hears(flags));
        let open = || vec![says(SYN), hears(SYN | ACK), says(ACK)];
        let closed = || [open(), vec![says(FIN | ACK), hears(FIN | ACK), says(ACK)]].concat();
        let by_server = self.passed(self.uplink(), &self.arriving(self.version.host(), Body::Tcp(SERVER, OWN, SYN)));
        let cases = [
            (
                "both sides of a TCP connection may open it at once",
                vec![says(SYN), hears(SYN), says(SYN | ACK), hears(SYN | ACK), says(ACK), hears(ACK)],
            ),
            (
                "what is said again to open a connection goes the way of the first",
                vec![says(SYN), says(SYN), hears(SYN | ACK), hears(SYN | ACK), says(ACK)],
            ),
            (
                "one side of a connection may close it, and the other goes on",
                [open(), vec![says(FIN | ACK), hears(ACK), hears(ACK), says(ACK), hears(FIN | ACK), says(ACK)]]
                    .concat(),
            ),
            (
                "a reset from outside is passed on, and if it was not believed the connection goes on",
                [open(), vec![hears(RST), says(ACK), hears(ACK)]].concat(),
            ),
            ("a container's reset is passed on", [open(), vec![says(RST | ACK), hears(ACK)]].concat()),
            (
                "on the tuple of a connection that is over its opener begins anew",
                [closed(), vec![says(SYN), hears(SYN | ACK), says(ACK), hears(ACK)]].concat(),
            ),
            ("and the far side's SYN is the host's to answer", [closed(), vec![by_server]].concat()),
        ];
        for (name, steps) in cases {
            self.case(name, steps);
        }
        self.reopened();
    }

    /// A client comes back with the port of its last connection, which is over.
    fn reopened(&mut self) {
        let version = self.version;
        let (uplink, of) = (self.uplink(), self.of(WEB));
        let asks = |flags| {
            let asked = self.arriving(version.host(), Body::Tcp(33_333, 8080, flags));
            let inside = asked.clone().to(WEB.address(version), 80).one_hop().with_macs(WEB.mac(), WEB.gateway());
            self.delivered(uplink, &asked, WEB, &inside)
        };
        let answers = |flags, action| {
            let answer = self.sent(WEB, version.outside(), Body::Tcp(80, 33_333, flags));
            let left = answer.clone().from(version.host(), 8080).one_hop();
            let macs = if action == verdict::UPLINK { (OUTSIDE_MAC, UPLINK_MAC) } else { left.macs };
            self.leaves(of, &answer, action, &left.with_macs(macs.0, macs.1))
        };
        let steps = vec![
            asks(SYN),
            answers(SYN | ACK, verdict::NEIGHBOUR),
            asks(ACK),
            answers(FIN | ACK, verdict::UPLINK),
            asks(FIN | ACK),
            answers(ACK, verdict::UPLINK),
            asks(SYN),
            answers(SYN | ACK, verdict::UPLINK),
            asks(ACK),
        ];
        self.case("a client opens a published port anew from the port of a connection that is over", steps);
    }

    pub(super) fn taken_ports(&mut self) {
        let version = self.version;
        for opener in OPENERS.into_iter().chain([(|s, d| Body::Sctp(s, d, INIT)) as fn(u16, u16) -> Body]) {
            let body = opener(OWN, SERVER);
            let drawn = self.drawn(PEER, body);
            let mut steps = Vec::new();
            for (by, port) in [(WEB, OWN), (PEER, drawn)] {
                let asked = self.sent(by, version.outside(), body);
                let left = asked.clone().from(version.host(), port).one_hop().with_macs(OUTSIDE_MAC, UPLINK_MAC);
                let answer = left.answer();
                let back = answer.clone().to(by.address(version), OWN).one_hop().with_macs(by.mac(), by.gateway());
                steps.push(self.leaves(self.of(by), &asked, verdict::UPLINK, &left));
                steps.push(self.delivered(self.uplink(), &answer, by, &back));
            }
            self.case("a second container with the source port of the first leaves by another, and both hear", steps);
        }
    }

    /// The port that is drawn in the place of a taken one.
    fn drawn(&self, by: Member, body: Body) -> u16 {
        let (src, dst, zone) = (by.address(self.version), self.version.outside(), self.interfaces.veth(by));
        let dport = if matches!(body, Body::EchoRequest(_)) { 0 } else { SERVER };
        let start = match self.version {
            Version::Four => start(four(src), four(dst), dport, zone),
            Version::Six => start(six(src), six(dst), dport, zone),
        };
        let is_free = |port: &u16| !matches!(body, Body::Udp(..)) || !RANGE.contains(*port);
        (1..).map(|n| nth_port(OWN, start, n)).find(is_free).unwrap_or_default()
    }
}

fn start<A: Address>(src: A, dst: A, dport: u16, zone: u32) -> u32 {
    draw(&FlowKey { src, dst, sport: OWN, dport, zone, proto: 0, pad: 0, pad2: 0 }, SECRET)
}
