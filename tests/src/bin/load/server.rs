//! The side that answers: one connection after another, and beside them the datagrams of the same port.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::sys::socket::{setsockopt, sockopt};

use crate::{end_with_input, measured::WARM_UP, wire};

/// For datagrams that wait. One that shares its processor with the sender runs some milliseconds later.
const BUFFER: usize = 8 << 20;
/// Seconds without a packet after which a client is asked whether it is there, and between two questions.
const KEEP_ALIVE: u32 = 1;
/// Questions without an answer that end a connection.
const UNANSWERED: u32 = 3;

#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    datagrams: UdpSocket,
}

impl Server {
    /// Listens.
    ///
    /// # Errors
    /// When the address is not here or its port taken.
    pub fn bind(address: SocketAddr) -> Result<Self> {
        let sockets = || -> Result<Self> {
            let listener = TcpListener::bind(address)?;
            // What is set here, its connections have from the start.
            setsockopt(&listener, sockopt::TcpNoDelay, &true)?;
            setsockopt(&listener, sockopt::KeepAlive, &true)?;
            setsockopt(&listener, sockopt::TcpKeepIdle, &KEEP_ALIVE)?;
            setsockopt(&listener, sockopt::TcpKeepInterval, &KEEP_ALIVE)?;
            setsockopt(&listener, sockopt::TcpKeepCount, &UNANSWERED)?;
            let datagrams = UdpSocket::bind(listener.local_addr()?)?;
            setsockopt(&datagrams, sockopt::RcvBufForce, &BUFFER)
                .or_else(|_| setsockopt(&datagrams, sockopt::RcvBuf, &BUFFER))?;
            Ok(Self { listener, datagrams })
        };
        sockets().with_context(|| format!("cannot listen at {address}"))
    }

    /// Where it listens.
    #[cfg(test)]
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("it listens")
    }

    /// Says `ready`, and answers until standard input closes.
    ///
    /// # Errors
    /// When a socket fails.
    pub fn run(self) -> Result<()> {
        end_with_input();
        println!("ready");
        self.answer()
    }

    /// # Errors
    /// When a socket fails.
    pub fn answer(self) -> Result<()> {
        thread::spawn(move || answer_datagrams(&self.datagrams));
        let mut block = vec![0; wire::BLOCK];
        loop {
            match self.listener.accept() {
                // A client that breaks off says so itself.
                Ok((stream, _)) => drop(answer_connection(stream, &mut block)),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error).context("cannot accept a connection"),
            }
        }
    }
}

fn answer_connection(mut stream: TcpStream, block: &mut [u8]) -> io::Result<()> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    match byte[0] {
        wire::CONNECT => stream.write_all(&byte),
        wire::SINK => {
            let (bytes, time) = sink(&mut stream, block)?;
            let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            stream.write_all(&wire::pair_bytes(bytes, nanoseconds))
        }
        _ => loop {
            stream.write_all(&byte)?;
            stream.read_exact(&mut byte)?;
        },
    }
}

/// Bytes that came after the warm-up, and the time from its end to that of the stream: one that stalls is slow.
fn sink(stream: &mut TcpStream, block: &mut [u8]) -> io::Result<(u64, Duration)> {
    let (since, mut bytes) = (Instant::now() + WARM_UP, 0);
    loop {
        let length = stream.read(block)?;
        let now = Instant::now();
        if length == 0 {
            return Ok((bytes, now.saturating_duration_since(since)));
        }
        if now >= since {
            bytes += length as u64;
        }
    }
}

/// Ends when the socket fails for good, and with the program.
fn answer_datagrams(socket: &UdpSocket) {
    let (mut buffer, mut count) = (vec![0; wire::SIZES.most], 0_u64);
    loop {
        // A client that has gone may make either fail, once.
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let sent = match &buffer[..length] {
            [wire::COUNTED, _, ..] => {
                count += 1;
                continue;
            }
            &[wire::ASK, number] => {
                let mut answer = [0; wire::COUNT_BYTES];
                answer[..2].copy_from_slice(&[wire::ASK, number]);
                answer[2..].copy_from_slice(&count.to_be_bytes());
                socket.send_to(&answer, from)
            }
            request => socket.send_to(request, from),
        };
        drop(sent);
    }
}
