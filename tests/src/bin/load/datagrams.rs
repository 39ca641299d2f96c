//! Datagrams sent as fast as they go, and how many of them arrived.

use std::{
    io::{self, ErrorKind},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::Result;
use nix::libc;

use crate::{
    measured::{WARM_UP, per_second},
    wire,
};

/// How long one question may wait for its answer.
pub const PATIENCE: Duration = Duration::from_millis(200);
/// So often a question is asked.
pub const TRIES: u8 = 10;
/// Datagrams between two looks at the clock.
const BATCH: u32 = 64;

/// Datagrams of `size` bytes that the server got a second, and that were sent.
///
/// # Errors
/// When the server cannot be asked.
pub fn measure(to: SocketAddr, time: Duration, size: usize) -> Result<Vec<(&'static str, f64)>> {
    let socket = socket(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut payload = vec![0; size];
    payload[0] = wire::COUNTED;
    // Asked first, so that a server that is not there is not flooded.
    count(&socket)?;
    per_second(WARM_UP, BATCH, || send(&socket, &payload))?;
    // An answer comes behind all datagrams that wait at the server, here as at the end.
    let before = count(&socket)?;
    let start = Instant::now();
    let sent = per_second(time, BATCH, || send(&socket, &payload))?;
    let arrived = count(&socket)? - before;
    let received = arrived as f64 / start.elapsed().as_secs_f64();
    Ok(vec![("per_second", received), ("sent_per_second", sent)])
}

/// A socket that is bound to some port and sends to this address only.
///
/// # Errors
/// When there is no way there.
pub fn socket(to: SocketAddr) -> io::Result<UdpSocket> {
    let socket = match to {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
    }?;
    socket.connect(to)?;
    Ok(socket)
}

/// A queue that is full on the way out costs the datagram, not the run.
fn send(socket: &UdpSocket, payload: &[u8]) -> io::Result<()> {
    match socket.send(payload) {
        Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(()),
        other => other.map(drop),
    }
}

/// How many datagrams the server has got since it was started.
fn count(socket: &UdpSocket) -> io::Result<u64> {
    let mut answer = [0; wire::COUNT_BYTES];
    for number in 0..TRIES {
        let question = [wire::ASK, number];
        socket.send(&question)?;
        loop {
            match socket.recv(&mut answer) {
                Ok(wire::COUNT_BYTES) if answer.starts_with(&question) => {
                    let [_, _, count @ ..] = answer;
                    return Ok(u64::from_be_bytes(count));
                }
                // To an earlier question.
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
    Err(ErrorKind::TimedOut.into())
}
