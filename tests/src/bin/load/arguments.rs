//! The command line.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::wire::SIZES;

pub const HELP: &str = "\
Measures a path between two namespaces. Each verb but `serve` and `relay` prints one line of JSON.

Usage: load VERB ADDR:PORT [OPTIONS]
       load relay ADDR:PORT ADDR:PORT [OPTIONS]

  serve         answer all of the below, TCP and UDP; prints `ready`, ends when its standard input closes
  relay         copy what comes in at the first address to and from a server at the second, as docker-proxy does
  rr            requests and answers of 1 byte over one TCP connection  {p50_ns, p99_ns, per_second}
  udp-rr        the same over UDP                                       {p50_ns, p99_ns, per_second}
  connections   connect, 1-byte request and answer, close               {per_second}
  datagrams     UDP datagrams that arrived                              {per_second, sent_per_second}
  stream        TCP bytes that arrived                                  {bits_per_second}

  --seconds S   how long to measure, after a warm-up of 0.1 s [1]
  --cpu N       run on this processor only
  --size BYTES  of a datagram's payload [64]

The server closes first, so that TIME_WAIT stays with it, where the next connection from the same port replaces it: the
client never runs out of ports. Datagrams cost one send and one receive each; the server's buffer for them is 8 MiB
where root runs it, so that what shares its processor with the sender is not dropped.

Examples:
  ip netns exec a load serve 10.0.0.1:7000 --cpu 0
  ip netns exec b load rr 10.0.0.1:7000 --seconds 3 --cpu 0
  ip netns exec b load datagrams [fd00::1]:7000 --size 1400

Exit status: 0 done, 1 nobody answers, 2 wrong usage.";

/// An hour: more is a slip of the hand.
const MOST_SECONDS: f64 = 3600.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Serve,
    Relay { to: SocketAddr },
    Rr,
    UdpRr,
    Connections,
    Datagrams,
    Stream,
}

impl Verb {
    /// The verb and the options behind it.
    fn parse<'w>(word: &str, rest: &'w [String]) -> Result<(Self, &'w [String])> {
        let verb = match word {
            "serve" => Self::Serve,
            "relay" => {
                let [to, options @ ..] = rest else { bail!("a second ADDR:PORT is needed") };
                return Ok((Self::Relay { to: address(to)? }, options));
            }
            "rr" => Self::Rr,
            "udp-rr" => Self::UdpRr,
            "connections" => Self::Connections,
            "datagrams" => Self::Datagrams,
            "stream" => Self::Stream,
            _ => bail!("`{word}` is none of serve, relay, rr, udp-rr, connections, datagrams, stream"),
        };
        Ok((verb, rest))
    }
}

fn address(word: &str) -> Result<SocketAddr> {
    word.parse().map_err(|_| anyhow!("`{word}` is not like 10.0.0.1:7000 or [fd00::1]:7000"))
}

#[derive(Debug, Clone)]
pub struct Arguments {
    pub verb: Verb,
    /// Where the server listens, as this side sees it.
    pub address: SocketAddr,
    pub time: Duration,
    pub cpu: Option<usize>,
    /// Bytes of a datagram's payload.
    pub size: usize,
}

impl Arguments {
    /// Reads what follows the program's name.
    ///
    /// # Errors
    /// When a word is missing, unknown or out of range.
    pub fn parse(words: &[String]) -> Result<Self> {
        let [verb, first, rest @ ..] = words else { bail!("a verb and ADDR:PORT are needed") };
        let (verb, options) = Verb::parse(verb, rest)?;
        let time = Duration::from_secs(1);
        let mut this = Self { verb, address: address(first)?, time, cpu: None, size: SIZES.default };
        for pair in options.chunks(2) {
            let [option, value] = pair else { bail!("`{}` lacks a value", pair.concat()) };
            this.option(option, value).with_context(|| format!("{option} {value}"))?;
        }
        Ok(this)
    }

    fn option(&mut self, option: &str, value: &str) -> Result<()> {
        match option {
            "--seconds" => {
                let seconds: f64 = value.parse().context("not a number of seconds")?;
                ensure!(seconds > 0.0 && seconds <= MOST_SECONDS, "more than 0 and up to {MOST_SECONDS} seconds");
                self.time = Duration::from_secs_f64(seconds);
            }
            "--cpu" => self.cpu = Some(value.parse().context("not a processor's number")?),
            "--size" => {
                self.size = value.parse().context("not a number of bytes")?;
                let (least, most) = (SIZES.least, SIZES.most);
                ensure!((least..=most).contains(&self.size), "a datagram has {least} to {most} bytes here");
            }
            _ => bail!("no such option"),
        }
        Ok(())
    }
}
