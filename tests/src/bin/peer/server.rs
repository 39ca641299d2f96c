//! The end that listens.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, UdpSocket},
    thread,
};

use anyhow::{Context, Result, bail};

use crate::stream::Job;

/// A socket that listens.
#[derive(Debug)]
pub enum Server {
    /// Answers each line.
    Tcp(TcpListener),
    /// Answers each datagram.
    Udp(UdpSocket),
    /// Sends or receives what the client orders.
    Stream(TcpListener),
}

impl Server {
    /// Protocols, each followed by the addresses it is for.
    pub fn bind_all(words: &[&str]) -> Result<Vec<Self>> {
        let mut proto = "";
        let mut servers = Vec::new();
        for word in words {
            if word.contains(':') { servers.push(Self::bind(proto, word)?) } else { proto = word }
        }
        Ok(servers)
    }

    fn bind(proto: &str, address: &str) -> Result<Self> {
        let attempt = || format!("cannot listen on {proto} {address}");
        Ok(match proto {
            "tcp" => Self::Tcp(TcpListener::bind(address).with_context(attempt)?),
            "udp" => Self::Udp(UdpSocket::bind(address).with_context(attempt)?),
            "stream" => Self::Stream(TcpListener::bind(address).with_context(attempt)?),
            _ => bail!("{proto} is no protocol"),
        })
    }

    /// Serves until the process is killed.
    pub fn run(self, name: &str) -> Result<()> {
        match self {
            Self::Tcp(listener) => loop {
                let (stream, client) = listener.accept()?;
                let answer = answer(client, name);
                // A client that goes away ends its thread, and nothing else.
                thread::spawn(move || {
                    for line in BufReader::new(&stream).lines() {
                        line?;
                        (&stream).write_all(answer.as_bytes())?;
                    }
                    io::Result::Ok(())
                });
            },
            Self::Udp(socket) => loop {
                match socket.recv_from(&mut [0; 256]) {
                    // An answer that cannot be sent is an answer that the client misses.
                    Ok((_, client)) => drop(socket.send_to(answer(client, name).as_bytes(), client)),
                    // What came back as ICMP error for an earlier answer.
                    Err(error) => eprintln!("peer: {error}"),
                }
            },
            Self::Stream(listener) => loop {
                let (mut stream, _) = listener.accept()?;
                thread::spawn(move || Job::read(&mut stream)?.carry_out(&mut stream).map(drop));
            },
        }
    }
}

fn answer(client: SocketAddr, name: &str) -> String {
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    format!("seen={client} by={name}\n")
}
