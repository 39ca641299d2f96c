//! Requests and answers of one byte, each waiting for the one before.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::Result;

use crate::{
    datagrams::{PATIENCE, TRIES, socket},
    measured, wire,
};

/// Over one TCP connection.
///
/// # Errors
/// When it cannot be made, or ends.
pub fn tcp(to: SocketAddr, time: Duration) -> Result<Vec<(&'static str, f64)>> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    let mut byte = [wire::RR];
    let request = || {
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)
    };
    Ok(measured::latencies(time, request)?)
}

/// Over UDP, from one port. What got lost is asked again, and its latency is that of all tries.
///
/// # Errors
/// When no try is answered.
pub fn udp(to: SocketAddr, time: Duration) -> Result<Vec<(&'static str, f64)>> {
    let socket = socket(to)?;
    // A timer for each wait, of some ten nanoseconds: a datagram may get lost.
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut number = 0;
    let request = || {
        number = u8::wrapping_add(number, 1);
        answered(&socket, number)
    };
    Ok(measured::latencies(time, request)?)
}

fn answered(socket: &UdpSocket, number: u8) -> io::Result<()> {
    let mut answer = [0];
    for _ in 0..TRIES {
        socket.send(&[number])?;
        loop {
            match socket.recv(&mut answer) {
                Ok(_) if answer == [number] => return Ok(()),
                // To an earlier try.
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
    Err(ErrorKind::TimedOut.into())
}
