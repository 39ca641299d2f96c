//! One TCP stream, as fast as it goes.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Result, ensure};

use crate::{
    measured::{WARM_UP, per_second},
    wire,
};

/// Bits a second that the server got.
///
/// # Errors
/// When the connection cannot be made or ends.
pub fn measure(to: SocketAddr, time: Duration) -> Result<Vec<(&'static str, f64)>> {
    let mut stream = TcpStream::connect(to)?;
    stream.write_all(&[wire::SINK])?;
    let block = vec![0; wire::BLOCK];
    per_second(WARM_UP + time, 1, || stream.write_all(&block))?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = [0; wire::SINK_BYTES];
    stream.read_exact(&mut answer)?;
    let (bytes, nanoseconds) = wire::pair(answer);
    ensure!(nanoseconds > 0, "the server began when the stream had ended");
    Ok(vec![("bits_per_second", bytes as f64 * 8.0 / Duration::from_nanos(nanoseconds).as_secs_f64())])
}
