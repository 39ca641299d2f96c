//! The program at both ends of a traffic test: a server that tells whom it sees, and a client that tells what it hears.
//!
//! Exit status: 0 done, 1 no answer (refused, unreachable, timed out) or a stream that differs, 2 usage, 3 the machine
//! does not let it (a port in use, no such address).

use std::{
    net::{TcpListener, UdpSocket},
    os::unix::net::UnixDatagram,
    process::{ExitCode, exit},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use client::{Client, NoAnswer};
use portlane_tests::patience;
use server::Server;
use stream::{Job, Order};

mod client;
mod server;
mod stream;

const USAGE: &str = "\
peer serve {tcp|udp|stream ADDR:PORT…}… [--name NAME] [--ready SOCKET]
                          tells SOCKET when it listens; NAME is in answers
peer ask tcp|udp ADDR:PORT [--from ADDR:PORT] [--timeout-ms N] [--connect] [--repeat]
                          --connect: a connected UDP socket; --repeat: asks again at each line of standard input
peer send-stream|receive-stream ADDR:PORT BYTES SEED   with `serve stream`; prints the hash both ends agree on
peer ping ADDR [--timeout-ms N]
peer bind tcp|udp ADDR:PORT";

/// How long an answer may take, in seconds, unless the command line knows better.
const PATIENCE: u64 = 5;

const NO_ANSWER: u8 = 1;
const USAGE_ERROR: u8 = 2;
const FAILED: u8 = 3;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(arguments) = Arguments::parse(&words) else { usage() };
    match arguments.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peer: {error:#}");
            ExitCode::from(if error.is::<NoAnswer>() { NO_ANSWER } else { FAILED })
        }
    }
}

fn usage() -> ! {
    eprintln!("{USAGE}");
    exit(USAGE_ERROR.into())
}

/// The command line, words and options apart.
#[derive(Debug)]
struct Arguments {
    words: Vec<String>,
    client: Client,
    name: String,
    ready: Option<String>,
}

impl Arguments {
    fn parse(input: &[String]) -> Option<Self> {
        let client = Client { from: None, timeout: patience::seconds(PATIENCE), connect: false, repeat: false };
        let mut this = Self { words: Vec::new(), client, name: "peer".to_owned(), ready: None };
        let mut input = input.iter();
        while let Some(word) = input.next() {
            match word.as_str() {
                "--from" => this.client.from = Some(input.next()?.parse().ok()?),
                "--timeout-ms" => this.client.timeout = Duration::from_millis(input.next()?.parse().ok()?),
                "--connect" => this.client.connect = true,
                "--repeat" => this.client.repeat = true,
                "--name" => this.name.clone_from(input.next()?),
                "--ready" => this.ready = Some(input.next()?.clone()),
                option if option.starts_with("--") => return None,
                _ => this.words.push(word.clone()),
            }
        }
        Some(this)
    }

    fn run(&self) -> Result<()> {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let job =
            |order, bytes: &str, seed: &str| anyhow::Ok(Job { order, bytes: bytes.parse()?, seed: seed.parse()? });
        match words.as_slice() {
            ["serve", what @ ..] if !what.is_empty() => self.serve(what),
            ["ask", "tcp", target] => self.client.ask_tcp(target.parse()?),
            ["ask", "udp", target] => self.client.ask_udp(target.parse()?),
            ["send-stream", target, bytes, seed] => self.client.stream(target.parse()?, job(Order::Send, bytes, seed)?),
            ["receive-stream", target, bytes, seed] => {
                self.client.stream(target.parse()?, job(Order::Receive, bytes, seed)?)
            }
            ["ping", target] => self.client.ping(target.parse()?),
            ["bind", "tcp", address] => TcpListener::bind(address).map(drop).map_err(Into::into),
            ["bind", "udp", address] => UdpSocket::bind(address).map(drop).map_err(Into::into),
            _ => usage(),
        }
    }

    /// Listens on all addresses, says so, and answers until it is killed.
    fn serve(&self, what: &[&str]) -> Result<()> {
        let servers = Server::bind_all(what);
        if let Some(path) = &self.ready {
            let word = servers.as_ref().map_or_else(|error| format!("{error:#}"), |_| "ready".to_owned());
            UnixDatagram::unbound()?.send_to(word.as_bytes(), path).with_context(|| format!("cannot tell {path}"))?;
        }
        let run = |server: Server| {
            let name = self.name.clone();
            thread::spawn(move || server.run(&name))
        };
        let threads: Vec<_> = servers?.into_iter().map(run).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a server panicked"))?)
    }
}
