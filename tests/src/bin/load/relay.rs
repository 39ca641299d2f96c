//! What docker-proxy does, for TCP and UDP: a connection or datagrams from each client are copied to and from the server.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{datagrams, end_with_input, wire};

/// Connections that are copied at the same time. Threads that are there already cost less than one for each connection; Go,
/// which docker-proxy is written in, has none of either.
const WORKERS: usize = 16;
/// Bytes of one read.
const BLOCK: usize = 64 * 1024;
/// A client without answers for so long is forgotten, as by docker-proxy.
const FORGOTTEN: Duration = Duration::from_secs(90);

#[derive(Debug)]
pub struct Relay {
    listener: TcpListener,
    datagrams: UdpSocket,
}

impl Relay {
    /// Listens.
    ///
    /// # Errors
    /// When the address is not here or its port taken.
    pub fn bind(from: SocketAddr) -> Result<Self> {
        let sockets = || -> io::Result<Self> {
            let listener = TcpListener::bind(from)?;
            let datagrams = UdpSocket::bind(listener.local_addr()?)?;
            Ok(Self { listener, datagrams })
        };
        sockets().with_context(|| format!("cannot listen at {from}"))
    }

    /// Where it listens.
    #[cfg(test)]
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("it listens")
    }

    /// Says `ready`, and copies until standard input closes.
    ///
    /// # Errors
    /// When a socket fails.
    pub fn run(self, to: SocketAddr) -> Result<()> {
        end_with_input();
        println!("ready");
        self.copy(to)
    }

    /// # Errors
    /// When a socket fails.
    pub fn copy(self, to: SocketAddr) -> Result<()> {
        let listener = Arc::new(self.listener);
        for _ in 0..WORKERS {
            let listener = Arc::clone(&listener);
            thread::spawn(move || connections(&listener, to));
        }
        copy_datagrams(&Arc::new(self.datagrams), to).context("cannot receive datagrams")
    }
}

fn connections(listener: &TcpListener, to: SocketAddr) {
    let mut block = vec![0; BLOCK];
    loop {
        // One that breaks off concerns its two ends, which hear of it.
        let Ok((client, _)) = listener.accept() else { continue };
        drop(TcpStream::connect(to).and_then(|server| copy_connection([client, server], &mut block)));
    }
}

fn copy_connection(mut ends: [TcpStream; 2], block: &mut [u8]) -> io::Result<()> {
    ends.iter().try_for_each(|end| end.set_nodelay(true))?;
    // By the end that talks.
    let mut talks = [true, true];
    while talks != [false, false] {
        let said = ready(&ends, talks)?;
        for from in [0, 1].into_iter().filter(|end| said[*end]) {
            let length = ends[from].read(block)?;
            let to = &mut ends[1 - from];
            if length == 0 {
                to.shutdown(Shutdown::Write)?;
                talks[from] = false;
            } else {
                to.write_all(&block[..length])?;
            }
        }
    }
    Ok(())
}

/// Waits until one of the ends that talk has said something; which have.
fn ready(ends: &[TcpStream; 2], talks: [bool; 2]) -> io::Result<[bool; 2]> {
    let flags = talks.map(|talks| if talks { PollFlags::POLLIN } else { PollFlags::empty() });
    let mut both = [0, 1].map(|end| PollFd::new(ends[end].as_fd(), flags[end]));
    poll(&mut both, PollTimeout::NONE)?;
    let said = both.map(|end| end.any().unwrap_or_default());
    Ok([said[0] && talks[0], said[1] && talks[1]])
}

fn copy_datagrams(outer: &Arc<UdpSocket>, to: SocketAddr) -> io::Result<()> {
    let mut clients = HashMap::new();
    let mut buffer = vec![0; wire::SIZES.most];
    loop {
        let (length, client) = outer.recv_from(&mut buffer)?;
        let inner = match clients.get(&client) {
            Some(inner) => inner,
            None => {
                let inner = Arc::new(datagrams::socket(to)?);
                inner.set_read_timeout(Some(FORGOTTEN))?;
                let (outer, answers) = (Arc::clone(outer), Arc::clone(&inner));
                thread::spawn(move || copy_answers(&answers, &outer, client));
                clients.entry(client).or_insert(inner)
            }
        };
        // The server may have gone, or be slower than the client.
        drop(inner.send(&buffer[..length]));
    }
}

fn copy_answers(inner: &UdpSocket, outer: &UdpSocket, client: SocketAddr) {
    let mut buffer = vec![0; wire::SIZES.most];
    loop {
        match inner.recv(&mut buffer) {
            Ok(length) => drop(outer.send_to(&buffer[..length], client)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(_) => {}
        }
    }
}
