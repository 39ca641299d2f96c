//! Connections made, used once and closed, one after another.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::Result;

use crate::{
    measured::{WARM_UP, per_second},
    wire,
};

/// Connections a second.
///
/// # Errors
/// When one is refused or ends before its answer.
pub fn measure(to: SocketAddr, time: Duration) -> Result<Vec<(&'static str, f64)>> {
    let mut connection = || once(to);
    per_second(WARM_UP, 1, &mut connection)?;
    Ok(vec![("per_second", per_second(time, 1, &mut connection)?)])
}

/// The server is let close first: whoever does keeps the port in TIME_WAIT, which a server can leave by the next SYN.
fn once(to: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(to)?;
    let mut byte = [wire::CONNECT];
    stream.write_all(&byte)?;
    stream.read_exact(&mut byte)?;
    match stream.read(&mut byte)? {
        0 => Ok(()),
        _ => Err(io::Error::other("two answers to one request")),
    }
}
