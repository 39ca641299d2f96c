//! Sockets of the network namespace, from the kernel's sock_diag (sock_diag(7)): what `ss` asks, and a hundred times
//! as quick as `/proc/net`, which walks every bucket of the connection table for each page.

use std::{io, net::SocketAddr as Endpoint};

use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6},
    inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags},
};
use rtnetlink::{
    packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload},
    sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG},
};

use super::{Fallback, sockets::Listener};
use crate::model::Proto;

const FAMILIES: [u8; 2] = [AF_INET, AF_INET6];
/// `SOCK_DESTROY` of linux/sock_diag.h (Linux 4.5).
const SOCK_DESTROY: u16 = 21;
/// Where a netlink message has its type.
const TYPE: std::ops::Range<usize> = 4..6;

/// A socket with a peer.
#[derive(Clone, Copy, Debug)]
pub struct Connected {
    /// TCP or UDP.
    pub proto: Proto,
    /// Its peer; of an IPv6 socket that speaks IPv4, the IPv4 address.
    pub peer: Endpoint,
    /// The kernel's cookie of the socket.
    pub cookie: u64,
}

/// Sockets that take what is sent to a port.
///
/// # Errors
/// The kernel has no sock_diag for the protocol (`CONFIG_INET_DIAG`, `CONFIG_INET_UDP_DIAG`), or refuses.
pub(super) fn listeners() -> io::Result<Vec<Listener>> {
    let socket = open()?;
    let mut found = Vec::new();
    for (proto, family) in Proto::ALL.into_iter().flat_map(|proto| FAMILIES.map(|family| (proto, family))) {
        // A UDP socket without a peer borrows this state of TCP's; SCTP's diagnosis borrows TCP's names too.
        let states = if proto == Proto::Udp { StateFlags::CLOSE } else { StateFlags::LISTEN };
        let dumped = dump(&socket, request(proto, family, states), |header| {
            found.push(Listener {
                proto,
                // An IPv6 socket bound to ::ffff:192.0.2.1 takes IPv4 alone.
                address: header.socket_id.source_address.to_canonical(),
                port: header.socket_id.source_port,
                inode: header.inode.into(),
            });
        });
        match dumped {
            // Few kernels have SCTP at all.
            Err(error) if proto == Proto::Sctp && error.kind() == io::ErrorKind::NotFound => {}
            dumped => dumped?,
        }
    }
    Ok(found)
}

/// Ends the sockets of these protocols, TCP or UDP, with a peer that `is_meant` names. Their processes are told ECONNABORTED; over UDP, if they
/// send before they hear of it, EDESTADDRREQ.
///
/// # Errors
/// The kernel has no sock_diag, or cannot end sockets (`CONFIG_INET_DIAG_DESTROY`).
pub(super) fn end(protos: &[Proto], is_meant: impl Fn(Connected) -> bool) -> io::Result<()> {
    let socket = open()?;
    let states = StateFlags::ESTABLISHED | StateFlags::SYN_SENT | StateFlags::FIN_WAIT1 | StateFlags::CLOSE_WAIT;
    for (proto, family) in protos.iter().flat_map(|proto| FAMILIES.map(|family| (*proto, family))) {
        let mut meant = Vec::new();
        dump(&socket, request(proto, family, states.clone()), |header| {
            let id = &header.socket_id;
            let peer = Endpoint::new(id.destination_address.to_canonical(), id.destination_port);
            if is_meant(Connected { proto, peer, cookie: u64::from_ne_bytes(id.cookie) }) {
                meant.push(header.socket_id.clone());
            }
        })?;
        for socket_id in meant {
            destroy(&socket, InetRequest { socket_id, ..request(proto, family, states.clone()) })?;
        }
    }
    Ok(())
}

/// Whether the kernel can end sockets: it is asked to end one that there is not.
pub fn can_end() -> bool {
    let nobody = request(Proto::Tcp, AF_INET, StateFlags::ESTABLISHED);
    open().is_ok_and(|socket| destroy(&socket, nobody).is_ok())
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

fn request(proto: Proto, family: u8, states: StateFlags) -> InetRequest {
    let socket_id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
    InetRequest { family, protocol: proto.number(), extensions: ExtensionFlags::empty(), states, socket_id }
}

fn message(request: InetRequest, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Ends one socket; one that is gone by now is no error.
fn destroy(socket: &Socket, request: InetRequest) -> io::Result<()> {
    Fallback::InetDiagDestroy.allowed()?;
    let mut bytes = message(request, NLM_F_REQUEST | NLM_F_ACK);
    bytes[TYPE].copy_from_slice(&SOCK_DESTROY.to_ne_bytes());
    socket.send(&bytes, 0)?;
    match answers(socket, |_| {}) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn dump(socket: &Socket, request: InetRequest, visit: impl FnMut(&InetResponseHeader)) -> io::Result<()> {
    socket.send(&message(request, NLM_F_REQUEST | NLM_F_DUMP), 0)?;
    answers(socket, visit)
}

/// Reads to the end of what the kernel has to say.
fn answers(socket: &Socket, mut visit: impl FnMut(&InetResponseHeader)) -> io::Result<()> {
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message: NetlinkMessage<SockDiagMessage> =
                NetlinkMessage::deserialize(rest).map_err(|error| io::Error::other(error.to_string()))?;
            let length = (message.header.length as usize).next_multiple_of(4);
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(()),
                // Without a code it is an acknowledgement.
                NetlinkPayload::Error(error) => return error.code.map_or(Ok(()), |_| Err(error.to_io())),
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => visit(&response.header),
                _ => {}
            }
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}
