//! Name servers elsewhere: a question goes on as it came, and so does the answer.
//!
//! It goes by the way that it came: who asked over UDP and hears that the answer is too large asks again over TCP.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use log::debug;
use tokio::{
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::{
    answer::Transport,
    listen::{read, write},
};
use crate::linux::random;

/// How long one server may take before the next is asked: two of them fit into the five seconds that libraries wait.
const PATIENCE: Duration = Duration::from_secs(2);
/// As much of a datagram as is read: more than may be handed on, so that one that is cut off here is not taken for whole.
const DATAGRAM: usize = 4096;
/// Bytes of a header.
const HEADER: usize = 12;
/// In the header's third byte: that this is an answer.
const RESPONSE: u8 = 0x80;
/// Answers by which a server says that it cannot help; another one may: "format error", "server failure", "not
/// implemented", "refused" (RFC 1035 §4.1.1).
const NO_HELP: [u8; 4] = [1, 2, 4, 5];

/// The answer of the first of these servers that has one.
pub(super) async fn ask(servers: &[SocketAddr], transport: Transport, query: &[u8]) -> Option<Vec<u8>> {
    let question = query.get(HEADER..question_end(query)?)?;
    for server in servers {
        // Not the asker's: nobody else foresees it.
        let Ok(id) = random::<2>() else { return None };
        let mut asked = query.to_vec();
        asked[..2].copy_from_slice(&id);
        let is_answer = |response: &[u8]| {
            response.len() > HEADER
                && response[..2] == id
                && response[2] & RESPONSE != 0
                && response.get(HEADER..HEADER + question.len()).is_some_and(|q| q.eq_ignore_ascii_case(question))
        };
        let said = async {
            match transport {
                Transport::Udp => udp(*server, &asked, is_answer).await,
                Transport::Tcp => tcp(*server, &asked, is_answer).await,
            }
        };
        match timeout(PATIENCE, said).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(response) if NO_HELP.contains(&(response[3] & 0x0f)) => debug!("{server} does not help"),
            Ok(mut response) => {
                response[..2].copy_from_slice(&query[..2]);
                return Some(response);
            }
            Err(error) => debug!("{server} does not answer: {error}"),
        }
    }
    None
}

/// Over a socket of its own, whose port the kernel draws, and which hears if nobody listens there.
async fn udp(server: SocketAddr, query: &[u8], is_answer: impl Fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut response = vec![0; DATAGRAM];
    loop {
        let length = socket.recv(&mut response).await?;
        if is_answer(&response[..length]) {
            response.truncate(length);
            return Ok(response);
        }
    }
}

async fn tcp(server: SocketAddr, query: &[u8], is_answer: impl Fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write(&mut stream, query).await?;
    let response = read(&mut stream).await?;
    if is_answer(&response) { Ok(response) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Where the first question ends: after its name, type and class. A question's name is never compressed.
fn question_end(query: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    loop {
        match *query.get(at)? {
            0 => return Some(at + 5),
            length => at += usize::from(length) + 1,
        }
    }
}

#[cfg(test)]
mod tests;
