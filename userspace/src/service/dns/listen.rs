//! Sockets at a gateway's address.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use log::debug;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::answer::{Resolver, Transport};
use crate::model::names::PORT;

/// Questions over UDP that are being answered at an address: with each goes a socket to a name server, and a process may
/// have about a thousand. One that finds no place is not heard; who asked will ask again.
const QUESTIONS: usize = 128;
/// The same for connections; more of them wait to be accepted.
const CONNECTIONS: usize = 32;
/// How long a connection may be silent (RFC 7766 §6.2.3 leaves it to the server).
const IDLE: Duration = Duration::from_secs(10);
/// No question is longer.
const QUESTION: usize = 4096;
/// How long a socket rests that cannot be read, lest it be all that is looked at.
const REST: Duration = Duration::from_millis(100);

/// Answers at one address, until dropped.
#[derive(Debug)]
pub(super) struct Listener {
    _tasks: JoinSet<()>,
}

impl Listener {
    pub(super) async fn start(gateway: IpAddr, resolver: Arc<Resolver>) -> io::Result<Self> {
        let udp = UdpSocket::bind((gateway, PORT)).await?;
        let tcp = TcpListener::bind((gateway, PORT)).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(datagrams(Arc::new(udp), gateway, Arc::clone(&resolver)));
        tasks.spawn(connections(tcp, gateway, resolver));
        Ok(Self { _tasks: tasks })
    }
}

async fn datagrams(socket: Arc<UdpSocket>, gateway: IpAddr, resolver: Arc<Resolver>) {
    let places = Arc::new(Semaphore::new(QUESTIONS));
    let mut tasks = JoinSet::new();
    let mut buffer = [0; QUESTION];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, from)) => {
                if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                    let (socket, resolver, query) =
                        (Arc::clone(&socket), Arc::clone(&resolver), buffer[..length].to_vec());
                    tasks.spawn(async move { datagram(&socket, gateway, from, &resolver, &query, place).await });
                }
            }
            Err(error) => rest(gateway, &error).await,
        }
        while tasks.try_join_next().is_some() {}
    }
}

async fn datagram(
    socket: &UdpSocket,
    gateway: IpAddr,
    from: SocketAddr,
    resolver: &Resolver,
    query: &[u8],
    _place: OwnedSemaphorePermit,
) {
    if let Some(response) = resolver.answer(gateway, from.ip(), Transport::Udp, query).await
        && let Err(error) = socket.send_to(&response, from).await
    {
        debug!("no answer can be sent to {from}: {error}");
    }
}

async fn connections(listener: TcpListener, gateway: IpAddr, resolver: Arc<Resolver>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut tasks = JoinSet::new();
    // The places are never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, from)) => {
                let resolver = Arc::clone(&resolver);
                tasks.spawn(async move {
                    let _place = place;
                    if let Err(error) = connection(stream, gateway, from.ip(), &resolver).await {
                        debug!("a connection from {from} ends: {error}");
                    }
                });
            }
            Err(error) => rest(gateway, &error).await,
        }
        while tasks.try_join_next().is_some() {}
    }
}

/// One question after the other, each with its length before it (RFC 1035 §4.2.2).
async fn connection(mut stream: TcpStream, gateway: IpAddr, from: IpAddr, resolver: &Resolver) -> io::Result<()> {
    loop {
        let query = timeout(IDLE, read(&mut stream)).await??;
        let Some(response) = resolver.answer(gateway, from, Transport::Tcp, &query).await else { return Ok(()) };
        timeout(IDLE, write(&mut stream, &response)).await??;
    }
}

/// A message of a stream.
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Sends a message into a stream, in one piece.
pub(super) async fn write(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await
}

async fn rest(gateway: IpAddr, error: &io::Error) {
    debug!("nothing can be read at {gateway}: {error}");
    sleep(REST).await;
}
