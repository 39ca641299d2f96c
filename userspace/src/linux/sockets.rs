//! Which ports processes of the host have.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, HashMap},
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use portlane_common::span::Span;

pub use super::diag::Connected;
use super::{Attempt, LinuxError, diag, pids, sysctl::Folder};
use crate::model::Proto;

/// A socket that takes what is sent to a port: TCP that listens, UDP that has no peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Protocol.
    pub proto: Proto,
    /// Address; `::` may stand for IPv4 too.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Number of the socket, by which its process is found.
    pub inode: u64,
}

/// The listening sockets at one moment.
#[derive(Debug, Default)]
pub struct Listeners {
    by_port: BTreeMap<(Proto, u16), Vec<Listener>>,
    holders: OnceCell<HashMap<u64, String>>,
}

impl Listeners {
    /// Reads those of the network namespace that portlane runs in: from sock_diag, or, in a kernel without it, from
    /// `/proc/net`. A family that the kernel lacks has none.
    ///
    /// # Errors
    /// `/proc/net` cannot be read.
    pub fn read() -> Result<Self, LinuxError> {
        if let Ok(found) = diag::listeners() {
            return Ok(found.into_iter().collect());
        }
        let mut found = Vec::new();
        for (proto, file) in [(Proto::Tcp, "tcp"), (Proto::Tcp, "tcp6"), (Proto::Udp, "udp"), (Proto::Udp, "udp6")] {
            let path = format!("/proc/thread-self/net/{file}");
            match fs::read_to_string(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                text => found.extend(parse(proto, &text.attempt(|| format!("read {path}"))?)),
            }
        }
        Ok(found.into_iter().collect())
    }

    /// Every one of them.
    pub fn iter(&self) -> impl Iterator<Item = &Listener> {
        self.by_port.values().flatten()
    }

    /// Who already has a port that is to be published on `address` (none: on all), like `nginx (pid 123)`. A listener that
    /// `keeps` it is not in the way of what is published on all.
    ///
    /// `::` counts as IPv4 too: `/proc/net` doesn't tell the sockets for which it is not.
    pub fn holder(
        &self,
        proto: Proto,
        address: Option<IpAddr>,
        port: u16,
        keeps: impl Fn(IpAddr) -> bool,
    ) -> Option<String> {
        let wanted = address.filter(|address| !address.is_unspecified());
        let conflicts = |listener: &&Listener| match (listener.address, wanted) {
            (found, None) => !keeps(found),
            (IpAddr::V4(found), Some(IpAddr::V6(_))) if found.is_unspecified() => false,
            (found, Some(wanted)) => found.is_unspecified() || found == wanted,
        };
        let listener = self.by_port.get(&(proto, port))?.iter().find(conflicts)?;
        let holders = self.holders.get_or_init(pids::socket_holders);
        let unknown = || format!("a socket of another process namespace ({})", listener.address);
        Some(holders.get(&listener.inode).cloned().unwrap_or_else(unknown))
    }
}

/// Ends the sockets of these protocols, TCP or UDP, with a peer that `is_meant` names. Their processes are told ECONNABORTED; over UDP, if they
/// send before they hear of it, EDESTADDRREQ.
///
/// # Errors
/// The kernel has no sock_diag, or cannot end sockets (`CONFIG_INET_DIAG_DESTROY`).
pub fn end(protos: &[Proto], is_meant: impl Fn(Connected) -> bool) -> Result<(), LinuxError> {
    diag::end(protos, is_meant).attempt(|| "end the sockets of a container that is gone".to_owned())
}

impl FromIterator<Listener> for Listeners {
    fn from_iter<I: IntoIterator<Item = Listener>>(found: I) -> Self {
        let mut listeners = Self::default();
        for listener in found {
            listeners.by_port.entry((listener.proto, listener.port)).or_default().push(listener);
        }
        listeners
    }
}

/// Where the kernel takes ports from that nobody chose.
///
/// # Errors
/// The setting cannot be read.
pub fn ephemeral_range() -> Result<Span, LinuxError> {
    let text = Folder::own_ipv4()?.get("ip_local_port_range")?;
    let mut ports = text.split_whitespace().map(str::parse);
    match (ports.next(), ports.next()) {
        (Some(Ok(first)), Some(Ok(last))) => Ok(Span { first, last }),
        _ => Err(LinuxError::Unusable {
            attempt: "read ip_local_port_range".to_owned(),
            problem: format!("`{text}` is no range of ports"),
        }),
    }
}

/// Ports of that range which the administrator has set aside.
///
/// # Errors
/// The setting cannot be read.
pub fn reserved_ports() -> Result<Vec<Span>, LinuxError> {
    Ok(parse_spans(&Folder::own_ipv4()?.get("ip_local_reserved_ports")?))
}

fn parse_spans(text: &str) -> Vec<Span> {
    let spans = text.trim().split(',').filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(Span { first: first.parse().ok()?, last: last.parse().ok()? })
    });
    spans.collect()
}

/// The listening sockets of one table of `/proc/net`.
fn parse(proto: Proto, table: &str) -> impl Iterator<Item = Listener> {
    table.lines().skip(1).filter_map(move |line| parse_line(proto, line))
}

/// `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode …`
fn parse_line(proto: Proto, line: &str) -> Option<Listener> {
    /// States of `include/net/tcp_states.h`; UDP borrows TCP's CLOSE for a socket without a peer.
    const LISTEN: &str = "0A";
    const CLOSE: &str = "07";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let wanted = match proto {
        Proto::Tcp | Proto::Sctp => LISTEN,
        Proto::Udp => CLOSE,
    };
    if *fields.get(3)? != wanted {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    Some(Listener {
        proto,
        address: parse_address(address)?,
        port: u16::from_str_radix(port, 16).ok()?,
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// An address as the kernel prints it: words of 32 bits, each in the machine's order.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut octets = [0; 16];
            for (index, octets) in octets.chunks_exact_mut(4).enumerate() {
                octets.copy_from_slice(&word(index * 8)?);
            }
            // An IPv6 socket bound to ::ffff:192.0.2.1 takes IPv4 alone.
            Some(IpAddr::from(Ipv6Addr::from(octets)).to_canonical())
        }
        _ => None,
    }
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    const HEADER: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
    const TCP: &str = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 22 1 0 100 0 0 10 0
   2: 0100007F:8E1E 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 99 1 0 20 4 30 10 -1
   3: torn";
    const TCP6: &str = "   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 80 1 0 100 0 0 10 0
   1: B80D0120000000000000000001000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 443 1 0
   2: 0000000000000000FFFF0000010200C0:2710 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 10 1 0";
    const UDP: &str =
        "  10: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 53 2 0 0
  11: 0100007F:9C40 0100007F:0035 01 00000000:00000000 00:00000000 00000000     0        0 54 2 0 0";

    fn found(proto: Proto, table: &str) -> Vec<(String, u64)> {
        let text = format!("{HEADER}{table}");
        let listeners = parse(proto, &text);
        listeners.map(|found| (std::net::SocketAddr::new(found.address, found.port).to_string(), found.inode)).collect()
    }

    fn rows(rows: &[(&str, u64)]) -> Vec<(String, u64)> {
        rows.iter().map(|(address, inode)| ((*address).to_owned(), *inode)).collect()
    }

    #[test]
    fn tcp_sockets_that_listen_are_found_and_others_are_not() {
        assert_eq!(found(Proto::Tcp, TCP), rows(&[("127.0.0.1:8080", 4711), ("0.0.0.0:22", 22)]));
    }

    #[test]
    fn ipv6_addresses_are_read_and_mapped_ones_are_ipv4() {
        assert_eq!(
            found(Proto::Tcp, TCP6),
            rows(&[("[::]:80", 80), ("[2001:db8::1]:443", 443), ("192.0.2.1:10000", 10)])
        );
    }

    #[test]
    fn udp_sockets_with_a_peer_do_not_count() {
        assert_eq!(found(Proto::Udp, UDP), rows(&[("0.0.0.0:53", 53)]));
    }

    #[test]
    fn a_port_is_held_by_who_would_lose_it() {
        let listeners: Listeners = [(Proto::Tcp, TCP), (Proto::Tcp, TCP6), (Proto::Udp, UDP)]
            .into_iter()
            .flat_map(|(proto, table)| parse(proto, &format!("{HEADER}{table}")).collect::<Vec<_>>())
            .collect();
        let check = |proto, address: Option<&str>, port, held| {
            let address = address.map(|address| address.parse().expect("an address"));
            let holder = listeners.holder(proto, address, port, |keeper| keeper == Ipv4Addr::LOCALHOST);
            assert_eq!(holder.is_some(), held, "{proto:?} {address:?} {port}");
        };
        check(Proto::Tcp, None, 8080, false);
        check(Proto::Tcp, None, 22, true);
        check(Proto::Tcp, Some("127.0.0.1"), 8080, true);
        check(Proto::Tcp, Some("192.0.2.7"), 8080, false);
        check(Proto::Tcp, Some("192.0.2.7"), 22, true);
        check(Proto::Tcp, Some("2001:db8::7"), 22, false);
        check(Proto::Tcp, Some("192.0.2.7"), 80, true);
        check(Proto::Udp, None, 22, false);
        check(Proto::Udp, Some("0.0.0.0"), 53, true);
        check(Proto::Tcp, None, 23, false);
    }

    #[test]
    fn reserved_ports_are_ports_and_ranges() {
        let spans = [Span { first: 8080, last: 8080 }, Span { first: 9148, last: 9150 }];
        assert_eq!(parse_spans("8080,9148-9150\n"), spans);
        assert_eq!(parse_spans("\n"), []);
    }
}
