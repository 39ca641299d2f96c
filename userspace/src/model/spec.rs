//! What the command line's values mean: Docker's words for ports, links, hosts and MACs.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use ipnet::{IpNet, Ipv4Net};
use portlane_common::span::Span;

use super::{
    connect::ConnectRequest,
    container::LinkRequest,
    error::ModelError,
    state::{PortSpec, Proto},
};

/// One `-p`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishRequest {
    /// Protocol.
    pub proto: Proto,
    /// None: every address of the host. Unspecified: every one of that family.
    pub host_addr: Option<IpAddr>,
    /// None: a free port is chosen. Longer than `container`, which then is one port: a free one of these is chosen.
    pub host: Option<Span>,
    /// Container ports.
    pub container: Span,
    /// Who may use them, in order; everybody if none.
    pub sources: Vec<IpNet>,
}

/// `[ip:][hostPort[-hostPort]]:containerPort[-containerPort][/proto]`, `ip::containerPort`, or `containerPort`; behind
/// that any number of `,from=PREFIX`.
///
/// # Errors
/// [`ModelError::BadSpec`].
pub fn publish(text: &str) -> Result<PublishRequest, ModelError> {
    publish_of(text).map_err(|problem| bad("port to publish", text, problem))
}

fn publish_of(text: &str) -> Result<PublishRequest, String> {
    let (rest, options) = text.split_once(',').map_or((text, None), |(rest, options)| (rest, Some(options)));
    let sources = options.map_or_else(|| Ok(Vec::new()), sources_of)?;
    let (rest, proto) = with_proto(rest)?;
    let (host_addr, ports) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (address, ports) = rest.split_once("]:").ok_or("write `[address]:hostPort:containerPort`")?;
            let parsed: Ipv6Addr = address.parse().map_err(|_| format!("`{address}` is no IPv6 address"))?;
            (Some(parsed.to_canonical()), ports)
        }
        None => match rest.split(':').count() {
            1 | 2 => (None, rest),
            3 => {
                let (address, ports) = rest.split_once(':').unwrap_or_default();
                let parsed = address.parse().map_err(|_| format!("`{address}` is no IPv4 address"))?;
                (Some(IpAddr::V4(parsed)), ports)
            }
            _ => return Err("write an IPv6 address in brackets, as in `[::1]:8080:80`".to_owned()),
        },
    };
    let (host, container) = match ports.split_once(':') {
        Some((_, ports)) if ports.contains(':') => return Err("there are too many colons".to_owned()),
        // Port 0 is the kernel's word, and Docker's, for any free one.
        Some(("" | "0", container)) => (None, container),
        Some((host, container)) => (Some(span_of(host)?), container),
        None if host_addr.is_some() => {
            return Err("write a host port, or none, between address and container port: `address::80`".to_owned());
        }
        None => (None, ports),
    };
    let container = span_of(container)?;
    match host {
        Some(host) if host.ports() != container.ports() && container.ports() != 1 => {
            let (host, container) = (host.ports(), container.ports());
            Err(format!("it maps {host} host port(s) to {container} container ports: make the ranges equally long"))
        }
        _ => Ok(PublishRequest { proto, host_addr, host, container, sources }),
    }
}

/// What follows the first comma: each prefix once, in order.
fn sources_of(options: &str) -> Result<Vec<IpNet>, String> {
    let mut sources = options.split(',').map(source_of).collect::<Result<Vec<_>, _>>()?;
    sources.sort_unstable();
    sources.dedup();
    Ok(sources)
}

fn source_of(option: &str) -> Result<IpNet, String> {
    let text = option.strip_prefix("from=");
    let text = text.ok_or_else(|| format!("`{option}` is not known: write `,from=` and a prefix"))?;
    let prefix = || text.parse::<IpNet>().ok();
    let parsed = text.parse::<IpAddr>().map(IpNet::from).ok().or_else(prefix);
    let Some(net) = parsed else {
        return Err(format!("`{text}` is no prefix: write an address, or as in `10.0.0.0/8` or `2001:db8::/32`"));
    };
    if net.addr() != net.network() {
        return Err(format!(
            "`{text}` has an address that is longer than its prefix: write {} or {}",
            net.trunc(),
            net.addr()
        ));
    }
    Ok(canonical(net))
}

/// What is written for a family in the other's words (`::ffff:10.0.0.0/104`) is met in its own.
fn canonical(net: IpNet) -> IpNet {
    let IpNet::V6(six) = net else { return net };
    let four = six.addr().to_ipv4_mapped().zip(six.prefix_len().checked_sub(96));
    four.and_then(|(address, length)| Ipv4Net::new(address, length).ok()).map_or(net, IpNet::V4)
}

/// One `--expose`, or the argument of `portlane port`: `port[-port][/proto]`.
///
/// # Errors
/// [`ModelError::BadSpec`].
pub fn port(text: &str) -> Result<PortSpec, ModelError> {
    with_proto(text)
        .and_then(|(ports, proto)| Ok(PortSpec { proto, span: span_of(ports)? }))
        .map_err(|problem| bad("port", text, problem))
}

/// One `--link`: `NAME[:ALIAS]`.
///
/// # Errors
/// [`ModelError::BadSpec`].
pub fn link(text: &str) -> Result<LinkRequest, ModelError> {
    let (target, alias) = text.split_once(':').unwrap_or((text, text));
    if target.is_empty() || !is_host_word(alias) {
        return Err(bad("link", text, "write `container` or `container:alias`".to_owned()));
    }
    Ok(LinkRequest { target: target.to_owned(), alias: alias.to_owned() })
}

/// Stands for the address at which a container finds the host.
pub const HOST_GATEWAY: &str = "host-gateway";

/// One `--add-host`: `HOST:IP`, an IPv6 address with or without brackets; no address for [`HOST_GATEWAY`].
///
/// # Errors
/// [`ModelError::BadSpec`].
pub fn extra_host(text: &str) -> Result<(String, Option<IpAddr>), ModelError> {
    let parsed = text.split_once([':', '=']).and_then(|(host, address)| {
        let address = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
        Some((host, if address == HOST_GATEWAY { None } else { Some(address.parse().ok()?) }))
    });
    match parsed {
        Some((host, address)) if is_host_word(host) => Ok((host.to_owned(), address)),
        _ => {
            let problem = "write `name:address`, as in `db:10.0.0.5`, or `name:host-gateway`".to_owned();
            Err(bad("host to add", text, problem))
        }
    }
}

/// One `--mac-address`.
///
/// # Errors
/// [`ModelError::BadSpec`]; multicast addresses and zero are none of a container's.
pub fn mac(text: &str) -> Result<[u8; 6], ModelError> {
    match octets_of_mac(text) {
        Some(mac) if mac[0] & 1 == 0 && mac != [0; 6] => Ok(mac),
        Some(_) => Err(bad("MAC address for a container", text, "choose a unicast address".to_owned())),
        None => Err(bad("MAC address", text, "write six pairs of digits, as in `02:42:ac:11:00:02`".to_owned())),
    }
}

/// `--network`: a name, or `name=NETWORK,alias=NAME,ip=ADDRESS,…` as Docker has it.
///
/// # Errors
/// [`ModelError::BadSpec`].
pub fn network(text: &str) -> Result<ConnectRequest, ModelError> {
    if !text.contains('=') {
        return Ok(ConnectRequest::to(text));
    }
    let wrong = |problem: String| ModelError::BadSpec { what: "network", text: text.to_owned(), problem };
    let mut request = ConnectRequest::default();
    for part in text.split(',') {
        let (key, value) = part.split_once('=').ok_or_else(|| wrong(format!("`{part}` has no value")))?;
        let no = |what: &str| wrong(format!("`{value}` is no {what}"));
        match key {
            "name" => value.clone_into(&mut request.network),
            "alias" => request.aliases.push(value.to_owned()),
            "ip" => request.addr4 = Some(value.parse().map_err(|_| no("IPv4 address"))?),
            "ip6" => request.addr6 = Some(value.parse().map_err(|_| no("IPv6 address"))?),
            "mac-address" => request.mac = Some(mac(value)?),
            "gw-priority" => request.priority = value.parse().map_err(|_| no("number"))?,
            _ => return Err(wrong(format!("write name, alias, ip, ip6, mac-address or gw-priority, not `{key}`"))),
        }
    }
    if request.network.is_empty() { Err(wrong("it has no name=".to_owned())) } else { Ok(request) }
}

/// Whether the word can stand for a host in `/etc/hosts`.
pub fn is_host_word(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

pub(super) fn octets_of_mac(text: &str) -> Option<[u8; 6]> {
    let mut parts = text.split([':', '-']);
    let mut mac = [0; 6];
    for octet in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *octet = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

pub(super) fn span_of(text: &str) -> Result<Span, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let span = Span { first: port_of(first)?, last: port_of(last)? };
    if span.first > span.last { Err(format!("the range {text} ends before it begins")) } else { Ok(span) }
}

fn port_of(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(port) if port != 0 && digits => Ok(port),
        _ => Err(format!("`{text}` is no port: use a number from 1 to 65535")),
    }
}

fn with_proto(text: &str) -> Result<(&str, Proto), String> {
    match text.split_once('/') {
        None => Ok((text, Proto::Tcp)),
        Some((ports, proto)) if proto.eq_ignore_ascii_case("tcp") => Ok((ports, Proto::Tcp)),
        Some((ports, proto)) if proto.eq_ignore_ascii_case("udp") => Ok((ports, Proto::Udp)),
        Some((ports, proto)) if proto.eq_ignore_ascii_case("sctp") => Ok((ports, Proto::Sctp)),
        Some((_, proto)) => Err(format!("`{proto}` is no protocol that can be published: use tcp, udp or sctp")),
    }
}

/// As `-p` takes it.
impl FromStr for PublishRequest {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        publish(text)
    }
}

/// As `--expose` takes it.
impl FromStr for PortSpec {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        port(text)
    }
}

/// As `--link` takes it.
impl FromStr for LinkRequest {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        link(text)
    }
}

/// As `--link` takes it.
impl fmt::Display for LinkRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.target, self.alias)
    }
}

fn bad(what: &'static str, text: &str, problem: String) -> ModelError {
    ModelError::BadSpec { what, text: text.to_owned(), problem }
}
