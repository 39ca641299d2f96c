//! Building packets, with checksums computed over all that they cover: what the packet path adapts step by step must
//! come out the same.

use std::net::IpAddr;

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
            other => other,
        };
        let (dst, src) = self.macs;
        Self { macs: (src, dst), src: self.dst, dst: self.src, ttl: 64, body, ..self.clone() }
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let four = self.src.is_ipv4();
        let (proto, l4) = self.l4();
        let mut bytes = [self.macs.0, self.macs.1].concat();
        bytes.extend(if four { [0x08, 0x00] } else { [0x86, 0xdd] });
        let fragment = matches!(self.body, Body::FirstFragment(..));
        if four {
            let header = 20 + usize::from(self.options) * 4;
            let mut ip = vec![0x45 + self.options, 0];
            ip.extend(((header + l4.len()) as u16).to_be_bytes());
            let flags = match (fragment, self.divisible) {
                (true, _) => 0x20,
                (false, true) => 0,
                (false, false) => 0x40,
            };
            ip.extend([0x12, 0x34, flags, 0, self.ttl, proto, 0, 0]);
            ip.extend(octets(self.src));
            ip.extend(octets(self.dst));
            ip.resize(header, 1);
            let sum = checksum(&[&ip]);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            bytes.extend(ip);
        } else {
            // A fragment header (RFC 8200 §4.5): offset 0, more to come.
            let extension = if fragment { vec![proto, 0, 0, 1, 0, 0, 0, 7] } else { Vec::new() };
            bytes.extend([0x60, 0, 0, 0]);
            bytes.extend(((extension.len() + l4.len()) as u16).to_be_bytes());
            bytes.extend([if fragment { 44 } else { proto }, self.ttl]);
            bytes.extend(octets(self.src));
            bytes.extend(octets(self.dst));
            bytes.extend(extension);
        }
        bytes.extend(l4);
        bytes
    }

    fn l4(&self) -> (u8, Vec<u8>) {
        let four = self.src.is_ipv4();
        let icmp = if four { 1 } else { 58 };
        let ports = |sport: u16, dport: u16| [sport.to_be_bytes(), dport.to_be_bytes()].concat();
        let (proto, at, mut l4) = match self.body {
            Body::Tcp(sport, dport, flags) => {
                let mut tcp = ports(sport, dport);
                tcp.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
                (6, Some(16), tcp)
            }
            Body::Udp(sport, dport) | Body::UdpUnsummed(sport, dport) | Body::FirstFragment(sport, dport) => {
                let mut udp = ports(sport, dport);
                udp.extend(((8 + self.payload.len()) as u16).to_be_bytes());
                udp.extend([0, 0]);
                (17, (!matches!(self.body, Body::UdpUnsummed(..))).then_some(6), udp)
            }
            Body::EchoRequest(id) | Body::EchoReply(id) => {
                let request = matches!(self.body, Body::EchoRequest(_));
                let kind = match (four, request) {
                    (true, true) => 8,
                    (true, false) => 0,
                    (false, true) => 128,
                    (false, false) => 129,
                };
                let mut echo = vec![kind, 0, 0, 0];
                echo.extend(id.to_be_bytes());
                echo.extend([0, 1]);
                (icmp, Some(2), echo)
            }
            Body::Other(proto) => (proto, None, vec![0; 8]),
        };
        l4.extend(&self.payload);
        if let Some(at) = at {
            let sum = match (proto, four) {
                (1, true) => checksum(&[&l4]),
                _ => checksum(&[&pseudo(self.src, self.dst, proto, l4.len()), &l4]),
            };
            // RFC 768: a computed zero is sent as all ones.
            let sum = if proto == 17 && sum == 0 { 0xffff } else { sum };
            l4[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        (proto, l4)
    }
}

/// Whether every checksum in the frame is right, worked out anew. Frames that are not TCP, UDP or ICMP have only IPv4's.
pub fn checksums_are_right(bytes: &[u8]) -> bool {
    let four = bytes[12..14] == [0x08, 0x00];
    let l4 = 14 + if four { usize::from(bytes[14] & 0xf) * 4 } else { 40 };
    if four && checksum(&[&bytes[14..l4]]) != 0 {
        return false;
    }
    let proto = bytes[if four { 23 } else { 20 }];
    let (src, dst): (IpAddr, IpAddr) = if four {
        (<[u8; 4]>::try_from(&bytes[26..30]).map(Into::into), <[u8; 4]>::try_from(&bytes[30..34]).map(Into::into))
    } else {
        (<[u8; 16]>::try_from(&bytes[22..38]).map(Into::into), <[u8; 16]>::try_from(&bytes[38..54]).map(Into::into))
    }
    .into_both();
    match proto {
        17 if bytes[l4 + 6..l4 + 8] == [0, 0] => four,
        6 | 17 | 58 => checksum(&[&pseudo(src, dst, proto, bytes.len() - l4), &bytes[l4..]]) == 0,
        1 => checksum(&[&bytes[l4..]]) == 0,
        _ => true,
    }
}

trait IntoBoth<T> {
    fn into_both(self) -> (T, T);
}

impl<T, E: std::fmt::Debug> IntoBoth<T> for (Result<T, E>, Result<T, E>) {
    fn into_both(self) -> (T, T) {
        (self.0.expect("an address is as long as an address"), self.1.expect("an address is as long as an address"))
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    }
}

/// RFC 9293 §3.1, RFC 8200 §8.1.
fn pseudo(src: IpAddr, dst: IpAddr, proto: u8, length: usize) -> Vec<u8> {
    let mut bytes = [octets(src), octets(dst)].concat();
    bytes.extend((length as u32).to_be_bytes());
    bytes.extend([0, 0, 0, proto]);
    bytes
}

/// RFC 1071, over parts of even length but for the last.
pub(super) fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2)).map(|word| {
        let low = word.get(1).copied().unwrap_or_default();
        u32::from(u16::from_be_bytes([word[0], low]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_internets() {
        // RFC 1071 §3.
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
        // Over what it is part of, it comes to nothing; an odd byte is the upper half of a word.
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7, 0x22, 0x0d]]), 0);
        assert_eq!(checksum(&[&[0x12]]), !0x1200);
    }

    #[test]
    fn one_wrong_bit_makes_a_checksum_wrong() {
        for (src, dst) in [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")] {
            for body in [Body::Tcp(1, 2, 2), Body::Udp(3, 4), Body::EchoRequest(5), Body::EchoReply(6)] {
                let (src, dst) = (src.parse().expect("an address"), dst.parse().expect("an address"));
                let frame = Frame {
                    macs: ([2; 6], [4; 6]),
                    src,
                    dst,
                    ttl: 9,
                    options: 0,
                    divisible: false,
                    body,
                    payload: b"odd".to_vec(),
                };
                let mut bytes = frame.bytes();
                assert!(checksums_are_right(&bytes), "{frame:?}");
                *bytes.last_mut().expect("it is not empty") ^= 1;
                assert!(!checksums_are_right(&bytes), "{frame:?}");
            }
        }
    }
}
