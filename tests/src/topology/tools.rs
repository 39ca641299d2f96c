//! Programs that people run, as servers and clients on either side of the host.

use std::{
    env,
    io::{BufRead, BufReader, PipeReader, pipe},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::Child,
    sync::mpsc::{Sender, channel},
    thread,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Container, Family, Place, Topology, test, tool::limited, words};
use crate::patience;

/// How long a program may take to start, in seconds.
const PATIENCE: u64 = 20;
/// What a published port is above the container's.
const ABOVE: u16 = 10_000;

/// A server that runs; it ends with this value.
#[derive(Debug)]
pub struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // `timeout` hands it on, as does `portlane exec`; who does not listen is killed by `timeout`.
        let pid = Pid::from_raw(self.0.id().cast_signed());
        let _ = kill(pid, Signal::SIGTERM);
        drop(self.0.wait());
    }
}

impl Place<'_> {
    /// Starts a server there; returns once it has printed a line that contains `ready`.
    ///
    /// # Errors
    /// It ends before that, or takes too long.
    pub fn start(&self, command: &[&str], ready: &str) -> Result<Program> {
        let (reader, writer) = pipe()?;
        let mut start = limited(&self.words(command));
        start.stdout(writer.try_clone()?).stderr(writer);
        let program = Program(start.spawn().context("cannot start timeout")?);
        // Its copies of the pipe's other end would keep the pipe open.
        drop(start);

        let (lines, said) = channel();
        thread::spawn(move || read(reader, &lines));
        let mut all = String::new();
        loop {
            match said.recv_timeout(patience::seconds(PATIENCE)) {
                Ok(line) if line.contains(ready) => return Ok(program),
                Ok(line) => all += &format!("{line}\n"),
                Err(_) => bail!("`{}` does not start: {all}", command.join(" ")),
            }
        }
    }

    /// The same for one of `src/scripts`, which prints `ready` when it is.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_script(&self, name: &str, arguments: &[&str]) -> Result<Program> {
        self.start(&[&["python3", "-u", &script(name)], arguments].concat(), "ready")
    }

    /// Runs one of `src/scripts`; returns what it prints.
    ///
    /// # Errors
    /// It fails.
    pub fn script(&self, name: &str, arguments: &[&str]) -> Result<String> {
        self.run(&[&["python3", &script(name)], arguments].concat())
    }
}

/// Set inside `cargo xtask vm`, where there are no sources: the folder of the scripts.
const SCRIPTS: &str = "PORTLANE_SCRIPTS";

/// Where one of `src/scripts` is.
pub(super) fn script(name: &str) -> String {
    let sources = || concat!(env!("CARGO_MANIFEST_DIR"), "/src/scripts").to_owned();
    format!("{}/{name}", env::var(SCRIPTS).unwrap_or_else(|_| sources()))
}

/// Reads to the end, lest the program be stopped by a full pipe, whether or not anybody listens.
fn read(pipe: PipeReader, lines: &Sender<String>) {
    for line in BufReader::new(pipe).lines().map_while(Result::ok) {
        drop(lines.send(line));
    }
}

/// A client and a server with the host between them.
#[derive(Debug)]
pub struct Way<'t> {
    /// Where the server runs.
    pub server: Place<'t>,
    /// Where the client runs.
    pub client: Place<'t>,
    /// Whether the server is the container, and its port published.
    pub published: bool,
    /// The container, whichever of the two runs there.
    pub container: &'t Container<'t>,
}

impl Way<'_> {
    /// Where the client finds what the server has on a port.
    pub fn at(&self, family: Family, port: u16) -> SocketAddr {
        if self.published {
            SocketAddr::new(family.host(), port + ABOVE)
        } else {
            SocketAddr::new(family.outside(), port)
        }
    }

    /// The address that the client has of its own.
    pub fn client_address(&self, family: Family) -> IpAddr {
        if self.published { family.outside() } else { self.container.address(family) }
    }

    /// Whom the server sees.
    pub fn seen(&self, family: Family) -> IpAddr {
        if self.published { family.outside() } else { family.host() }
    }
}

/// Runs a check twice: with a client outside and a server in a container whose ports are published, and with a client
/// in the container and a server outside. Ports are written as `80/tcp 53/udp`.
///
/// # Errors
/// The topology cannot be made; the check's.
pub fn either_way(ports: &str, mut check: impl FnMut(&Topology, &Way<'_>) -> Result<()>) -> Result<()> {
    test(|net| net.either_way("", ports, |way| check(net, way)))
}

impl Topology {
    /// A file of this test's own, which every place can see.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Starts `portlane daemon` by way of another command; it ends with the value returned. What it serves comes when it
    /// comes.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn daemon_by(&self, way: &[&str]) -> Result<Program> {
        let way = self.host().words(way);
        let serve = words(&["daemon", "--listen", &self.daemon_address()]);
        limited(&[way, self.portlane_program(), serve].concat()).spawn().map(Program).context("cannot start timeout")
    }

    /// The same as [`either_way`] on a topology that there is, with options of `portlane run` for the container.
    ///
    /// # Errors
    /// The container cannot be made; the check's.
    pub fn either_way(&self, options: &str, ports: &str, mut check: impl FnMut(&Way<'_>) -> Result<()>) -> Result<()> {
        let container = self.publishing(options, ports)?;
        for published in [true, false] {
            let (inside, outside) = (container.inside(), self.outside());
            let (server, client) = if published { (inside, outside) } else { (outside, inside) };
            let name = if published { "by a published port" } else { "masqueraded" };
            check(&Way { server, client, published, container: &container }).context(name)?;
        }
        Ok(())
    }

    fn publishing(&self, options: &str, ports: &str) -> Result<Container<'_>> {
        let mut options = options.to_owned();
        for spec in ports.split_whitespace() {
            let (port, proto) = spec.split_once('/').with_context(|| format!("no protocol in {spec}"))?;
            options += &format!(" -p {}:{port}/{proto}", port.parse::<u16>()? + ABOVE);
        }
        self.container("box", &options, "")
    }
}
