//! The end that asks.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use portlane_datapath::testing::checksum::internet;

use crate::stream::Job;

/// Nobody answered, or somebody said no. What it is the context of tells which.
#[derive(Debug)]
pub struct NoAnswer;

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no answer")
    }
}

/// How to ask.
#[derive(Debug)]
pub struct Client {
    /// Own address and port.
    pub from: Option<SocketAddr>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Whether a UDP socket is connected first.
    pub connect: bool,
    /// Whether to ask again at each line of standard input.
    pub repeat: bool,
}

impl Client {
    pub fn ask_tcp(&self, target: SocketAddr) -> Result<()> {
        let stream = self.tcp_to(target)?;
        let peer = stream.peer_addr().context(NoAnswer)?;
        let mut reader = BufReader::new(&stream);
        self.talk(|| {
            (&stream).write_all(b"?\n").context(NoAnswer)?;
            let mut answer = String::new();
            reader.read_line(&mut answer).context(NoAnswer)?;
            ensure!(answer.ends_with('\n'), anyhow!("the connection was closed").context(NoAnswer));
            Ok(format!("{} peer={peer}", answer.trim_end()))
        })
    }

    pub fn ask_udp(&self, target: SocketAddr) -> Result<()> {
        let any: IpAddr = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let from = self.from.unwrap_or(SocketAddr::new(any, 0));
        let socket = UdpSocket::bind(from).with_context(|| format!("cannot bind {from}"))?;
        socket.set_read_timeout(Some(self.timeout))?;
        if self.connect {
            socket.connect(target).context(NoAnswer)?;
        }
        self.talk(|| {
            let mut answer = [0; 256];
            let (length, peer) = if self.connect {
                socket.send(b"?").context(NoAnswer)?;
                (socket.recv(&mut answer).context(NoAnswer)?, socket.peer_addr()?)
            } else {
                socket.send_to(b"?", target).context(NoAnswer)?;
                socket.recv_from(&mut answer).context(NoAnswer)?
            };
            Ok(format!("{} peer={peer}", String::from_utf8_lossy(&answer[..length]).trim_end()))
        })
    }

    /// Asks once, and again at each line of standard input if that is wanted; one line of output each.
    fn talk(&self, mut ask: impl FnMut() -> Result<String>) -> Result<()> {
        println!("{}", ask()?);
        if self.repeat {
            for line in io::stdin().lines() {
                line?;
                println!("{}", ask().unwrap_or_else(|error| format!("{error:#}")));
            }
        }
        Ok(())
    }

    /// Has the job done by a `serve stream`, and prints the hash.
    pub fn stream(&self, target: SocketAddr, job: Job) -> Result<()> {
        let mut stream = self.tcp_to(target)?;
        job.reversed().write(&mut stream).context(NoAnswer)?;
        let (ours, theirs) = job.carry_out(&mut stream).context(NoAnswer)?;
        println!("{ours:016x}");
        ensure!(ours == theirs, anyhow!("the other end's hash is {theirs:016x}").context(NoAnswer));
        Ok(())
    }

    fn tcp_to(&self, target: SocketAddr) -> Result<TcpStream> {
        let family = if target.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, SockProtocol::Tcp)?;
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        if let Some(from) = self.from {
            bind(socket.as_raw_fd(), &SockaddrStorage::from(from)).with_context(|| format!("cannot bind {from}"))?;
        }
        let stream = TcpStream::from(socket);
        // The limit of a write is that of a connect, too: socket(7), SO_SNDTIMEO.
        stream.set_write_timeout(Some(self.timeout))?;
        stream.set_read_timeout(Some(self.timeout))?;
        connect(stream.as_raw_fd(), &SockaddrStorage::from(target)).context(NoAnswer)?;
        Ok(stream)
    }

    /// One ICMP or ICMPv6 echo.
    pub fn ping(&self, target: IpAddr) -> Result<()> {
        let (family, protocol, request, reply, header) = match target {
            IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8, 0, 20),
            IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128, 129, 0),
        };
        let socket = UdpSocket::from(socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?);
        socket.set_read_timeout(Some(self.timeout))?;
        socket.connect(SocketAddr::new(target, 0)).context(NoAnswer)?;
        let [.., id0, id1] = std::process::id().to_be_bytes();
        let mut echo = [request, 0, 0, 0, id0, id1, 0, 1, b'p', b'i', b'n', b'g'];
        let checksum = internet(&[&echo]); // of ICMPv6 the kernel makes it
        echo[2..4].copy_from_slice(&checksum.to_be_bytes());
        socket.send(&echo).context(NoAnswer)?;
        let mut packet = [0; 256];
        loop {
            let length = socket.recv(&mut packet).context(NoAnswer)?;
            let answer = packet.get(header..length).unwrap_or_default();
            if answer.first() == Some(&reply) && answer.get(4..) == Some(&echo[4..]) {
                println!("echo from {target}");
                return Ok(());
            }
        }
    }
}
