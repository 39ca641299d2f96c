//! Packets as tests write them down: no more is said than what most of them care about.

use std::net::IpAddr;

use super::wire::{self, Wire};

/// Identification of a fragment.
const FRAGMENT: u32 = 0x1234;

/// A MAC address.
pub type Mac = [u8; 6];

/// An Ethernet frame with an IP packet in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Destination and source MAC.
    pub macs: (Mac, Mac),
    /// Source address; its family is the packet's.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Words of IPv4 options, filled with no-operation (RFC 791 §3.1).
    pub options: u8,
    /// Whether IPv4 routers may cut it up (the opposite of RFC 791's "don't fragment").
    pub divisible: bool,
    /// What it carries.
    pub body: Body,
    /// What that carries.
    pub payload: Vec<u8>,
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// TCP: ports and flags.
    Tcp(u16, u16, u8),
    /// UDP: ports.
    Udp(u16, u16),
    /// UDP over IPv4 without a checksum (RFC 768): ports.
    UdpUnsummed(u16, u16),
    /// An ICMP or ICMPv6 echo request with its identifier.
    EchoRequest(u16),
    /// An ICMP or ICMPv6 echo reply with its identifier.
    EchoReply(u16),
    /// A first fragment of UDP: ports.
    FirstFragment(u16, u16),
    /// SCTP: ports and the first chunk's type.
    Sctp(u16, u16, u8),
    /// Another protocol, by number.
    Other(u8),
}

impl Frame {
    /// The frame with other MAC addresses: destination, source.
    pub fn with_macs(mut self, dst: Mac, src: Mac) -> Self {
        self.macs = (dst, src);
        self
    }

    /// The frame from another address and port.
    pub fn from(mut self, src: IpAddr, port: u16) -> Self {
        self.src = src;
        self.body = match self.body {
            Body::Tcp(_, dport, flags) => Body::Tcp(port, dport, flags),
            Body::Udp(_, dport) => Body::Udp(port, dport),
            Body::UdpUnsummed(_, dport) => Body::UdpUnsummed(port, dport),
            Body::FirstFragment(_, dport) => Body::FirstFragment(port, dport),
            Body::EchoRequest(_) => Body::EchoRequest(port),
            Body::Sctp(_, dport, chunk) => Body::Sctp(port, dport, chunk),
            other => other,
        };
        self
    }

    /// The frame to another address and port.
    pub fn to(mut self, dst: IpAddr, port: u16) -> Self {
        self.dst = dst;
        self.body = match self.body {
            Body::Tcp(sport, _, flags) => Body::Tcp(sport, port, flags),
            Body::Udp(sport, _) => Body::Udp(sport, port),
            Body::UdpUnsummed(sport, _) => Body::UdpUnsummed(sport, port),
            Body::FirstFragment(sport, _) => Body::FirstFragment(sport, port),
            Body::EchoReply(_) => Body::EchoReply(port),
            Body::Sctp(sport, _, chunk) => Body::Sctp(sport, port, chunk),
            other => other,
        };
        self
    }

    /// The frame one hop further.
    pub fn one_hop(mut self) -> Self {
        self.ttl -= 1;
        self
    }

    /// What its receiver answers to the same MAC, with the ports turned round.
    pub fn answer(&self) -> Self {
        let body = match self.body {
            Body::Tcp(sport, dport, _) => Body::Tcp(dport, sport, 0x12),
            Body::Udp(sport, dport) => Body::Udp(dport, sport),
            Body::UdpUnsummed(sport, dport) => Body::UdpUnsummed(dport, sport),
            Body::FirstFragment(sport, dport) => Body::FirstFragment(dport, sport),
            Body::EchoRequest(id) => Body::EchoReply(id),
            // INIT is answered with INIT ACK, COOKIE ECHO with COOKIE ACK.
            Body::Sctp(sport, dport, chunk) => Body::Sctp(dport, sport, chunk + 1),
            other => other,
        };
        let (dst, src) = self.macs;
        Self { macs: (src, dst), src: self.dst, dst: self.src, ttl: 64, body, ..self.clone() }
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let wire = self.wire();
        match self.body {
            // All that it carries is in the first fragment, which says that there is more.
            Body::FirstFragment(..) => wire.packet(&wire.l4(), Some((FRAGMENT, 0, true))),
            _ => wire.bytes(),
        }
    }

    fn wire(&self) -> Wire {
        let (body, begin): (_, &[u8]) = match self.body {
            Body::Tcp(sport, dport, flags) => {
                (wire::Body::Tcp { ports: (sport, dport), flags, numbers: (1, 2), offset: 0x50 }, &[])
            }
            Body::Udp(sport, dport) | Body::FirstFragment(sport, dport) => {
                (wire::Body::Udp { ports: (sport, dport), summed: true }, &[])
            }
            Body::UdpUnsummed(sport, dport) => (wire::Body::Udp { ports: (sport, dport), summed: false }, &[]),
            Body::EchoRequest(id) => (wire::Body::Echo { request: true, id }, &[]),
            Body::EchoReply(id) => (wire::Body::Echo { request: false, id }, &[]),
            Body::Sctp(sport, dport, chunk) => (wire::Body::Sctp { ports: (sport, dport), chunk }, &[]),
            Body::Other(proto) => (wire::Body::Other { proto }, &[0; 8]),
        };
        let Self { macs, src, dst, ttl, options, divisible, .. } = *self;
        let payload = [begin, &self.payload].concat();
        Wire { macs, src, dst, ttl, options, divisible, body, payload, padding: 0 }
    }
}
